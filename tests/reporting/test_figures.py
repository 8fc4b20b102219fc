"""Figures, drawn and looked into: what stands on their axes is what the files hold."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from jsc.cli.settings import is_option
from jsc.reporting import figures
from jsc.reporting.drawing import DARK_INK, LINES, OTHERS, make_figure, save
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


def curves(question: Question, x: str = "epoch", y: str = "val_acc") -> Figure:
    return make_figure(lambda figure: figures.learning_curves(figure, question, x=x, y=y))


def legend(axes: Axes) -> list[str]:
    """What the legend of an axes' part of the figure says."""
    (found,) = axes.get_figure(root=False).legends
    return [text.get_text() for text in found.get_texts()]


@pytest.mark.parametrize(("x", "y", "name"), [("step", "train_acc", "optimizer step"), ("epoch", "val_acc", "epoch")])
def test_learning_curves_are_those_of_the_files(ask, tmp_path: Path, x: str, y: str, name: str) -> None:
    (question,) = ask({"lr": 0.01}, {"lr": 0.1})
    (axes,) = curves(question, x, y).axes
    for line, run in zip(axes.lines, ("0", "1"), strict=True):
        rows = read_metrics(tmp_path / run)
        assert list(line.get_xdata()) == [getattr(row, x) for row in rows]
        assert list(line.get_ydata()) == [getattr(row, y) for row in rows]
    assert legend(axes) == ["0.01", "0.1"]
    assert axes.get_figure(root=False).legends[0].get_title().get_text() == "learning rate"
    assert axes.get_xlabel() == name
    assert not axes.collections, "one seed has no band"


def test_seeds_are_one_line_in_a_band(ask, tmp_path: Path) -> None:
    (question,) = ask(*({"lr": 0.1, "seed": s} for s in (1, 2, 3)), {"lr": 0.01})
    axes = curves(question).axes[0]
    assert len(axes.lines) == 2
    runs = [[row.val_acc for row in read_metrics(tmp_path / name)] for name in ("0", "1", "2")]
    np.testing.assert_allclose(axes.lines[1].get_ydata(), np.mean(runs, axis=0), rtol=1e-12)
    (band,) = axes.collections
    low, high = band.get_datalim(axes.transData).get_points()[:, 1]
    assert (low, high) == (np.min(runs), np.max(runs))


def test_the_mean_goes_on_with_the_seeds_that_got_there(ask, tmp_path: Path) -> None:
    (question,) = ask({"seed": 1}, {"seed": 2, "status": "stopped_early", "epochs_run": 1})
    line = curves(question).axes[0].lines[0]
    longer = [row.val_acc for row in read_metrics(tmp_path / "0")]
    assert list(line.get_xdata()) == [0, 1, 2]
    assert list(line.get_ydata())[1:] == longer[1:]


@pytest.mark.parametrize(("batch_sizes", "scale"), [((64, 256), "linear"), ((64, 1024), "log")])
def test_steps_are_logarithmic_where_some_runs_took_ten_times_as_many(ask, batch_sizes, scale: str) -> None:
    (question,) = ask(*({"batch_size": batch_size} for batch_size in batch_sizes))
    axes = curves(question, "step", "train_acc").axes[0]
    assert axes.get_xscale() == scale
    if scale == "log":
        assert axes.xaxis.get_major_formatter()(1000.0) == "1000"


def test_a_short_run_lies_in_front_of_the_longer_one_that_went_on_from_it(ask) -> None:
    (question,) = ask({"max_epochs": 2}, {"max_epochs": 9}, {"max_epochs": 4})
    order = sorted(curves(question).axes[0].lines, key=lambda line: line.get_zorder())
    assert [len(line.get_xdata()) for line in order] == [9, 4, 2]


