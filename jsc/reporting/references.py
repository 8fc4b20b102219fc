"""The labs' own figures (`labs.json`, copied from their reports), to stand beside ours.

They are of other jets, one seed and other budgets, so levels do not compare; whether a score rises or falls does.
"""

import importlib.resources
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pydantic

from jsc.reporting.document import Table
from jsc.reporting.questions import Configuration, Question
from jsc.reporting.tables import mean_and_deviation, seeds
from jsc.reporting.wording import NONE, label, named, score, seconds, shown

_SCORES = {
    "train_loss": ("training loss", score),
    "val_loss": ("validation loss", score),
    "val_acc": ("validation accuracy", score),
    "test_acc": ("test accuracy", score),
    "test_loss": ("test loss", score),
    "fit_seconds": ("seconds", seconds),
}


@dataclass(frozen=True, kw_only=True)
class LabRow:
    """`values`: of the varied settings, in order. A score that the lab did not give is None."""

    values: tuple[int | float | str, ...]
    train_loss: float | None = None
    val_loss: float | None = None
    val_acc: float | None = None
    test_acc: float | None = None
    test_loss: float | None = None
    fit_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class LabTable:
    """One lab's table: which report, what it varied, on which data, with which other settings; what to know of it."""

    report: str
    varied: tuple[str, ...]
    data: str
    settings: str
    rows: tuple[LabRow, ...]
    note: str = ""


def lab_tables() -> list[LabTable]:
    """All that the labs measured."""
    text = importlib.resources.files("jsc.reporting").joinpath("labs.json").read_text()
    return pydantic.TypeAdapter(list[LabTable]).validate_json(text)


def introduction(question: Question) -> str:
    """What is to be known of all the labs' tables that stand under a question."""
    ours = f"{question.data}" if question.data is not None else "the runs above"
    names = [name for name in ("model", "max_epochs", "batch_size", "lr") if name in question.fixed]
    held = ", ".join(named(name, question.fixed[name]) for name in names)
    return (
        "The labs' own figures beside ours: theirs are of one seed, on other jets or another split and with other "
        f"settings, so levels do not compare; directions do. Here: {ours}; {held}."
    )


def beside(table: LabTable, question: Question) -> Table:
    """The lab's figures, and ours in the rows with the same values of what was varied."""
    ours = {tuple(c.settings[name] for name in table.varied): c for c in question.configurations}
    given = [name for name in _SCORES if any(getattr(row, name) is not None for row in table.rows)]
    header = [label(name) for name in table.varied]
    for name in given:
        title = _SCORES[name][0]
        header += [f"{title}, lab", f"{title}, here"]
    rows = []
    for row in table.rows:
        configuration = ours.get(row.values)
        cells = [shown(name, value) for name, value in zip(table.varied, row.values, strict=True)]
        for name in given:
            form = _SCORES[name][1]
            value = getattr(row, name)
            cells.append(NONE if value is None else form(value))
            n = 0 if configuration is None else len(configuration.counted)
            cells.append(NONE if configuration is None else mean_and_deviation(configuration.scores(name), form, n))
        rows.append((*cells, "not run" if configuration is None else seeds(configuration)))
    caption = f"Lab report {table.report} ({table.data}; {table.settings}). {_trend(table, ours, given)} {table.note}"
    return Table(caption.strip(), (*header, "seeds, here"), tuple(rows), frozenset(range(1, len(header))))


def _trend(
    table: LabTable, ours: dict[tuple[int | float | str | bool | None, ...], Configuration], given: Sequence[str]
) -> str:
    """On how many steps between neighbouring values each score moves the same way here as in the lab."""
    told = []
    for name in given:
        pairs = [
            (getattr(row, name), configuration.scores(name).mean)
            for row in table.rows
            if getattr(row, name) is not None
            and (configuration := ours.get(row.values)) is not None
            and configuration.scores(name).n
        ]
        steps = list(itertools.pairwise(pairs))
        if steps:
            alike = sum((b[0] - a[0]) * (b[1] - a[1]) > 0.0 for a, b in steps)
            told.append(f"{_SCORES[name][0]} {alike} of {len(steps)}")
    if not told:
        return ""
    return f"Steps between neighbouring rows on which the means move the same way: {', '.join(told)}."
