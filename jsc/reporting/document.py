"""A report as blocks of text, tables, figures and commands, before it is put into Markdown or HTML.

Text is plain, but for `code` between backticks.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from jsc.reporting.drawing import Draw
from jsc.reporting.wording import NONE

Item = TypeVar("Item")

_NUMBER = re.compile(r"[<+-]? ?[\d.,]+(e[+-]?\d+)?( (±|to) [\d.,]+)?( \(n = \d+\))?|\N{EN DASH}")
_LONG_TABLE = 30  # rows from which a page folds a table


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """What a reader types into a shell."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells are text as shown, as many in each row as the header has."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, caption: str, items: Iterable[Item], columns: Mapping[str, Callable[[Item], object]]) -> "Table":
        """A row an item; `columns` maps each heading to what makes a cell of an item, None for an empty one."""
        cells = [[cell(item) for cell in columns.values()] for item in items]
        return cls(caption, tuple(columns), tuple(tuple(NONE if c is None else str(c) for c in row) for row in cells))

    @cached_property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers alone, and stands right-aligned."""
        return [all(_NUMBER.fullmatch(row[i]) for row in self.rows) for i in range(len(self.header))]

    @property
    def is_long(self) -> bool:
        return len(self.rows) > _LONG_TABLE


@dataclass(frozen=True)
class Figure:
    """What `draw` draws, under its file name (without an ending); `caption` says what is seen."""

    name: str
    caption: str
    draw: Draw


Block = Paragraph | Bullets | Command | Table | Figure


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    title: str
    sections: tuple[Section, ...]

    @property
    def figures(self) -> list[Figure]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Figure)]
