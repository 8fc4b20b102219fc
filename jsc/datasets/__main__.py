"""`python -m jsc.datasets`: the data sets there are; with `dataset=NAME`, the card and the picture of one."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jsc.cli.command import CONFIG_FOLDER, compose_command, explained_errors
from jsc.cli.construction import construct
from jsc.cli.settings import DatasetsSettings
from jsc.datasets.cache import cache_folder, load_jets
from jsc.datasets.card import data_card


def main(arguments: Sequence[str], console: Console) -> None:
    """Print the list, or one data set's card. Raises DatasetError or CommandError if that one cannot be used."""
    if not arguments:
        console.print(data_sets())
        console.print(f"dataset=NAME shows one. Downloads and prepared jets: {cache_folder()} (JSC_DATA_DIR)")
        return
    settings = compose_command("datasets", arguments, DatasetsSettings)
    jets = load_jets(construct(settings.dataset))
    console.print(data_card(jets), crop=False)
    plain_variant = re.sub(r"[^\w.-]+", "_", jets.variant)
    picture = Path(settings.out) / f"features_{plain_variant}.png"
    from jsc.datasets.distributions import draw_distributions  # here: only this needs Matplotlib, and it takes a second

    draw_distributions(jets, picture)
    console.print(f"\nevery feature by class: {picture}", soft_wrap=True)


def data_sets() -> Table:
    """A row a YAML file of the group `dataset`: its name and its first comment."""
    table = Table(title="Data sets", title_justify="left")
    table.add_column("dataset=")
    table.add_column("what it is")
    table.add_column("read by")
    for path in sorted(CONFIG_FOLDER.glob("dataset/*.yaml")):
        first_line = path.read_text().splitlines()[0]
        table.add_row(path.stem, escape(first_line.removeprefix("# ")), str(OmegaConf.load(path)._target_))
    return table


if __name__ == "__main__":
    with explained_errors("datasets", sys.argv[1:]):
        main(sys.argv[1:], Console())
