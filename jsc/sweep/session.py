"""A sweep under way: its folder is this process's, its jobs run somewhere, its books are kept until its last batch."""

import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from jsc.cli.trust import to_name_again
from jsc.errors import CommandError
from jsc.reporting.sweep_table import CSV_FILE, MARKDOWN_FILE
from jsc.results import PLAN_FILE
from jsc.sweep.display import Display
from jsc.sweep.place import End, Place, Work
from jsc.sweep.plan import FINISHED, Job, Sweep
from jsc.sweep.split import Part
from jsc.sweep.summary import summary

log = logging.getLogger(__name__)

LOCK_FILE = ".sweep.lock"
MULTIRUN_FILE = "multirun.yaml"  # Hydra's
TASK_FOLDER = "tasks"  # of a cluster's: their logs
TABLE_SECONDS = 2.0  # a part that ends holds the lock while it writes the tables
SECONDS_BETWEEN_TABLES = 1.0


@dataclass
class Session:
    """Batches of jobs share a place, a progress line and, at the end, a summary: it listens to what becomes of them.

    `part`: this process runs no other jobs, and leaves the plan and the interim tables to the sweep's own. `num_jobs`:
    of all batches together; None: those of one. `settled`: numbers of jobs that are not run again, though they failed.
    """

    sweep: Sweep
    place: Place
    part: Part | None
    num_jobs: int | None
    settled: frozenset[int] = frozenset()
    signals: list[int] = field(default_factory=list)
    nums: set[int] = field(default_factory=set)  # of the jobs that were to run here
    display: Display | None = None
    table_is_old: bool = False
    next_table: float = 0.0

    def run(self, work: Work, *, num_side_by_side: int) -> None:
        """Run the jobs of a batch to their ends. Raises KeyboardInterrupt if the sweep was interrupted."""
        self.nums |= work.to_run
        num_to_run = len(work.to_run)
        if self.display is None:
            num_jobs = self.num_jobs or len(work.jobs)
            num_done = len(work.jobs) - num_to_run
            log.info(
                "Sweep of %d jobs in %s: %d to run %s%s%s",
                num_jobs, os.path.relpath(self.sweep.folder), num_jobs - num_done,
                self.place.words(num_jobs - num_done), "" if self.part is None else f", part {self.part} of them",
                f", {num_done} done before" if num_done and self.part is None else "",
            )  # fmt: skip
            self.display = Display(self.sweep, num_side_by_side, num_jobs=num_jobs, num_done=num_done)
        self.place.run(work, self, self.signals)
        if self.signals:
            raise KeyboardInterrupt

    def started(self, job: Job) -> None:
        self.sweep.states[job.num] = "running"
        self.sweep.errors.pop(job.num, None)

    def ended(self, job: Job, end: End) -> None:
        self.sweep.states.pop(job.num, None)
        if end.status not in ("missing", *FINISHED):  # else its files tell
            self.sweep.states[job.num] = end.status
        if end.error is not None:
            self.sweep.errors[job.num] = end.error
        self.table_is_old = True
        if end.status != "missing":
            assert self.display is not None
            self.display.ended(job, end.status, end.seconds)

    def tick(self, running: Mapping[int, float]) -> None:
        started = time.monotonic()
        if self.table_is_old and started >= self.next_table and self.part is None:
            self.sweep.write_tables()
            self.table_is_old = False
            # A thousand rows take longer than a tiny network's job, and workers wait for this process.
            self.next_table = started + max(SECONDS_BETWEEN_TABLES, 20 * (time.monotonic() - started))
        assert self.display is not None
        self.display.update(running)

    def close(self) -> None:
        """End the workers; at the interpreter's end multiprocessing would wait for workers that wait for jobs."""
        try:
            self.place.close(kill=bool(self.signals))
        finally:
            if self.display is not None:
                self.display.stop()


@contextmanager
def open_session(
    sweep: Sweep, connect: Callable[[], Place], *, part: Part | None, num_jobs: int | None
) -> Iterator[Session]:
    """The batches that are run within share workers, one progress line and, at the end, one summary.

    Raises CommandError if another process runs this sweep, KeyboardInterrupt if a batch was interrupted.
    """
    folder = sweep.folder
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder) if part is None else nullcontext(), cleared_if_refused(folder, new_folders):
        session, interrupted = Session(sweep, connect(), part, num_jobs), False
        with _signals_noted(session.signals):
            try:
                yield session
            except KeyboardInterrupt:
                interrupted = True
            finally:
                session.close()
            _sum_up(session, interrupted=interrupted)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        lock = FileLock(folder / LOCK_FILE).acquire(timeout=TABLE_SECONDS)
    except Timeout:
        raise CommandError(f"{folder}: another process is running this sweep") from None
    with lock:
        yield


@contextmanager
def cleared_if_refused(folder: Path, new_folders: Sequence[Path] = ()) -> Iterator[None]:
    """Within this context a CommandError leaves nothing of a sweep that has not begun, nor of the `new_folders`."""
    had_begun = (folder / PLAN_FILE).exists()
    try:
        yield
    except CommandError:
        if not had_begun and not any(path.is_dir() and path.name != TASK_FOLDER for path in folder.glob("*")):
            clear(folder, new_folders)
        raise


def clear(folder: Path, new_folders: Sequence[Path] = ()) -> None:
    """Take away what is left of a sweep without jobs."""
    shutil.rmtree(folder / TASK_FOLDER, ignore_errors=True)
    for name in (PLAN_FILE, CSV_FILE, MARKDOWN_FILE, LOCK_FILE, MULTIRUN_FILE):
        (folder / name).unlink(missing_ok=True)
    for path in (folder, *new_folders):
        with suppress(OSError):
            path.rmdir()


@contextmanager
def _signals_noted(received: list[int]) -> Iterator[None]:
    """Within this context SIGINT and SIGTERM do nothing but enter the list; after the first, only Ctrl-C does."""

    def receive(number: int, frame: FrameType | None) -> None:
        if not received or number == signal.SIGINT:
            received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sum_up(session: Session, *, interrupted: bool) -> None:
    sweep, folder = session.sweep, session.sweep.folder
    if session.part is None:
        rows = sweep.write_tables()
        log.info(summary(rows, folder))
    else:
        with suppress(Timeout), FileLock(folder / LOCK_FILE).acquire(timeout=0):  # a head that waits knows more
            sweep.write_tables()
        rows = [row for row in sweep.rows() if row.num in session.nums]
    if interrupted:
        again = to_name_again(sweep.overrides)
        log.warning("Interrupted. To go on: python -m jsc.train -m sweep.resume='%s'%s", os.path.relpath(folder), again)
        raise KeyboardInterrupt
    failed = [row for row in rows if row.status == "failed"]
    for row in failed:
        log.error("Failed: %s: %s", folder / row.folder, row.error)
    if failed:
        again = (
            "; sweep.resume= runs them again" if session.num_jobs is None else ""
        )  # a search has drawn its conclusion
        log.error("%d of %d jobs failed%s", len(failed), len(rows), again)
    lost = [row for row in rows if row.status != "failed" and row.num in sweep.errors]
    if lost:
        log.error("%d of %d jobs did not come to their end; sweep.resume= goes on with them", len(lost), len(rows))
