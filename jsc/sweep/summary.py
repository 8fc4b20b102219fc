"""How a sweep ended, as text for the console."""

import os
from collections.abc import Sequence
from pathlib import Path

from jsc.cli import console
from jsc.reporting.document import Table
from jsc.reporting.sweep_table import (
    MARKDOWN_FILE,
    SweepRow,
    best_row,
    group_table,
    job_table,
    status_line,
    varied_keys,
)

MAX_ROWS = 40  # of a table on the console; the files hold all


def summary(rows: Sequence[SweepRow], folder: Path) -> str:
    """The tables, best first, the best checkpoint, and where the whole table is."""
    parts = [_shown(group_table(rows))] if "seed" in varied_keys(rows) else []
    parts += [_shown(job_table(rows)), f"{status_line(rows)}."]
    best = best_row(rows)
    if best is not None and best.result is not None:
        parts.append(f"Best by validation loss: {best.result.checkpoint_best}\n  {best.command}")
    parts.append(f"The table: {os.path.relpath(folder / MARKDOWN_FILE)}")
    return "\n".join(parts)


def _shown(table: Table) -> str:
    columns = [i for i, name in enumerate(table.header) if name != "folder"]  # readable from what varied
    rows = [[row[i] for i in columns] for row in table.rows[:MAX_ROWS]]
    text = console.table(table.caption, [table.header[i] for i in columns], rows)
    hidden = len(table.rows) - MAX_ROWS
    return text if hidden <= 0 else f"{text}\n... and {hidden} more rows in {MARKDOWN_FILE}"
