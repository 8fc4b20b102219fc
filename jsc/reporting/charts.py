"""What the figures show, as data: built and tested here, drawn in drawing.py. Losses are in nats, times in seconds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from jsc.reporting.palette import CLASS_COLOURS, OTHERS, STROKES, Stroke
from jsc.reporting.questions import Configuration, Question, sort_values
from jsc.reporting.runs import Run
from jsc.reporting.sample import Sample
from jsc.reporting.wording import NONE, class_symbol, label, shown
from jsc.results import EpochMetrics, TestResult

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Axis:
    label: str
    scale: Scale = "linear"
    ticks: tuple[float, ...] = ()  # none: chosen when drawn


@dataclass(frozen=True)
class Series:
    """Points in order. `label` stands in the legend, once; `deviations` (as long as y, or empty) are error bars."""

    label: str | None
    x: tuple[float, ...]
    y: tuple[float, ...]
    stroke: Stroke
    deviations: tuple[float, ...] = ()


@dataclass(frozen=True)
class LineChart:
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    legend_title: str = ""

    @property
    def num_legend_entries(self) -> int:
        return sum(series.label is not None for series in self.series)


@dataclass(frozen=True)
class HeatMap:
    """`cells[row][column]`; None where nothing was run. `marks` are written under a cell's value."""

    x: str
    y: str
    value: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[float | None, ...], ...]
    decimals: int
    limits: tuple[float, float] | None = None
    marks: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class BarChart:
    """Groups of bars: `values[series][group]`, one colour a group; the bars of the first series are hollow."""

    y: Axis
    groups: tuple[str, ...]
    colours: tuple[str, ...]
    series: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


Chart = LineChart | HeatMap | BarChart

MAX_LEGEND = len(STROKES)
_GREY = Stroke(OTHERS, "solid", "o")
FRONT = Stroke(OTHERS, "solid", "")


def strokes_of(question: Question) -> dict[int, Stroke]:
    """The stroke of each configuration with a legend entry, by its position.

    All have one up to ten; of more, the nine with the lowest validation loss, and the rest share a grey tenth.
    """
    positions = list(range(len(question.configurations)))
    if len(positions) > MAX_LEGEND:
        best = sorted(positions, key=lambda i: question.configurations[i].val_loss)
        positions = sorted(best[: MAX_LEGEND - 1])
    return dict(zip(positions, STROKES, strict=False))


def _curves(
    question: Question, *, x: Callable[[EpochMetrics], float], y: Callable[[EpochMetrics], float | None]
) -> tuple[Series, ...]:
    strokes, names = strokes_of(question), question.values
    grey: list[Series] = []
    coloured: list[Series] = []
    for i, configuration in enumerate(question.configurations):
        first = True
        for run in configuration.runs:
            points = [(x(row), value) for row in run.epochs if (value := y(row)) is not None and math.isfinite(value)]
            if not points:
                continue
            xs, ys = zip(*points, strict=True)
            if i in strokes:
                coloured.append(Series(_legend(names[i], configuration) if first else None, xs, ys, strokes[i]))
            else:
                grey.append(Series(None, xs, ys, _GREY))
            first = False
    if grey:
        others = len(question.configurations) - len(strokes)
        grey[0] = Series(f"{others} others", grey[0].x, grey[0].y, _GREY)
    return (*grey, *coloured)


def _legend(name: str, configuration: Configuration) -> str:
    states = sorted({run.state.replace("_", " ") for run in configuration.runs if not run.counts})
    return f"{name} ({', '.join(states)})" if states and not configuration.counted else name


def _legend_title(question: Question) -> str:
    return ", ".join(label(name) for name in question.named_by)


def training_chart(question: Question) -> LineChart:
    """Training accuracy against optimizer steps, one line a run, one colour a configuration.

    Steps are on a logarithmic axis where one run took ten times as many as another: batch sizes, numbers of epochs.
    """
    steps = [run.epochs[-1].step for c in question.configurations for run in c.counted if run.epochs]
    return LineChart(
        Axis("optimizer step", "log" if steps and max(steps) >= 10 * min(steps) else "linear"),
        Axis("training accuracy"),
        _curves(question, x=lambda row: row.step, y=lambda row: row.train_acc),
        _legend_title(question),
    )


def validation_chart(question: Question) -> LineChart:
    """Validation accuracy against epochs, one line a run, one colour a configuration."""
    return LineChart(
        Axis("epoch"),
        Axis("validation accuracy"),
        _curves(question, x=lambda row: row.epoch, y=lambda row: row.val_acc),
        _legend_title(question),
    )