def test_nine_values_are_two_panels_on_one_scale(ask) -> None:
    (question,) = ask(*({"lr": 10.0 ** -(i / 4)} for i in range(9)))
    axes = curves(question).axes
    assert [len(panel.lines) for panel in axes] == [8, 1]
    assert [name for panel in axes for name in legend(panel)] == question.values
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_a_plane_is_a_panel_a_value_of_the_setting_with_fewer(ask) -> None:
    questions = ask(*({"lr": lr, "batch_size": b} for lr in (0.1, 0.01, 0.001, 1e-4) for b in (64, 128, 256)))
    plane = next(question for question in questions if question.is_plane)
    axes = curves(plane).axes
    assert [panel.get_title() for panel in axes] == ["batch size 64", "batch size 128", "batch size 256"]
    assert [legend(panel) for panel in axes] == [["0.0001", "0.001", "0.01", "0.1"]] * 3


def test_a_value_has_one_line_style_in_all_panels_of_a_plane(ask) -> None:
    lrs = (0.1, 0.01, 0.001)
    questions = ask(*({"lr": lr, "batch_size": b} for lr in lrs for b in (64, 128, 256) if (lr, b) != (0.001, 64)),
                    *({"lr": 1e-4, "batch_size": b} for b in (64, 128, 256)))  # fmt: skip
    plane = next(question for question in questions if question.is_plane)
    styles = {(line.get_label(), line.get_marker()) for panel in curves(plane).axes for line in panel.lines}
    assert len(styles) == 4


def test_of_very_many_the_best_are_shown_and_never_more_than_a_panel_can_tell_apart(ask) -> None:
    (question,) = ask(*({"lr": 10.0 ** -(i / 20), "max_epochs": 1} for i in range(50)))
    parts = figures.panels(question)
    assert max(len(panel.names) for panel in parts) <= len(LINES)
    best = sorted(range(50), key=lambda i: question.configurations[i].val_loss)[: figures.MAX_CURVES]
    assert [i for panel in parts for i in panel.names] == sorted(best)


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's contrast of two colours; 3 is the least that it allows for lines and symbols."""

    def luminance(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", sorted({OTHERS, *(line["color"] for line in LINES)}))
def test_lines_are_seen_on_light_and_on_dark_pages(colour: str) -> None:
    page = (Path(figures.__file__).parent / "page.html").read_text()
    for background in ("#fff", "#15181c"):
        assert f"--page: {background};" in page
        assert contrast(colour, background) >= 3


def test_lines_differ_in_dashes_and_markers_so_that_grey_print_tells_them_apart(ask) -> None:
    (question,) = ask(*({"lr": 10.0 ** -(i / 4), "max_epochs": 20} for i in range(8)))
    lines = curves(question).axes[0].lines
    assert len({str(line["linestyle"]) for line in LINES}) == 8
    assert len({line.get_marker() for line in lines}) == 8
    assert all(line.get_markevery() is not None for line in lines)


def test_a_diverged_run_is_drawn_to_its_last_number(ask) -> None:
    (question,) = ask({"lr": 0.1, "status": "diverged", "max_epochs": 6}, {"lr": 0.01, "max_epochs": 6})
    run = question.configurations[1].runs[0]
    axes = make_figure(lambda figure: figures.loss_curves(figure, {"bad": run})).axes[0]
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 3]
    assert legend(curves(question).axes[0]) == ["0.01", "0.1 (diverged)"]


def test_losses_are_a_panel_a_run(ask, tmp_path: Path) -> None:
    (question,) = ask({"seed": 1}, {"seed": 2}, {"seed": 3})
    runs = {f"seed {i}": run for i, run in enumerate(question.configurations[0].runs)}
    axes = make_figure(lambda figure: figures.loss_curves(figure, runs)).axes
    assert [panel.get_title() for panel in axes] == ["seed 0", "seed 1", "seed 2"]
    rows = read_metrics(tmp_path / "1")
    assert [list(line.get_ydata()) for line in axes[1].lines] == [
        [row.val_loss for row in rows],
        [row.train_loss for row in rows],
    ]


def errors(axes: Axes) -> list[tuple[float, float, float]]:
    """(x, y, half the error bar) of each point."""
    points = []
    for container in axes.containers:
        line, _, (bars,) = container.lines
        spans = [segment[:, 1] for segment in bars.get_segments()]
        points += [(x, y, (b - a) / 2) for x, y, (a, b) in zip(*line.get_data(), spans, strict=True)]
    return points


