"""The labs' own figures (`labs.json`, copied from their reports), to stand beside ours."""

import importlib.resources
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import pydantic

from jsc.reporting.document import Table
from jsc.reporting.questions import Configuration, Question
from jsc.reporting.runs import is_finite
from jsc.reporting.tables import seeds
from jsc.reporting.wording import NONE, SCORE_NAMES, figure, label, named, shown

THE_LABS = (
    "The labs are five student reports of a MASE course, 000 to 004, that answered these questions by hand; 001 is an "
    "earlier state of 000. Their figures stand beside ours. They are of one seed, of other jets or another split, and "
    "of other settings, so levels do not compare; whether a score rises or falls does."
)


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

    @property
    def scores(self) -> list[str]:
        """The names of those that it gives."""
        names = [f.name for f in fields(LabRow) if f.name != "values"]
        return [name for name in names if any(getattr(row, name) is not None for row in self.rows)]


def lab_tables() -> list[LabTable]:
    """All that the labs measured."""
    text = importlib.resources.files("jsc.reporting").joinpath("labs.json").read_text()
    return pydantic.TypeAdapter(list[LabTable]).validate_json(text)


def introduction(question: Question) -> str:
    """What is to be known of all the labs' tables that stand under a question."""
    ours = f"{question.data}" if question.data is not None else "the runs above"
    names = [name for name in ("model", "max_epochs", "batch_size", "lr") if name in question.fixed]
    held = ", ".join(named(name, question.fixed[name]) for name in names)
    return f"The labs' own figures beside ours. Here: {ours}; {held}."


def beside(table: LabTable, question: Question) -> Table:
    """The lab's figures, and ours in the rows with the same values of what was varied."""
    ours = {tuple(c.settings[name] for name in table.varied): c for c in question.configurations}
    pairs = [(row, ours.get(row.values)) for row in table.rows]
    header = [label(name) for name in table.varied]
    header += [f"{SCORE_NAMES[name]}, {whose}" for name in table.scores for whose in ("lab", "here")]
    rows = []
    for row, c in pairs:
        cells = [shown(name, value) for name, value in zip(table.varied, row.values, strict=True)]
        for name in table.scores:
            value = getattr(row, name)
            cells.append(NONE if value is None else figure(name, value))
            cells.append(NONE if c is None else c.over_seeds(name))
        rows.append((*cells, "not run" if c is None else seeds(c)))
    caption = f"Lab report {table.report} ({table.data}; {table.settings}). {_trend(table, pairs)} {table.note}"
    return Table(caption.strip(), (*header, "seeds, here"), tuple(rows))


def _trend(table: LabTable, pairs: Sequence[tuple[LabRow, Configuration | None]]) -> str:
    """On how many steps between neighbouring values each score moves the same way here as in the lab."""
    told = []
    for name in table.scores:
        both = [(getattr(row, name), c.scores(name).mean) for row, c in pairs if c is not None]
        steps = list(itertools.pairwise(pair for pair in both if all(map(is_finite, pair))))
        if steps:
            alike = sum((b[0] - a[0]) * (b[1] - a[1]) > 0.0 for a, b in steps)
            told.append(f"{SCORE_NAMES[name]} {alike} of {len(steps)}")
    return f"Steps between neighbouring rows on which the means move the same way: {', '.join(told)}." if told else ""
