"""What the figures of a report show: functions that draw runs into a matplotlib figure.

Losses are in nats, times in seconds, accuracies fractions. Shapes: R rows and C columns of cells.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from jsc.reporting.claims import pareto
from jsc.reporting.drawing import COLOURS, HEIGHT, LINES, OTHERS, WIDTH
from jsc.reporting.questions import Configuration, Question, sort_values
from jsc.reporting.runs import Run, is_finite
from jsc.reporting.wording import NONE, SCORE_NAMES, class_symbol, label, named, shown, state_name
from jsc.results import TestResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, FigureBase, SubFigure

MAX_LINES = len(LINES)  # of one panel: more could not be told apart
MAX_CURVES = 6 * MAX_LINES  # of one figure


@dataclass(frozen=True)
class Panel:
    """`names`: of configurations, by their positions in the question, under the legend's title."""

    title: str
    legend_title: str
    names: dict[int, str]


def panels(question: Question) -> list[Panel]:
    """At most MAX_LINES configurations a panel; those of a plane share one value of the setting that took fewer.

    Of more than MAX_CURVES configurations those with the lowest validation losses are shown.
    """
    configurations = question.configurations
    best = sorted(range(len(configurations)), key=lambda i: configurations[i].val_loss)
    positions = sorted(best[:MAX_CURVES])
    rows = [Panel("", question.legend_title, {i: question.values[i] for i in positions})]
    if question.is_plane and len(positions) > MAX_LINES:
        by, along = sorted(question.varied, key=lambda name: len(sort_values(configurations, name)))
        rows = []
        for value in sort_values(configurations, by):
            names = {i: configurations[i].shown(along) for i in positions if configurations[i].settings[by] == value}
            rows.append(Panel(named(by, value), label(along), names))
    return [
        replace(row, names=dict(list(row.names.items())[k : k + MAX_LINES]))
        for row in rows
        for k in range(0, len(row.names), MAX_LINES)
    ]


def learning_curves(
    figure: "Figure", question: Question, *, x: Literal["step", "epoch"], y: Literal["train_acc", "val_acc"]
) -> None:
    """An accuracy against optimizer steps or epochs: a line a configuration, in panels where there are many.

    A line is the mean of the seeds that got to a point; its band goes from the lowest to the highest of them. Steps are
    on a logarithmic axis where one run took ten times as many as another.
    """
    parts = panels(question)
    names = list(dict.fromkeys(name for panel in parts for name in panel.names.values()))
    first: Axes | None = None
    for place, panel in zip(_places(figure, [list(panel.names.values()) for panel in parts]), parts, strict=True):
        axes = place.add_subplot(sharex=first, sharey=first, title=panel.title, ylabel=SCORE_NAMES[y])
        first = first or axes
        lines = dict(zip(names if len(names) <= MAX_LINES else panel.names.values(), LINES, strict=False))
        for i, name in panel.names.items():
            c = question.configurations[i]
            _draw_mean(axes, c.counted or c.runs, x, y, label=_with_state(name, c), **lines[name])
        _add_legend(place, axes, panel.legend_title)
        if x == "epoch":
            _label_epochs(axes)
        else:
            axes.set_xlabel("optimizer step")
    ends = [run.epochs[-1].step for c in question.configurations for run in c.counted if run.epochs]
    if x == "step" and first is not None:
        _scale(first, "x", ends)


def _places(figure: "Figure", names: Sequence[Sequence[str]]) -> "list[SubFigure]":
    """Parts of a figure, two side by side, each with room for a legend of these names."""
    num_columns = min(2, len(names))
    num_rows = math.ceil(len(names) / num_columns)
    legend_rows = max(math.ceil(len(legend) / _legend_columns(legend)) for legend in names)
    figure.set_size_inches(WIDTH * num_columns, (HEIGHT + 0.19 * legend_rows) * num_rows)
    return list(figure.subfigures(num_rows, num_columns, squeeze=False).flat)[: len(names)]