def test_time_is_the_mean_over_seeds(ask) -> None:
    (question,) = ask(*({"batch_size": b, "seed": s, "fit_seconds": b / 64 + s} for b in (64, 256) for s in (1, 2)))
    (axes,) = make_figure(lambda figure: figures.training_time(figure, question)).axes
    sd = pytest.approx(0.5**0.5)
    assert errors(axes) == [(64, 2.5, sd), (256, 5.5, sd)]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["64", "256"]


def test_networks_stand_at_their_size_with_the_front_through_the_best(ask) -> None:
    accuracies = {"jsc-tiny": 0.70, "jsc-medium": 0.69, "jsc-tiny-x10": 0.72}
    (question,) = ask(*({"model": model, "test_acc": acc} for model, acc in accuracies.items()))
    (axes,) = make_figure(lambda figure: figures.accuracy_by_size(figure, question, "test_acc")).axes
    assert errors(axes) == [(127, 0.70, 0), (1407, 0.69, 0), (1997, 0.72, 0)]
    (front,) = (line for line in axes.lines if line.get_label() == "Pareto front")
    assert (list(front.get_xdata()), list(front.get_ydata())) == ([127, 1997], [0.70, 0.72])
    assert legend(axes) == ["Pareto front", *accuracies]


def test_a_heat_map_has_a_cell_for_each_pair(ask) -> None:
    questions = ask(
        *({"lr": lr, "batch_size": b, "val_acc": lr + b / 1024} for lr in (0.25, 0.5) for b in (64, 256)),
        {"lr": 0.5, "batch_size": 256, "val_acc": 0.95, "seed": 2},
        {"lr": 1.0, "batch_size": 64, "status": "diverged"},
    )
    plane = next(question for question in questions if question.is_plane)
    axes = make_figure(lambda figure: figures.score_map(figure, plane, "val_acc")).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "batch size")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.25", "0.5", "1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["64", "256"]
    cells = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_allclose(cells, [[0.3125, 0.5625, np.nan], [0.5, 0.85, np.nan]], rtol=1e-12)
    told = [text.get_text() for text in axes.texts]
    assert told == ["0.312", "0.562", "diverged", "0.500", "0.850\n± 0.141", "\N{EN DASH}"]


def test_confusion_is_the_share_of_each_true_class_over_seeds(ask) -> None:
    (question,) = ask({"seed": 1}, {"seed": 2})
    tests = [run.test for run in question.configurations[0].runs if run.test]
    axes = make_figure(lambda figure: figures.confusion_map(figure, tests)).axes[0]
    counts = np.sum([test.confusion for test in tests], axis=0)
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares, counts / counts.sum(axis=1, keepdims=True), rtol=1e-14)
    assert axes.images[0].get_clim() == (0, 1)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [text.get_text() for text in labels] == ["g", "q", "W", "Z", "t"]


def test_recalls_stand_side_by_side(ask) -> None:
    (question,) = ask({}, {"lr": 0.1})
    one, other = (c.runs[0].test for c in question.configurations)
    (axes,) = make_figure(lambda figure: figures.recall_bars(figure, {"A": one, "B": other})).axes
    recalls = [scores.recall for test in (one, other) for scores in test.classes]
    assert [bar.get_height() for bar in axes.patches] == recalls
    assert [bar.get_fill() for bar in axes.patches] == [False] * 5 + [True] * 5
    assert to_hex(axes.patches[0].get_edgecolor()) != to_hex(axes.patches[-1].get_edgecolor())


def test_a_drawing_is_a_png_and_an_svg_for_light_and_dark(ask) -> None:
    (question,) = ask({"status": "diverged"}, {"lr": 0.1, "status": "failed", "epochs_run": 0})
    drawing = save(lambda figure: figures.learning_curves(figure, question, x="epoch", y="val_acc"))
    assert drawing.png.startswith(b"\x89PNG")
    assert drawing.svg.startswith("<svg")
    assert "#1b1f24" in drawing.svg
    assert "#1b1f24" not in drawing.dark_svg
    assert DARK_INK in drawing.dark_svg
    again = save(lambda figure: figures.learning_curves(figure, question, x="epoch", y="val_acc"))
    assert again == drawing, "the same runs give the same files"
