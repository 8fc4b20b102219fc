"""List the data sets, or show one: its card, and each feature by class.

python -m jsc.datasets
python -m jsc.datasets dataset=jsc_sample
python -m jsc.datasets dataset=jsc_file dataset.path=jets.npz out=pictures
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from jsc.cli.command import CONFIG_FOLDER, compose_command, explained_errors
from jsc.cli.console import rendered, table
from jsc.cli.construction import construct
from jsc.cli.help import answers_help
from jsc.cli.settings import DatasetsSettings
from jsc.datasets.cache import cache_folder, load_jets
from jsc.datasets.card import data_card
from jsc.datasets.jets import JetSource


def main(arguments: Sequence[str]) -> None:
    """Print the list, or one data set's card. Raises DatasetError or CommandError if that one cannot be used."""
    if answers_help(arguments, __doc__, "datasets", DatasetsSettings):
        return
    if not arguments:
        print(data_sets())
        print(f"dataset=NAME shows one. Downloads and prepared jets: {cache_folder()} (JSC_DATA_DIR)")
        return
    settings = compose_command("datasets", arguments, DatasetsSettings)
    jets = load_jets(construct(settings.dataset, JetSource))
    print(rendered(data_card(jets)))
    plain_variant = re.sub(r"[^\w.-]+", "_", jets.variant)
    picture = Path(settings.out) / f"features_{plain_variant}.png"
    from jsc.datasets.distributions import draw_distributions  # here: only this needs Matplotlib, and it takes a second

    draw_distributions(jets, picture)
    print(f"\nevery feature by class: {picture}")


def data_sets() -> str:
    """A table with a row a file of the group `dataset`: its name, its first comment, and the class that reads it."""
    files = sorted(CONFIG_FOLDER.glob("dataset/*.yaml"))
    abouts = [file.read_text().splitlines()[0].removeprefix("# ") for file in files]
    rows = [(file.stem, about, OmegaConf.load(file)._target_) for file, about in zip(files, abouts, strict=True)]
    return table("Data sets", ("dataset=", "what it is", "read by"), rows)


if __name__ == "__main__":
    with explained_errors("datasets", sys.argv[1:]):
        main(sys.argv[1:])
