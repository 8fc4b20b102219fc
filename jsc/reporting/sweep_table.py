"""The table of a sweep, `sweep.csv` and `sweep.md`: one row a job, best first, and its seeds added up."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller

from jsc.reporting.document import Block, Bullets, Command, Document, Paragraph, Section, Table
from jsc.reporting.markdown import to_markdown
from jsc.reporting.runs import COUNTED, is_finite
from jsc.reporting.sample import Sample
from jsc.reporting.tables import csv_text
from jsc.reporting.wording import NONE, SCORE_NAMES, count, figure, state_name, tally
from jsc.results import RunResult

CSV_FILE, MARKDOWN_FILE = "sweep.csv", "sweep.md"

SCORES = ("val_loss", "val_acc", "test_loss", "test_acc")


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
        return self.status in COUNTED and self.result is not None

    @property
    def val_loss(self) -> float:
        """Infinite where there is none, so that such rows come last."""
        loss = self.result.val_loss if self.counts and self.result is not None else None
        return loss if is_finite(loss) else math.inf

    def setting(self, key: str) -> str | None:
        return self.overrides.get(key)

    def shown(self, name: str) -> str | None:
        """The value of a field of `result.json`."""
        value = getattr(self.result, name, None)
        return None if value is None else figure(name, value)


@dataclass(frozen=True)
class SeedGroup:
    """Rows that differ in nothing but `seed`, lowest validation loss first."""

    rows: tuple[SweepRow, ...]

    def scores(self, name: str) -> Sample:
        """Of the runs that count."""
        return Sample.of(getattr(row.result, name) for row in self.rows if row.counts)

    def setting(self, key: str) -> str | None:
        return self.rows[0].setting(key)

    def over_seeds(self, name: str) -> str:
        """Mean ± standard deviation of a field of `result.json`."""
        return self.scores(name).shown(name, self.scores("val_loss").n)


def varied_keys(rows: Sequence[SweepRow]) -> list[str]:
    """The keys whose values differ between jobs, in the order in which they were given."""
    keys = dict.fromkeys(key for row in rows for key in row.overrides)
    return [key for key in keys if len({row.overrides.get(key) for row in rows}) > 1]


def seed_groups(rows: Sequence[SweepRow]) -> list[SeedGroup]:
    """By lowest mean validation loss; within a group by validation loss.

    The choice is by validation: the test jets would no longer be a test if they chose.
    """
    groups: dict[tuple[tuple[str, str], ...], list[SweepRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.val_loss, row.num)):
        groups[tuple(sorted((key, value) for key, value in row.overrides.items() if key != "seed"))].append(row)
    built = [SeedGroup(tuple(group)) for group in groups.values()]
    return sorted(built, key=lambda group: losses.mean if (losses := group.scores("val_loss")).n else math.inf)


def best_row(rows: Sequence[SweepRow]) -> SweepRow | None:
    """The run with the lowest validation loss."""
    best = min(rows, key=lambda row: (row.val_loss, row.num), default=None)
    return best if best is not None and math.isfinite(best.val_loss) else None


def sweep_csv(rows: Sequence[SweepRow]) -> str:
    """Values as in the runs' files. `group_*`: mean and standard deviation over `group_n` seeds, where seeds vary."""
    varied = varied_keys(rows)
    is_grouped = "seed" in varied
    measured = (*SCORES, "best_epoch", "epochs_run", "fit_seconds", "total_seconds")
    header = ["job", "status", *varied, *measured]
    if is_grouped:
        header += ["group_n", *(f"group_{name}_{part}" for name in SCORES for part in ("mean", "sd"))]
    header += ["folder", "checkpoint_best", "command", "error"]
    lines = []
    for group in seed_groups(rows):
        samples = [group.scores(name) for name in SCORES]
        sums = [samples[0].n, *(value for s in samples for value in (s.mean, s.deviation))] if is_grouped else []
        for row in group.rows:
            settings = [row.overrides.get(key) for key in varied]
            values = [getattr(row.result, name, None) for name in measured]
            place = [row.folder, getattr(row.result, "checkpoint_best", None), row.command, row.error]
            lines.append([row.num, row.status, *settings, *values, *sums, *place])
    return csv_text(header, lines)


def sweep_markdown(rows: Sequence[SweepRow], name: str) -> str:
    """The same for a reader."""
    blocks: list[Block] = [Paragraph(f"{status_line(rows)}.")]
    best = best_row(rows)
    if best is not None and best.result is not None:
        blocks.append(
            Paragraph(
                f"Best by validation loss: `{best.folder}`, test accuracy {best.shown('test_acc') or NONE}, "
                f"checkpoint `{best.result.checkpoint_best}`."
            )
        )
    if "seed" in varied_keys(rows):
        blocks.append(group_table(rows))
    blocks.append(job_table(rows))
    sections = [Section("Jobs", tuple(blocks))]
    failed = tuple(f"`{row.folder}`: {row.error.strip().splitlines()[-1]}" for row in rows if row.error)
    if failed:
        sections.append(Section("Errors", (Bullets(failed),)))
    commands = "\n".join(row.command for group in seed_groups(rows) for row in group.rows)
    sections.append(Section("Commands, in the order of the table", (Command(commands),)))
    return to_markdown(Document(f"Sweep {name}", tuple(sections)))


def status_line(rows: Sequence[SweepRow]) -> str:
    """`3 jobs: 2 completed, 1 failed`."""
    return f"{count(len(rows), 'job')}: {', '.join(tally(row.status for row in rows))}"


def job_table(rows: Sequence[SweepRow]) -> Table:
    """One row a job, best first."""
    columns: dict[str, Callable[[SweepRow], object]] = {
        "job": lambda row: row.num,
        "status": lambda row: state_name(row.status),
        **{key: methodcaller("setting", key) for key in varied_keys(rows)},
        **{SCORE_NAMES[name]: methodcaller("shown", name) for name in SCORES},
        "epochs": lambda row: row.result and row.result.epochs_run,
        "seconds": methodcaller("shown", "fit_seconds"),
        "folder": lambda row: row.folder,
    }
    best_first = [row for group in seed_groups(rows) for row in group.rows]
    return Table.of("One row a job, lowest validation loss first.", best_first, columns)


def group_table(rows: Sequence[SweepRow]) -> Table:
    """One row for jobs that differ in their seed alone: mean ± standard deviation over n seeds."""
    columns: dict[str, Callable[[SeedGroup], object]] = {
        **{key: methodcaller("setting", key) for key in varied_keys(rows) if key != "seed"},
        "n": lambda group: group.scores("val_loss").n,
        **{SCORE_NAMES[name]: methodcaller("over_seeds", name) for name in SCORES},
    }
    caption = "Seeds together: mean ± standard deviation (n - 1 in the denominator) over n runs."
    return Table.of(caption, seed_groups(rows), columns)
