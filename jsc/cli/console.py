"""The tables that a run shows, as text: rendered once, they go to the console and to train.log alike."""

import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tabulate import SEPARATING_LINE, tabulate

from jsc.cli.settings import flat
from jsc.results import RunResult, TestResult

Item = TypeVar("Item")

WIDTH = 120
SECONDS_OF_SILENCE = 3.0


def counted(items: Iterable[Item], words: str, say: Callable[[str], None]) -> Iterator[Item]:
    """The items; where they take long, it is said now and then how many are done: `words` with `{}` for the number."""
    said = time.monotonic()
    for number, item in enumerate(items):
        if number and time.monotonic() - said > SECONDS_OF_SILENCE:
            said = time.monotonic()
            say(words.format(f"{number:,}"))
        yield item


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells under a heading, numbers to the right; folded to WIDTH unless there are too many columns for it.

    By tabulate: rich takes seventeen times as long, and a run that trains for 200 ms would wait 6 for its two tables.
    """
    rows = [list(row) for row in rows]
    are_numbers = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(columns))]
    heading = [list(columns)] if any(columns) else []  # as tabulate's own headers they would be padded
    cells = _folded([*heading, *([shown(cell) for cell in row] for row in rows)])
    text = tabulate(
        [*cells[: len(heading)], *([SEPARATING_LINE] if heading else []), *cells[len(heading) :]],
        tablefmt="rounded_outline",
        disable_numparse=True,
        colalign=["right" if is_number else "left" for is_number in are_numbers],
    )
    return f"{title}\n{text}"


def _folded(rows: list[list[str]]) -> list[list[str]]:
    """The cells with further line breaks where a line of the table would be too long: the widest columns are narrowed.

    Not by tabulate, which takes a number for one again when it folds it, `1,234` for none, and False for True.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    left = WIDTH - 3 * len(widths) - 1
    if sum(widths) <= left:
        return rows
    words = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    for least in (words, [1] * len(words)):  # a word is broken only if that must be
        while sum(widths) > left and (wider := [i for i in range(len(widths)) if widths[i] > least[i]]):
            widths[max(wider, key=lambda i: widths[i])] -= 1
    return [[_fold(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def _fold(text: str, width: int) -> str:
    lines = (textwrap.wrap(line, max(width, 1), break_on_hyphens=False) or [""] for line in text.split("\n"))
    return "\n".join(line for folded in lines for line in folded)


def shown(value: object) -> str:
    """A cell's text: counts with thousands separators, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_table(defaults: Mapping[str, Any], effective: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """Each setting that is not at its default: name, default, override as it was typed, effective value."""
    before, after = flat(defaults), flat(effective)
    typed = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    rows = []
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            group = name.partition(".")[0]
            override = typed.get(name) or (f"{group}={typed[group]}" if group in typed else "-")
            rows.append(
                (name, *(str(v) if v is not None else "-" for v in (before.get(name), override, after.get(name))))
            )
    if not rows:
        return "All settings are at their defaults."
    return table("Settings that differ from their defaults", ("name", "default", "override", "effective"), rows)


def result_table(result: RunResult) -> str:
    """How a run ended: scores, and where its files are."""
    rows = [
        ("status", result.status),
        ("training", _scores(result.train_loss, result.train_acc)),
        ("validation", _scores(result.val_loss, result.val_acc)),
        ("test", _scores(result.test_loss, result.test_acc)),
        ("best epoch", f"{shown(result.best_epoch)} (counted from 0; {result.epochs_run} run)"),
        ("time", _speed(result)),
        ("best checkpoint", shown(result.checkpoint_best)),
    ]
    return table(f"{result.model} on {result.dataset} ({result.dataset_variant})", ("", ""), rows)


def _scores(loss: float | None, accuracy: float | None) -> str:
    if loss is None or accuracy is None:
        return "-"
    return f"accuracy {accuracy:.4f}, loss {loss:.4f}"


def _speed(result: RunResult) -> str:
    speed = f" at {result.jets_per_second:,.0f} jets a second" if result.jets_per_second else ""
    return f"{result.fit_seconds:.1f} s of training{speed}, {result.total_seconds:.1f} s in all"


def test_tables(result: TestResult) -> str:
    """Scores, each class against the rest, and the confusion matrix."""
    summary = (
        f"{result.model} ({result.num_parameters:,} parameters) on {result.num_test:,} test jets of {result.dataset} "
    )
    summary += f"({result.dataset_variant}): accuracy {result.test_acc:.4f}, loss {result.test_loss:.4f}"
    digits = [
        (s.name, s.num_jets, *("-" if v is None else f"{v:.4f}" for v in (s.precision, s.recall, s.auc)))
        for s in result.classes
    ]
    classes = table("Each class against the rest", ("class", "jets", "precision", "recall", "AUC"), digits)
    rows = [(name, *row) for name, row in zip(result.class_names, result.confusion, strict=True)]
    confusion = table("Confusion: true class by row, called class by column", ("", *result.class_names), rows)
    return f"{summary}\n{classes}\n{confusion}"
