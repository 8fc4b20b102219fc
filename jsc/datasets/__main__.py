"""`python -m jsc.datasets`: the data sets there are; with `dataset=NAME`, the card and the picture of one."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import hydra.utils
from omegaconf import OmegaConf
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import jsc
from jsc.command import compose_command
from jsc.datasets.cache import cache_folder, load_jets
from jsc.datasets.card import data_card
from jsc.datasets.jets import DatasetError


@dataclass(frozen=True)
class DatasetsCommand:
    """`dataset` names its source as `_target_`; `out` is the folder for the picture."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    dataset: dict[str, Any]
    out: Path


def main(arguments: Sequence[str], console: Console) -> None:
    """Raises DatasetError if the data set asked for cannot be used."""
    if not arguments:
        console.print(data_sets())
        console.print(f"dataset=NAME shows one. Downloads and prepared jets: {cache_folder()} (JSC_DATA_DIR)")
        return
    command = compose_command("datasets", arguments, DatasetsCommand)
    source = hydra.utils.instantiate(
        {key: value for key, value in command.dataset.items() if key != "batch_size"}, _convert_="all"
    )
    jets = load_jets(source)
    console.print(data_card(jets))
    plain_variant = re.sub(r"[^\w.-]+", "_", jets.variant)
    picture = command.out / f"features_{plain_variant}.png"
    from jsc.datasets.distributions import draw_distributions  # here: only this needs Matplotlib, and it takes a second

    draw_distributions(jets, picture)
    console.print(f"\nevery feature by class: {picture}", soft_wrap=True)


def data_sets() -> Table:
    """A row a YAML file of the group `dataset`: its name and its first comment."""
    table = Table(title="Data sets", title_justify="left")
    table.add_column("dataset=")
    table.add_column("what it is")
    table.add_column("read by")
    for path in sorted(_conf_folder().glob("dataset/*.yaml")):
        first_line = path.read_text().splitlines()[0]
        table.add_row(path.stem, escape(first_line.removeprefix("# ")), str(OmegaConf.load(path)._target_))
    return table


def _conf_folder() -> Path:
    """In a checkout `conf/` lies beside the package, in a wheel inside it."""
    package = Path(jsc.__file__).parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


if __name__ == "__main__":
    try:
        main(sys.argv[1:], Console())
    except DatasetError as error:
        print(f"jsc.datasets: {error}", file=sys.stderr)
        sys.exit(1)