def loss_chart(runs: Sequence[tuple[str, Run]]) -> LineChart:
    """Training (dashed) and validation loss (solid) of a few runs against epochs."""
    series = []
    for (name, run), stroke in zip(runs, STROKES, strict=False):
        for kind, dash in (("validation", "solid"), ("training", "dashed")):
            losses = [(row.epoch, row.val_loss if kind == "validation" else row.train_loss) for row in run.epochs]
            points = [(epoch, loss) for epoch, loss in losses if loss is not None and math.isfinite(loss)]
            xs, ys = zip(*points, strict=True)
            series.append(Series(f"{name}, {kind}", xs, ys, Stroke(stroke.colour, dash, stroke.marker)))
    return LineChart(Axis("epoch"), Axis("loss (nats)"), tuple(series))


def time_chart(question: Question) -> LineChart:
    """Training time against batch size, with the standard deviation over seeds; both axes logarithmic."""
    points = [
        (c.settings["batch_size"], scores) for c in question.configurations if (scores := c.scores("fit_seconds")).n
    ]
    x = tuple(float(batch_size) for batch_size, _ in points if isinstance(batch_size, int))
    return LineChart(
        Axis("batch size (jets)", "log", ticks=x),
        Axis("training time (s)", "log"),
        (
            Series(
                None,
                x,
                tuple(scores.mean for _, scores in points),
                STROKES[0],
                deviations=tuple(scores.deviation or 0.0 for _, scores in points),
            ),
        ),
    )


def size_chart(question: Question, score: str) -> LineChart:
    """Mean accuracy of each network against its parameters, and the Pareto front of those with equal epochs."""
    strokes, names = strokes_of(question), question.values
    networks, fair = [], []
    for i, c in enumerate(question.configurations):
        scores = c.scores(score)
        if scores.n:
            point, deviation = (float(c.num_parameters), scores.mean), scores.deviation or 0.0
            name, stroke = (names[i], strokes[i]) if i in strokes else (None, _GREY)
            networks.append(Series(name, (point[0],), (point[1],), stroke, deviations=(deviation,)))
            if c.epochs == question.budget:
                fair.append(point)
    front = [fair[i] for i in pareto(fair)]
    line = Series("Pareto front", tuple(size for size, _ in front), tuple(mean for _, mean in front), FRONT)
    return LineChart(
        Axis("trainable parameters", "log"),
        Axis(_SCORES[score]),
        (line, *networks) if front else tuple(networks),
        _legend_title(question),
    )


_SCORES = {"test_acc": "test accuracy", "val_acc": "validation accuracy"}


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the (cost, gain) points that no other point beats in one and equals or beats in the other."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def heat_map(question: Question, score: str) -> HeatMap:
    """The mean of a score over a plane of two settings: the second varied setting in rows, the first in columns."""
    across, down = question.varied
    columns, rows = (sort_values(question.configurations, name) for name in (across, down))
    by_values = {(c.settings[across], c.settings[down]): c for c in question.configurations}
    cells, marks = [], []
    for row in rows:
        found = [by_values.get((column, row)) for column in columns]
        samples = [c.scores(score) if c is not None else Sample(()) for c in found]
        cells.append(tuple(s.mean if s.n else None for s in samples))
        marks.append(tuple(_mark(c, s) for c, s in zip(found, samples, strict=True)))
    return HeatMap(
        x=label(across),
        y=label(down),
        value=_SCORES[score],
        columns=tuple(shown(across, value) for value in columns),
        rows=tuple(shown(down, value) for value in rows),
        cells=tuple(cells),
        decimals=3,
        marks=tuple(marks),
    )


def _mark(configuration: Configuration | None, scores: Sample) -> str:
    if configuration is None:
        return NONE
    if not scores.n:
        return configuration.runs[0].state.replace("_", " ")
    return f"± {scores.deviation:.3f}" if scores.deviation is not None else ""


def confusion_map(tests: Sequence[TestResult]) -> HeatMap:
    """Share of each true class that was called each class, over the jets of all tests (one network, several seeds)."""
    names = tuple(class_symbol(name) for name in tests[0].class_names)
    indices = range(len(names))
    sums = [[sum(test.confusion[i][j] for test in tests) for j in indices] for i in indices]
    cells = tuple(tuple(cell / total if (total := sum(row)) else None for cell in row) for row in sums)
    return HeatMap(
        x="predicted class",
        y="true class",
        value="share of the true class",
        columns=names,
        rows=names,
        cells=cells,
        decimals=3,
        limits=(0.0, 1.0),
    )


def recall_bars(tests: Sequence[TestResult], names: Sequence[str]) -> BarChart:
    """Recall of each class by each network."""
    classes = tests[0].class_names
    return BarChart(
        Axis("recall"),
        groups=tuple(class_symbol(name) for name in classes),
        colours=tuple(CLASS_COLOURS.get(name, OTHERS) for name in classes),
        series=tuple(names),
        values=tuple(tuple(scores.recall or 0.0 for scores in test.classes) for test in tests),
    )
