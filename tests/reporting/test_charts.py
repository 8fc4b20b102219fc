from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jsc.cli.settings import is_option
from jsc.reporting import charts
from jsc.reporting.charts import Axis, BarChart, HeatMap, LineChart, Series
from jsc.reporting.drawing import draw, make_figure
from jsc.reporting.palette import DARK_INK, INK, STROKES
from jsc.reporting.questions import Question, find_configurations, find_questions
from jsc.reporting.runs import read_runs
from jsc.results import read_metrics

RunWriter = Callable[..., Path]


@pytest.fixture
def ask(tmp_path: Path, run_writer: RunWriter) -> Callable[..., list[Question]]:
    def questions(*runs: dict[str, object]) -> list[Question]:
        folders = [run_writer(tmp_path / f"{i}", **{"max_epochs": 3, **run}) for i, run in enumerate(runs)]
        return find_questions(find_configurations(read_runs(folders, is_option)))

    return questions


def test_learning_curves_are_those_of_the_files(ask, tmp_path: Path) -> None:
    (question,) = ask({"lr": 0.01, "seed": 1}, {"lr": 0.01, "seed": 2}, {"lr": 0.1})
    train, val = charts.training_chart(question), charts.validation_chart(question)
    rows = [read_metrics(tmp_path / name) for name in ("0", "1", "2")]
    for chart, x, y in ((train, "step", "train_acc"), (val, "epoch", "val_acc")):
        assert [s.x for s in chart.series] == [tuple(getattr(row, x) for row in run) for run in rows]
        assert [s.y for s in chart.series] == [tuple(getattr(row, y) for row in run) for run in rows]
        assert [s.label for s in chart.series] == ["0.01", None, "0.1"], "one entry a configuration"
        assert chart.series[0].stroke == chart.series[1].stroke != chart.series[2].stroke
        assert chart.legend_title == "learning rate"
    assert (train.x.label, val.x.label) == ("optimizer step", "epoch")


@pytest.mark.parametrize(("batch_sizes", "scale"), [((64, 256), "linear"), ((64, 1024), "log")])
def test_steps_are_logarithmic_where_some_runs_took_ten_times_as_many(ask, batch_sizes, scale: str) -> None:
    (question,) = ask(*({"batch_size": batch_size} for batch_size in batch_sizes))
    assert charts.training_chart(question).x == Axis("optimizer step", scale)


def test_a_short_run_lies_in_front_of_the_longer_one_that_went_on_from_it(ask) -> None:
    (question,) = ask({"max_epochs": 2}, {"max_epochs": 9}, {"max_epochs": 4})
    lines = make_figure(charts.validation_chart(question)).axes[0].get_lines()
    order = sorted(lines, key=lambda line: line.get_zorder())
    assert [len(line.get_xdata()) for line in order] == [9, 4, 2]


def test_a_legend_holds_ten_and_the_rest_are_grey(ask) -> None:
    (question,) = ask(*({"lr": 10.0 ** -(i / 4)} for i in range(13)))
    chart = charts.validation_chart(question)
    assert len(chart.series) == 13
    assert chart.num_legend_entries == 10
    assert chart.series[0].label == "4 others"
    best = sorted(question.configurations, key=lambda c: c.val_loss)[:9]
    coloured = [s for s in chart.series if s.stroke in STROKES]
    assert {s.y[-1] for s in coloured} == {c.runs[0].epochs[-1].val_acc for c in best}
    assert len({s.stroke for s in coloured}) == 9


def test_a_diverged_run_is_drawn_to_its_last_number(ask) -> None:
    (question,) = ask({"lr": 0.1, "status": "diverged", "max_epochs": 6}, {"lr": 0.01, "max_epochs": 6})
    chart = charts.loss_chart([("bad", question.configurations[1].runs[0])])
    assert [len(s.x) for s in chart.series] == [3, 3]
    assert charts.training_chart(question).series[1].label == "0.1 (diverged)"


def test_time_is_the_mean_over_seeds(ask) -> None:
    (question,) = ask(*({"batch_size": b, "seed": s, "fit_seconds": b / 64 + s} for b in (64, 256) for s in (1, 2)))
    (series,) = charts.time_chart(question).series
    assert (series.x, series.y) == ((64.0, 256.0), (2.5, 5.5))
    assert series.deviations == pytest.approx((0.5**0.5, 0.5**0.5))


