"""The tables that a run shows, as text: rendered once, they go to the console and to train.log alike."""

import io
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from jsc.cli.settings import flat
from jsc.results import RunResult, TestResult

NUMBER = re.compile(r"-|[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ± [\d.e-]+)?|nan|inf")  # as `shown` and reports write them
Item = TypeVar("Item")

PIPED_WIDTH = 120  # characters, where the output goes to no terminal
MIN_WIDTH = 40
SHORT = 15  # characters: cells up to this length are not folded; "0.6456 ± 0.0094" is one
SECONDS_OF_SILENCE = 3.0


def counted(items: Iterable[Item], words: str, say: Callable[[str], None]) -> Iterator[Item]:
    """The items; where they take long, it is said now and then how many are done: `words` with `{}` for the number."""
    said = time.monotonic()
    for number, item in enumerate(items):
        if number and time.monotonic() - said > SECONDS_OF_SILENCE:
            said = time.monotonic()
            say(words.format(f"{number:,}"))
        yield item


def width() -> int:
    """The terminal's, in characters; PIPED_WIDTH where there is no terminal."""
    return max(shutil.get_terminal_size((PIPED_WIDTH, 0)).columns, MIN_WIDTH)


def rendered(renderable: RenderableType) -> str:
    """As plain text of that width, without control codes; nothing is cut off."""
    file = io.StringIO()
    console = Console(file=file, width=width(), color_system=None, force_jupyter=False, highlight=False)
    console.print(renderable, crop=False)
    return file.getvalue().rstrip("\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of cells under a heading, numbers to the right, no wider than `width()`.

    Long cells are folded. Columns that still find no room go into a further table below, which begins with the columns
    that tell the rows apart.
    """
    cells = [[shown(cell) for cell in row] for row in rows]
    num_leading = next((n for n in range(1, len(columns)) if len({tuple(c[:n]) for c in cells}) == len(cells)), 1)
    given = [_Column(name, [row[i] for row in cells]) for i, name in enumerate(columns)]
    if _total(column.least_width() for column in given[:num_leading]) > width() / 2:
        num_leading = 1
    leading, parts = given[:num_leading], [given[:num_leading]]
    for column in given[num_leading:]:
        if parts[-1] != leading and _total(c.least_width() for c in (*parts[-1], column)) > width():
            parts.append(leading)
        parts[-1] = [*parts[-1], column]
    return "\n".join([title, *(rendered(_boxed(part)) for part in parts)])


@dataclass
class _Column:
    """Of a table's text: heading and cells."""

    name: str
    cells: Sequence[str]

    @property
    def heading(self) -> str:
        """With the places where it may be folded: `dataset.batch_size` behind its dot."""
        return self.name.replace(".", ". ")

    @property
    def full_width(self) -> int:
        return max(cell_len(line) for text in (self.name, *self.cells) for line in text.split("\n"))

    def least_width(self, longest: int = SHORT) -> int:
        """Enough for each word of the heading, and for words, and short cells, up to `longest` characters."""
        lines = [line for cell in self.cells for line in cell.split("\n")]
        short = (cell_len(line) for line in lines if cell_len(line) <= SHORT)
        words = (min(cell_len(word), longest) for line in lines for word in line.split())
        return max(0, *map(cell_len, self.heading.split()), *short, *words)

    @property
    def holds_numbers(self) -> bool:
        return all(NUMBER.fullmatch(cell) for cell in self.cells) and any(cell != "-" for cell in self.cells)


def _boxed(columns: Sequence[_Column]) -> Table:
    """The widest columns are narrowed until all have room; long words are broken only if that must be."""
    widths = [column.full_width for column in columns]
    for longest in (width(), SHORT):
        least = [column.least_width(longest) for column in columns]
        while _total(widths) > width() and (wider := [i for i, least_one in enumerate(least) if widths[i] > least_one]):
            widths[max(wider, key=lambda i: widths[i])] -= 1
    boxed = Table(box=box.ROUNDED, show_header=any(column.name for column in columns))
    for column, its_width in zip(columns, widths, strict=True):
        heading = column.name if its_width >= cell_len(column.name) else column.heading
        justify: Literal["left", "right"] = "right" if column.holds_numbers else "left"
        boxed.add_column(Text(heading), justify=justify, overflow="fold", width=its_width)
    for row in zip(*(column.cells for column in columns), strict=True):
        boxed.add_row(*map(Text, row))
    return boxed


def _total(widths: Iterable[int]) -> int:
    """Of a table, its lines and the blanks beside them included."""
    return sum(its_width + 3 for its_width in widths) + 1


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
    speed = f"; training alone {result.jets_per_second:,.0f} jets a second" if result.jets_per_second else ""
    return f"{result.fit_seconds:.1f} s of fitting, {result.total_seconds:.1f} s in all{speed}"


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
    confusion = table("Confusion: true class by row, predicted class by column", ("", *result.class_names), rows)
    return f"{summary}\n{classes}\n{confusion}"
