"""The table of a sweep, `sweep.csv` and `sweep.md`: one row a job, best first, and its seeds added up."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jsc.reporting.document import Block, Bullets, Command, Document, Paragraph, Section, Table
from jsc.reporting.markdown import to_markdown
from jsc.reporting.sample import Sample, sample
from jsc.reporting.tables import mean_and_deviation
from jsc.reporting.wording import NONE, count, score, seconds
from jsc.results import RunResult

CSV_FILE, MARKDOWN_FILE = "sweep.csv", "sweep.md"

SCORES = ("val_loss", "val_acc", "test_loss", "test_acc")
_COUNTED = ("completed", "stopped_early")  # their scores enter means, and one of them is the best


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One job. `overrides`: its settings as typed, by key; `result`: what it left, if it has ended.

    Its `checkpoint_best` is where that checkpoint lies now, wherever the sweep was when the job wrote it.
    """

    num: int
    status: str
    overrides: Mapping[str, str]
    folder: str
    command: str
    error: str | None
    result: RunResult | None

    @property
    def counts(self) -> bool:
        return self.status in _COUNTED and self.result is not None

    @property
    def val_loss(self) -> float:
        """Infinite where there is none, so that such rows come last."""
        loss = self.result.val_loss if self.counts and self.result is not None else None
        return math.inf if loss is None or not math.isfinite(loss) else loss


@dataclass(frozen=True)
class SeedGroup:
    """Rows that differ in nothing but `seed`."""

    rows: tuple[SweepRow, ...]

    def scores(self, name: str) -> Sample:
        """Of the runs that count."""
        return sample([getattr(row.result, name) for row in self.rows if row.counts])

    @property
    def order(self) -> tuple[float, int]:
        losses = self.scores("val_loss")
        return (losses.mean if losses.n else math.inf, self.rows[0].num)


def varied_keys(rows: Sequence[SweepRow]) -> list[str]:
    """The keys whose values differ between jobs, in the order in which they were given."""
    keys = dict.fromkeys(key for row in rows for key in row.overrides)
    return [key for key in keys if len({row.overrides.get(key) for row in rows}) > 1]


def seed_groups(rows: Sequence[SweepRow]) -> list[SeedGroup]:
    """By lowest mean validation loss; within a group by validation loss.

    The choice is by validation: the test jets would no longer be a test if they chose.
    """
    groups: dict[tuple[tuple[str, str], ...], list[SweepRow]] = {}
    for row in rows:
        key = tuple(sorted((k, v) for k, v in row.overrides.items() if k != "seed"))
        groups.setdefault(key, []).append(row)
    built = [SeedGroup(tuple(sorted(group, key=lambda row: (row.val_loss, row.num)))) for group in groups.values()]
    return sorted(built, key=lambda group: group.order)


def best_row(rows: Sequence[SweepRow]) -> SweepRow | None:
    """The run with the lowest validation loss."""
    best = min(rows, key=lambda row: (row.val_loss, row.num), default=None)
    return best if best is not None and math.isfinite(best.val_loss) else None


def sweep_csv(rows: Sequence[SweepRow]) -> str:
    """Values as in the runs' files. `group_*`: mean and standard deviation over `group_n` seeds, where seeds vary."""
    varied = varied_keys(rows)
    grouped = "seed" in varied
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    measured = ("best_epoch", "epochs_run", "fit_seconds", "total_seconds")
    header = ["job", "status", *varied, *SCORES, *measured]
    if grouped:
        header += ["group_n", *(f"group_{name}_{part}" for name in SCORES for part in ("mean", "sd"))]
    writer.writerow([*header, "folder", "checkpoint_best", "command", "error"])
    for group in seed_groups(rows):
        samples = [group.scores(name) for name in SCORES]
        sums = [group.scores("val_loss").n, *(v for s in samples for v in (s.mean if s.n else None, s.deviation))]
        for row in group.rows:
            cells: list[object] = [row.num, row.status, *(row.overrides.get(key) for key in varied)]
            cells += [getattr(row.result, name, None) for name in (*SCORES, *measured)]
            cells += sums if grouped else []
            cells += [row.folder, getattr(row.result, "checkpoint_best", None), row.command, row.error]
            writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


def sweep_markdown(rows: Sequence[SweepRow], name: str) -> str:
    """The same for a reader."""
    blocks: list[Block] = [Paragraph(f"{status_line(rows)}."), *_best(rows)]
    if "seed" in varied_keys(rows):
        blocks.append(group_table(rows))
    blocks.append(job_table(rows))
    sections = [Section("Jobs", tuple(blocks))]
    failed = [row for row in rows if row.error]
    if failed:
        told = tuple(f"`{row.folder}`: {(row.error or '').strip().splitlines()[-1]}" for row in failed)
        sections.append(Section("Errors", (Bullets(told),)))
    commands = "\n".join(row.command for group in seed_groups(rows) for row in group.rows)
    sections.append(Section("Commands, in the order of the table", (Command(commands),)))
    return to_markdown(Document(f"Sweep {name}", tuple(sections)))


def status_line(rows: Sequence[SweepRow]) -> str:
    """`3 jobs: 2 completed, 1 failed`."""
    states = [row.status for row in rows]
    told = ", ".join(f"{states.count(state)} {state.replace('_', ' ')}" for state in dict.fromkeys(sorted(states)))
    return f"{count(len(rows), 'job')}: {told}"


def _best(rows: Sequence[SweepRow]) -> list[Block]:
    best = best_row(rows)
    if best is None or best.result is None:
        return []
    return [
        Paragraph(
            f"Best by validation loss: `{best.folder}`, test accuracy {_shown(best, 'test_acc', score)}, checkpoint "
            f"`{best.result.checkpoint_best}`."
        )
    ]


def job_table(rows: Sequence[SweepRow]) -> Table:
    """One row a job, best first."""
    varied = varied_keys(rows)
    scores = ("validation loss", "validation accuracy", "test loss", "test accuracy")
    header = ("job", "status", *varied, *scores, "epochs", "seconds", "folder")
    cells = []
    for group in seed_groups(rows):
        for row in group.rows:
            settings = (row.overrides.get(key, NONE) for key in varied)
            figures = (_shown(row, name, score) for name in SCORES)
            times = (_shown(row, "epochs_run", str), _shown(row, "fit_seconds", seconds))
            cells.append((str(row.num), row.status.replace("_", " "), *settings, *figures, *times, row.folder))
    words = {0, *range(2 + len(varied), len(header) - 1)}
    return Table("One row a job, lowest validation loss first.", header, tuple(cells), frozenset(words))


def group_table(rows: Sequence[SweepRow]) -> Table:
    """One row for jobs that differ in their seed alone: mean ± standard deviation over n seeds."""
    varied = [key for key in varied_keys(rows) if key != "seed"]
    header = (*varied, "n", "validation loss", "validation accuracy", "test loss", "test accuracy")
    cells = []
    for group in seed_groups(rows):
        n = group.scores("val_loss").n
        settings = (group.rows[0].overrides.get(key, NONE) for key in varied)
        cells.append((*settings, str(n), *(mean_and_deviation(group.scores(name), score, n) for name in SCORES)))
    caption = "Seeds together: mean ± standard deviation (n - 1 in the denominator) over n runs."
    return Table(caption, header, tuple(cells), frozenset(range(len(varied), len(header))))


def _shown(row: SweepRow, name: str, form: object) -> str:
    value = getattr(row.result, name, None)
    assert callable(form)
    return NONE if value is None else str(form(value))
