"""The data card: what jets there are and how they were made ready, on one screen. Shapes: N jets, F features."""

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jsc.datasets.prepared import PreparedJets, Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def data_card(jets: PreparedJets) -> RenderableType:
    """Variant, hash, rows a class and a split, rows left out, and each feature's range and standardiser."""
    return Group(_facts(jets), "", _rows(jets), "", _features(jets))


def _facts(jets: PreparedJets) -> Text:
    """Lines that are not folded, so that the sum can be copied from a narrow terminal: print them with crop=False."""
    facts = {
        "variant": jets.variant,
        "sha256": jets.sha256,
        "jets": f"{len(jets.labels_N):,}",
        "duplicates left out": f"{jets.num_duplicates:,}",
        "undefined class, left out": f"{jets.num_dropped:,}",
    }
    width = max(map(len, facts))
    lines = (f"{name:{width}}  {value}" for name, value in facts.items())
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")


def _rows(jets: PreparedJets) -> Table:
    table = Table(title="Jets", title_justify="left")
    table.add_column("class")
    for split in (*SPLITS, "all"):
        table.add_column(split, justify="right")
    counts = np.array([np.bincount(jets.labels_N[jets.rows_of(s)], minlength=jets.num_classes) for s in SPLITS])
    for name, per_split in zip((*jets.class_names, "all"), np.vstack([counts.T, counts.sum(axis=1)]), strict=True):
        table.add_row(escape(name), *(f"{count:,}" for count in per_split), f"{per_split.sum():,}")
    return table


def _features(jets: PreparedJets) -> Table:
    table = Table(title="Features (mean and deviation of the training jets: the standardiser)", title_justify="left")
    table.add_column("feature")
    for heading in ("mean", "deviation", "lowest", "highest"):
        table.add_column(heading, justify="right")
    for name, *values in zip(jets.feature_names, jets.mean_F, jets.std_F, jets.min_F, jets.max_F, strict=True):
        table.add_row(escape(name), *(f"{value:.5g}" for value in values))
    return table