def _legend_columns(names: Sequence[str]) -> int:
    return max(1, 48 // (max(map(len, names)) + 7))


def _add_legend(figure: "FigureBase", axes: "Axes", title: str = "") -> None:
    handles, names = axes.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside lower center", ncols=_legend_columns(names), title=title or None)


def _with_state(name: str, configuration: Configuration) -> str:
    states = sorted({state_name(run.state) for run in configuration.runs if not run.counts})
    return f"{name} ({', '.join(states)})" if states and not configuration.counted else name


def _draw_mean(axes: "Axes", runs: Sequence[Run], x: str, y: str, **line: Any) -> None:
    values: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        for row in run.epochs:
            if is_finite(value := getattr(row, y)):
                values[getattr(row, x)].append(value)
    xs = sorted(values)
    in_front = 2.0 + 1.0 / (1 + len(xs))  # a short run lies in front of a longer one that goes on from it
    markers = 0.12 if len(xs) > 8 else 1  # every so much of the way, or at every point
    axes.plot(xs, [statistics.fmean(values[at]) for at in xs], markevery=markers, zorder=in_front, **line)
    if any(len(found) > 1 for found in values.values()):
        low, high = ([choose(values[at]) for at in xs] for choose in (min, max))
        axes.fill_between(xs, low, high, color=line["color"], alpha=0.15, linewidth=0)


def _label_epochs(axes: "Axes") -> None:
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)


def _scale(axes: "Axes", which: Literal["x", "y"], values: Sequence[float]) -> None:
    """Logarithmic where the values span a factor of ten.

    With plain numbers rather than powers of ten, which are hard to read where a range spans few of them.
    """
    if not values or not 0 < 10 * min(values) <= max(values):
        return
    from matplotlib.ticker import LogLocator

    axes.set(**{f"{which}scale": "log"})
    axis: Axis = getattr(axes, f"{which}axis")
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300.0 else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def loss_curves(figure: "Figure", runs: Mapping[str, Run]) -> None:
    """Validation loss (solid) and training loss (dashed) against epochs, a panel a run."""
    for place, (name, run) in zip(_places(figure, [["training"]] * len(runs)), runs.items(), strict=True):
        axes = place.add_subplot(title=name, ylabel="loss (nats)")
        _draw_mean(axes, [run], "epoch", "val_loss", label="validation", **LINES[0])
        _draw_mean(axes, [run], "epoch", "train_loss", label="training", **LINES[1])
        _label_epochs(axes)
        _add_legend(place, axes)


def training_time(figure: "Figure", question: Question) -> None:
    """Training time against batch size: mean and standard deviation over seeds."""
    axes = figure.add_subplot(xlabel="batch size (jets)", ylabel="training time (s)", xscale="log")
    times = {c.results[0].batch_size: s for c in question.configurations if (s := c.scores("fit_seconds")).n}
    means = [s.mean for s in times.values()]
    axes.errorbar(list(times), means, [s.deviation or 0.0 for s in times.values()], **LINES[0])
    axes.set_xticks(list(times), [str(batch_size) for batch_size in times])
    axes.set_xticks([], minor=True)
    _scale(axes, "y", means)
    if axes.get_yscale() == "linear":
        axes.set_ylim(0.0)


def accuracy_by_size(figure: "Figure", question: Question, score: str) -> None:
    """Mean accuracy of each network against its parameters, and the Pareto front of those with equal epochs.

    Of more than MAX_LINES networks those with the lowest validation losses have a name.
    """
    networks = [
        (c, s, name)
        for c, name in zip(question.configurations, question.values, strict=True)
        if (s := c.scores(score)).n
    ]
    best = sorted(networks, key=lambda network: network[0].val_loss)[:MAX_LINES]
    (place,) = _places(figure, [["Pareto front", *(name for _, _, name in best)]])
    axes = place.add_subplot(xlabel="trainable parameters", ylabel=SCORE_NAMES[score])
    fair = [(float(c.num_parameters), s.mean) for c, s, _ in networks if c.epochs == question.budget]
    if fair:
        axes.plot(*zip(*(fair[i] for i in pareto(fair)), strict=True), color=OTHERS, label="Pareto front")
    lines = iter(LINES)
    for network in networks:
        c, s, name = network
        line = {**next(lines), "label": name} if network in best else {"color": OTHERS, "marker": "."}
        axes.errorbar([c.num_parameters], [s.mean], [s.deviation or 0.0], **{**line, "linestyle": "none"})
    _scale(axes, "x", [c.num_parameters for c, _, _ in networks])
    _add_legend(place, axes, question.legend_title)


