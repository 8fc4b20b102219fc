"""What a sweep shows while it runs: on a terminal one line for the sweep and one for each running job, else lines."""

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jsc.results import METRICS_FILE
from jsc.sweep.plan import Job, Sweep

log = logging.getLogger(__name__)

MAX_LINES = 20  # of running jobs; a cluster runs hundreds


class Display:
    """Shown from its making to `stop`; `update` may be called at any time, `ended` once a job."""

    def __init__(self, sweep: Sweep, num_side_by_side: int, *, num_jobs: int, num_done: int) -> None:
        self._sweep = sweep
        self._num_side_by_side = num_side_by_side
        self._num_jobs = num_jobs  # a search's sweep holds those alone that are proposed so far
        self._num_done = num_done
        self._num_failed = 0
        self._seconds: list[float] = []  # of the jobs that ended here
        self._live = Live(console=Console(), transient=True, auto_refresh=False) if sys.stdout.isatty() else None
        self._drawn = 0.0
        if self._live is not None:
            self._live.start()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    def ended(self, job: Job, status: str, seconds: float) -> None:
        """A job ran to its end, whatever that was."""
        result = job.result()
        # Without the start of its worker, which the jobs to come do not pay for.
        self._seconds.append(result.total_seconds if result is not None else seconds)
        failed = status == "failed"
        self._num_failed += failed
        self._num_done += status in ("completed", "stopped_early", "diverged")
        if self._live is None or failed:
            score = f", validation loss {result.val_loss:.4f}" if result is not None and result.val_loss else ""
            log.info(
                "%s: %s%s in %.1f s; %s", job.folder.name, status.replace("_", " "), score, seconds, self.summary()
            )

    def summary(self) -> str:
        """`12 of 32 done, 1 failed, about 40 s left`."""
        parts = [f"{self._num_done} of {self._num_jobs} done"]
        if self._num_failed:
            parts.append(f"{self._num_failed} failed")
        left = self.seconds_left()
        if left:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """From the mean of the jobs that ended; None before the first and after the last."""
        num_left = self._num_jobs - self._num_done - self._num_failed
        if not self._seconds or num_left <= 0:
            return None
        return sum(self._seconds) / len(self._seconds) * num_left / min(self._num_side_by_side, num_left)

    def update(self, running: Mapping[int, float]) -> None:
        """Draw anew; `running`: the jobs under way, and when each started."""
        if self._live is None or time.monotonic() - self._drawn < 0.2:
            return
        self._drawn = time.monotonic()
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._num_jobs, completed=self._num_done + self._num_failed, width=30)
        head.add_row("sweep", bar, Text(f"{self.summary()}, {len(running)} running"))
        lines = Table.grid(padding=(0, 1))
        shown = [job for job in self._sweep.jobs if job.num in running][:MAX_LINES]
        for job in shown:
            lines.add_row("  " + job.folder.name, progress_of(job), duration(self._drawn - running[job.num]))
        if len(running) > len(shown):
            lines.add_row(f"  and {len(running) - len(shown)} more", "", "")
        self._live.update(Group(head, lines), refresh=True)


def progress_of(job: Job) -> str:
    """`epoch 12 of 20, validation loss 0.9213`, from the rows of the job's metrics.csv."""
    rows: list[str] = []
    with suppress(OSError):
        rows = (job.folder / METRICS_FILE).read_text().splitlines()
    if len(rows) < 2:
        return "starting"
    loss = dict(zip(rows[0].split(","), rows[-1].split(","), strict=False)).get("val_loss")
    score = f", validation loss {float(loss):.4f}" if loss else ""
    return f"epoch {len(rows) - 1} of {job.max_epochs}{score}"


def duration(seconds: float) -> str:
    """`40 s`, `3:20 min`, `2:05 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
