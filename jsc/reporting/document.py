"""A report as blocks of text, tables, figures and commands, before it is put into Markdown or HTML.

Text is plain, but for `code` between backticks.
"""

from dataclasses import dataclass

from jsc.reporting.charts import Chart


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
    """Cells are text as shown; `numeric`: columns, by position, that stand right-aligned; `folded`: a long table."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart under its file name (without an ending); `caption` says what is seen."""

    name: str
    caption: str
    chart: Chart


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
    def figures(self) -> tuple[Figure, ...]:
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Figure))