def score_map(figure: "Figure", question: Question, score: str) -> None:
    """The mean of a score over a plane of two settings: the first varied setting in columns, the second in rows."""
    across, down = question.varied
    columns, rows = (sort_values(question.configurations, name) for name in (across, down))
    means_RC = np.full((len(rows), len(columns)), np.nan)
    texts = [[NONE] * len(columns) for _ in rows]
    for c in question.configurations:
        i, j, scores = rows.index(c.settings[down]), columns.index(c.settings[across]), c.scores(score)
        means_RC[i, j] = scores.mean
        texts[i][j] = f"{scores.mean:.3f}" if scores.n else state_name(c.runs[0].state)
        if scores.deviation is not None:
            texts[i][j] += f"\n± {scores.deviation:.3f}"
    names = (label(across), label(down), SCORE_NAMES[score])
    _draw_cells(figure, means_RC, texts, [shown(across, v) for v in columns], [shown(down, v) for v in rows], names)


def confusion_map(figure: "Figure", tests: Sequence[TestResult]) -> None:
    """Share of each true class that was predicted as each class, over the jets of all tests (one network's seeds)."""
    jets_CC = np.sum([test.confusion for test in tests], axis=0)
    num_jets_C1 = jets_CC.sum(axis=1, keepdims=True)
    shares_CC = np.divide(jets_CC, num_jets_C1, out=np.full(jets_CC.shape, np.nan), where=num_jets_C1 > 0)
    classes = [class_symbol(name) for name in tests[0].class_names]
    texts = [[NONE if math.isnan(share) else f"{share:.3f}" for share in row] for row in shares_CC]
    names = ("predicted class", "true class", "share of the true class")
    _draw_cells(figure, shares_CC, texts, classes, classes, names, limits=(0.0, 1.0))


def _draw_cells(
    figure: "Figure",
    values_RC: npt.NDArray[np.float64],
    texts: Sequence[Sequence[str]],
    columns: Sequence[str],
    rows: Sequence[str],
    names: tuple[str, str, str],
    limits: tuple[float, float] | None = None,
) -> None:
    """Coloured cells with their texts; `names` are those of the columns' axis, the rows' axis and the value."""
    figure.set_figheight(max(HEIGHT, 0.5 * len(rows) + 1.0))
    finite = values_RC[np.isfinite(values_RC)]
    low, high = limits or (finite.min(initial=1.0), finite.max(initial=0.0))
    axes = figure.add_subplot(xlabel=names[0], ylabel=names[1])
    image = axes.imshow(values_RC, cmap="cividis", aspect="auto", vmin=low, vmax=high)
    axes.grid(False)
    axes.set_xticks(range(len(columns)), columns, rotation=40 if sum(map(len, columns)) > 48 else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (i, j), value in np.ndenumerate(values_RC):
        # White on cividis' dark blue half, black on its yellow one.
        colour = None if math.isnan(value) else "black" if value - low > high - value else "white"
        size = 8 if len(columns) <= 6 else 6
        axes.text(j, i, texts[i][j], ha="center", va="center", color=colour, fontsize=size)
    figure.colorbar(image, ax=axes, label=names[2], shrink=0.9).outline.set_visible(False)


def recall_bars(figure: "Figure", tests: Mapping[str, TestResult]) -> None:
    """Recall of each class by each of two named networks: the first's bars are hollow."""
    axes = figure.add_subplot(ylabel="recall", ylim=(0.0, 1.0))
    for k, (name, test) in enumerate(tests.items()):
        recalls = [scores.recall or 0.0 for scores in test.classes]
        at = np.arange(len(recalls)) + 0.4 * k - 0.2
        axes.bar(at, recalls, 0.36, fill=k > 0, color=COLOURS[k], edgecolor=COLOURS[k], linewidth=1.2, label=name)
        axes.set_xticks(range(len(recalls)), [class_symbol(scores.name) for scores in test.classes])
    axes.grid(axis="x", visible=False)
    _add_legend(figure, axes)
