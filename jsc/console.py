"""The tables that a run shows, as text: rendered once, they go to the console and to train.log alike."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from jsc.results import RunResult, TestResult

WIDTH = 120


def rendered(table: Table) -> str:
    """A table as plain text, no wider than WIDTH columns."""
    text = io.StringIO()
    Console(file=text, width=WIDTH, no_color=True).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells under a heading; numbers stand to the right."""
    rows = [list(row) for row in rows]
    built = Table()
    for index, column in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        built.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        built.add_row(*(shown(cell) for cell in row))
    return f"{title}\n{rendered(built)}"


def shown(value: object) -> str:
    """A cell's text: counts with thousands separators, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"trainer.max_epochs": 20}` from nested mappings."""
    leaves: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


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
