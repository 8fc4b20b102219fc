"""A crew's shift: what a launch works with, and what a search keeps from launch to launch until its last trial."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from hydra_plugins.jsc_launcher._display import Display
from hydra_plugins.jsc_launcher._runner import Place, signals_noted
from hydra_plugins.jsc_launcher._tasks import TASK_FOLDER
from jsc.errors import CommandError
from jsc.reporting.sweep_table import CSV_FILE, MARKDOWN_FILE
from jsc.results import PLAN_FILE
from jsc.sweep.summary import summary
from jsc.train import main as train_main

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher

log = logging.getLogger(__name__)

LOCK_FILE = ".sweep.lock"


@dataclass
class Shift:
    """Where the jobs run, the display, made by the first launch, and the signals that came.

    `num_jobs`: of all launches together; None: those of one launch. `settled`: numbers of jobs that are not run again,
    though they failed.
    """

    place: Place
    num_jobs: int | None
    settled: frozenset[int] = frozenset()
    display: Display | None = None
    signals: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Send the crew home; at the interpreter's end multiprocessing would wait for workers that wait for jobs."""
        try:
            self.place.close(kill=bool(self.signals))
        finally:
            if self.display is not None:
                self.display.stop()


@contextmanager
def open_shift(launcher: "JscLauncher", num_jobs: int | None = None) -> Iterator[Shift]:
    """The launches within share one crew, one progress line and, at the end, one summary.

    Raises CommandError if another process runs this sweep, KeyboardInterrupt if a launch was interrupted.
    """
    assert launcher.config is not None
    folder = Path(str(launcher.config.hydra.sweep.dir)).absolute()
    with _cleared_if_refused(folder):
        place_for = launcher.connect()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / LOCK_FILE).acquire(timeout=0)
    except Timeout:
        raise CommandError(f"{folder}: another process is running this sweep") from None
    with lock, _cleared_if_refused(folder):
        shift, interrupted = Shift(place_for(folder), num_jobs), False
        with signals_noted(shift.signals):
            launcher.shift = shift
            try:
                yield shift
            except KeyboardInterrupt:
                interrupted = True
            finally:
                launcher.shift = None
                shift.close()
            _sum_up(launcher, folder, shift, interrupted=interrupted)


@contextmanager
def _cleared_if_refused(folder: Path) -> Iterator[None]:
    """Within this context a CommandError leaves nothing of a sweep that has not begun."""
    had_begun = (folder / PLAN_FILE).exists()
    try:
        yield
    except CommandError:
        if not had_begun and not any(path.is_dir() and path.name != TASK_FOLDER for path in folder.glob("*")):
            _clear(folder)
        raise


def _clear(folder: Path) -> None:
    shutil.rmtree(folder / TASK_FOLDER, ignore_errors=True)
    for name in (PLAN_FILE, CSV_FILE, MARKDOWN_FILE, LOCK_FILE, "multirun.yaml"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _sum_up(launcher: "JscLauncher", folder: Path, shift: Shift, *, interrupted: bool) -> None:
    assert launcher.sweep is not None
    rows = launcher.sweep.write_tables()
    if launcher.task_function is train_main:
        log.info(summary(rows, folder))
    if interrupted:
        log.warning("Interrupted. To go on: python -m jsc.train -m sweep.resume='%s'", os.path.relpath(folder))
        raise KeyboardInterrupt
    failed = [row for row in rows if row.status == "failed"]
    for row in failed:
        log.error("Failed: %s: %s", folder / row.folder, row.error)
    if failed:
        again = "; sweep.resume= runs them again" if shift.num_jobs is None else ""  # a search has drawn its conclusion
        log.error("%d of %d jobs failed%s", len(failed), len(rows), again)
    lost = [row for row in rows if row.status != "failed" and row.num in launcher.sweep.errors]
    if lost:
        log.error("%d of %d jobs did not come to their end; sweep.resume= goes on with them", len(lost), len(rows))