def test_networks_stand_at_their_size_with_the_front_through_the_best(ask) -> None:
    accuracies = {"jsc-tiny": 0.70, "jsc-medium": 0.69, "jsc-tiny-x10": 0.72}
    (question,) = ask(*({"model": model, "test_acc": acc} for model, acc in accuracies.items()))
    front, *networks = charts.size_chart(question, "test_acc").series
    assert [(s.label, s.x, s.y) for s in networks] == [
        ("jsc-tiny", (127.0,), (0.70,)),
        ("jsc-medium", (1407.0,), (0.69,)),
        ("jsc-tiny-x10", (1997.0,), (0.72,)),
    ]
    assert (front.label, front.x, front.y) == ("Pareto front", (127.0, 1997.0), (0.70, 0.72))


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1, 0.5), (2, 0.4), (3, 0.6)], [0, 2]),
        ([(2, 0.5), (2, 0.6), (1, 0.6)], [2]),
    ],
)
def test_pareto(points: list[tuple[float, float]], front: list[int]) -> None:
    assert charts.pareto(points) == front


def test_a_heat_map_has_a_cell_for_each_pair(ask) -> None:
    questions = ask(
        *({"lr": lr, "batch_size": b, "val_acc": lr + b / 1024} for lr in (0.25, 0.5) for b in (64, 256)),
        {"lr": 0.5, "batch_size": 256, "val_acc": 0.95, "seed": 2},
        {"lr": 1.0, "batch_size": 64, "status": "diverged"},
    )
    chart = charts.heat_map(next(q for q in questions if len(q.varied) == 2), "val_acc")
    assert (chart.x, chart.columns) == ("learning rate", ("0.25", "0.5", "1"))
    assert (chart.y, chart.rows) == ("batch size", ("64", "256"))
    assert chart.cells == ((0.3125, 0.5625, None), (0.5, pytest.approx(0.85), None))
    assert chart.marks == (("", "", "diverged"), ("", "± 0.141", "\N{EN DASH}"))


def test_confusion_is_the_share_of_each_true_class_over_seeds(ask) -> None:
    (question,) = ask({"seed": 1}, {"seed": 2})
    tests = [run.test for run in question.configurations[0].runs if run.test]
    chart = charts.confusion_map(tests)
    counts = np.sum([test.confusion for test in tests], axis=0)
    np.testing.assert_allclose(np.array(chart.cells, float), counts / counts.sum(axis=1, keepdims=True), rtol=1e-14)
    assert chart.rows == chart.columns == ("g", "q", "W", "Z", "t")


def test_recall_bars(ask) -> None:
    (question,) = ask({})
    (test,) = [run.test for run in question.configurations[0].runs if run.test]
    chart = charts.recall_bars([test, test], ["A", "B"])
    assert chart.values[0] == tuple(scores.recall for scores in test.classes)
    assert chart.colours == ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00")


LINES = LineChart(
    Axis("epoch"), Axis("loss (nats)"), tuple(Series(f"{i}", (0, 1, 2), (i, 2, 1), STROKES[i]) for i in range(10)), "lr"
)
LOG = LineChart(
    Axis("batch size (jets)", "log", (64.0, 256.0)),
    Axis("training time (s)", "log"),
    (Series(None, (64, 256), (2.0, 1.0), STROKES[0], deviations=(0.1, 0.0)),),
)
HEAT = HeatMap("x", "y", "accuracy", ("1", "2"), ("3", "4"), ((0.1, None), (0.5, 0.6)), 3)
EMPTY = HeatMap("x", "y", "accuracy", ("1",), ("3",), ((None,),), 3, marks=(("diverged",),))
BARS = BarChart(Axis("recall"), ("g", "t"), ("#0072B2", "#D55E00"), ("A", "B"), ((0.5, 0.6), (0.7, 0.8)))


def test_lines_are_drawn_as_they_are() -> None:
    figure = make_figure(LINES)
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert [tuple(line.get_ydata()) for line in drawn] == [s.y for s in LINES.series]
    assert [line.get_color() for line in drawn] == [s.stroke.colour for s in LINES.series]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [s.label for s in LINES.series]
    assert legend.get_title().get_text() == "lr"


def test_logarithmic_axes_have_plain_ticks() -> None:
    (axes,) = make_figure(LOG).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["64", "256"]


def test_cells_are_drawn_with_their_values() -> None:
    axes = make_figure(HEAT).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), [[0.1, np.nan], [0.5, 0.6]])
    assert [text.get_text() for text in axes.texts] == ["0.100", "", "0.500", "0.600"]


def test_bars_are_drawn_at_their_height() -> None:
    axes = make_figure(BARS).axes[0]
    assert [patch.get_height() for patch in axes.patches] == [0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize("chart", [LINES, LOG, HEAT, EMPTY, BARS], ids=["lines", "log", "heat", "empty", "bars"])
def test_a_drawing_is_a_png_and_an_svg_for_light_and_dark(chart) -> None:
    drawing = draw(chart)
    assert drawing.png.startswith(b"\x89PNG")
    assert drawing.svg.startswith("<svg")
    assert INK in drawing.svg
    assert INK not in drawing.dark_svg
    assert DARK_INK in drawing.dark_svg
    assert draw(chart) == drawing, "the same chart gives the same files"
