"""Every feature's distribution by class, drawn. Shapes: N jets, F features."""

import io
import math
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from jsc.datasets.prepared import PreparedJets
from jsc.results import write_atomically

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey by their line styles.
CLASS_COLORS = {"g": "#0072B2", "q": "#56B4E9", "w": "#009E73", "z": "#E69F00", "t": "#D55E00"}
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

NUM_BINS = 60
SHOWN_QUANTILES = (0.002, 0.998)  # a few jets far out would squeeze all others into one bin
NUM_COLUMNS = 4


def draw_distributions(jets: PreparedJets, path: Path) -> None:
    """Write one PNG: a panel a feature, in the feature's units, a line a class, each of area 1."""
    num_rows = math.ceil(jets.num_features / NUM_COLUMNS)
    colors = dict(zip(jets.class_names, cycle(CLASS_COLORS.values()), strict=False)) | CLASS_COLORS
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(12, 2.2 * num_rows + 0.8), layout="constrained")
        panels = figure.subplots(num_rows, NUM_COLUMNS, squeeze=False).ravel()
        for i, (name, panel) in enumerate(zip(jets.feature_names, panels, strict=False)):
            values_N = jets.x_NF[:, i] * jets.std_F[i] + jets.mean_F[i]
            edges = _bin_edges(values_N)
            for j, (label, style) in enumerate(zip(jets.class_names, LINE_STYLES, strict=False)):
                heights, _ = np.histogram(values_N[jets.labels_N == j], edges, density=True)
                panel.stairs(heights, edges, color=colors[label], linestyle=style, linewidth=1.2, label=label)
            panel.set(xlabel=name, yticks=[], xlim=(edges[0], edges[-1]))
            panel.locator_params(axis="x", nbins=5)
        for panel in panels[jets.num_features :]:
            panel.axis("off")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=jets.num_classes, frameon=False)
        figure.suptitle(f"{len(jets.labels_N):,} jets of {jets.variant}, by class", x=0.01, ha="left")
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=150)
    write_atomically(path, content.getvalue())


def _bin_edges(values_N: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = np.quantile(values_N, SHOWN_QUANTILES)
    if high - low < 1:
        return np.linspace(low, high, NUM_BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    whole_N = np.rint(values_N)
    if np.abs(values_N - whole_N).max() > 1e-3:  # not counts, that were standardised in float32
        return np.linspace(low, high, NUM_BINS + 1)
    step = math.ceil((high - low) / NUM_BINS)  # bins of unequally many whole numbers would make a comb of the line
    return np.arange(np.rint(low), np.rint(high) + 1 + step, step) - 0.5
