"""What a task does on its node: it runs its jobs with a crew there, and tells the head through its files."""

import logging
import os
import platform
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout
from hydra.core.utils import JobReturn
from hydra_plugins.jsc_launcher._runner import End, Runner, Work, signals_noted

from hydra_plugins.jsc_launcher._tasks import Event, TaskFolder
from jsc.sweep.plan import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeTask:
    """A task as it is sent; the rest of it are the head's surroundings, which a node makes its own."""

    num: int
    work: Work
    folder: TaskFolder
    current_folder: Path
    module_path: tuple[str, ...]
    variables: Mapping[str, str]


def surroundings() -> tuple[Path, tuple[str, ...], dict[str, str]]:
    """The current folder, the folders of modules, and jsc's environment variables."""
    return Path.cwd(), tuple(sys.path), {k: v for k, v in os.environ.items() if k.startswith("JSC_")}


def run_task(task: NodeTask) -> dict[int, JobReturn]:
    """What the jobs returned, if they are no training runs, whose files tell.

    A signal interrupts the jobs: they save where they are, and the task ends.
    """
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s", stream=sys.stdout, force=True)
    _settle(task)
    lock = task.folder.lock(task.num)
    try:
        lock.acquire()
    except Timeout:
        raise RuntimeError(f"{lock.lock_file}: another process runs this task") from None
    signals: list[int] = []
    with lock, signals_noted(signals, once=True):
        if not task.folder.may_start_jobs(task.num):
            log.warning("This task came too late: its jobs are another launch's now, or the sweep was stopped.")
            return {}
        task.folder.tell(task.num, Event("begun", host=platform.node()))
        crew = task.work.crew()
        reporter = Reporter(task)
        log.info("Task %d on %s", task.num, platform.node())
        try:
            Runner(task.work, crew, reporter, signals, may_start=lambda: task.folder.may_start_jobs(task.num)).run()
        finally:
            crew.close(kill=bool(signals))
    log.info("Task %d: done", task.num)
    return {} if task.work.is_training else reporter.returns


def _settle(task: NodeTask) -> None:
    for folder in (task.current_folder, task.folder.path):
        if not folder.is_dir():
            raise RuntimeError(
                f"{folder} is not there on {platform.node()}: start the sweep from a folder, and let it write to one, "
                "that every node sees"
            )
    os.chdir(task.current_folder)
    sys.path += [folder for folder in task.module_path if folder not in sys.path]
    os.environ.update(task.variables)
    # A time limit that comes near (submitit asks for that signal): every minute of it is used, SIGTERM ends it.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # Where Lightning sees a step of Slurm's, it takes the number of processes from Slurm and requeues the task itself.
    os.environ.pop("SLURM_NTASKS", None)


class Reporter:
    """The listener of a task's runner."""

    def __init__(self, task: NodeTask) -> None:
        self._task = task
        self.returns: dict[int, JobReturn] = {}

    def started(self, job: Job) -> None:
        log.info("%s: started", job.folder.name)
        self._tell(Event("started", job.num))

    def ended(self, job: Job, end: End) -> None:
        if end.status == "missing":
            return  # the head sees that it never started
        log.info("%s: %s in %.1f s%s", job.folder.name, end.status, end.seconds, f": {end.error}" if end.error else "")
        if end.job_return is not None:
            self.returns[job.num] = end.job_return
        if end.status == "failed" and self._task.work.on_failure == "stop":
            self._task.folder.stop()
        self._tell(Event(end.status, job.num, end.error, end.seconds))

    def tick(self, running: Mapping[int, float]) -> None:
        """There is nobody to draw for."""

    def _tell(self, event: Event) -> None:
        self._task.folder.tell(self._task.num, event)
