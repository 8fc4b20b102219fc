"""A sweep on a cluster, seen from its head: parts of it are submitted as tasks, and the jobs' files are watched.

A task needs no head. A job's lock keeps two tasks from running it, and its result.json says what has become of it.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hydra_plugins.jsc_launcher._task import COMPLETED, task_of
from jsc.results import RESULT_FILE
from jsc.sweep.place import End, Listener, Work
from jsc.sweep.plan import FINISHED, Job, read_plan, recorded_overrides
from jsc.sweep.split import Layout, Part

log = logging.getLogger(__name__)

LOG_FOLDER = "tasks"  # in the sweep's
POLL_SECONDS = 0.5
LAG_SECONDS = 60.0  # after which a network file system shows what another machine has written


class Cluster(Protocol):
    """What Slurm or Ray does for us. `ids` are its own names of tasks."""

    name: str

    def submit(self, tasks: Sequence[Callable[[], None]], folder: Path) -> dict[str, Path]:
        """The tasks' ids, and where in `folder` their output will be. Raises CommandError if it refuses them."""

    def ended(self, ids: Sequence[str]) -> dict[str, str]:
        """Those that have ended: COMPLETED, or how in its own words. Asked often: it limits its own questions."""

    def cancel(self, ids: Sequence[str]) -> None:
        """Tasks that wait do not start; those that run get a signal."""


@dataclass
class _Watched:
    """A task. `jobs`: those of its part that are not at their end; `how` it ended, in the cluster's words, and when."""

    id: str
    log_file: Path
    num_jobs: int
    jobs: list[Job]
    how: str | None = None
    ended: float = math.inf


class OnCluster:
    """Where jobs run that go to a cluster."""

    def __init__(self, cluster: Cluster, layout: Layout) -> None:
        assert layout.num_tasks is not None
        self._cluster = cluster
        self._layout = layout
        self._num_tasks = layout.num_tasks

    def words(self, num_jobs: int) -> str:
        return f"on {self._cluster.name}, {self._layout.num_workers} at a time on each node"

    def run(self, work: Work, listener: Listener, signals: list[int]) -> None:
        """Raises CommandError if the cluster refuses the tasks."""
        self._work, self._listener = work, listener
        files = {job.num: (job.log_file, job.folder / RESULT_FILE) for job in work.waiting()}
        self._before = {num: {file: _written(file) for file in both} for num, both in files.items()}
        self._running: dict[int, float] = {}
        tasks, cancelled = self._submit(), False
        while tasks and len(signals) < 2:
            if signals and not cancelled:
                cancelled = True
                log.warning("Stopping: the tasks are cancelled, running jobs save where they are; once more leaves.")
                self._cluster.cancel([task.id for task in tasks])
            ended = self._cluster.ended([task.id for task in tasks if task.how is None])
            is_to_blame = not signals and not work.is_stopped()  # a task for what it did not do
            now = time.monotonic()
            for task in tasks:
                if task.id in ended:
                    task.how, task.ended = ended[task.id], now
                task.jobs = [job for job in task.jobs if not self._has_ended(job, task)]
                lag = LAG_SECONDS if task.how == COMPLETED and is_to_blame else 0.0
                if task.jobs and now >= task.ended + lag:
                    self._lose(task, is_to_blame=is_to_blame)
            tasks = [task for task in tasks if task.jobs]
            listener.tick(self._running)
            if tasks:
                time.sleep(max(POLL_SECONDS, time.monotonic() - now))  # a thousand jobs' files take a while
        for task in tasks:  # the user leaves
            self._lose(task, is_to_blame=False)

    def close(self, *, kill: bool) -> None:
        """The tasks have ended, or are cancelled."""

    def _submit(self) -> list[_Watched]:
        jobs = {job.num: job for job in self._work.waiting()}
        parts = self._work.parts(self._num_tasks)
        if not parts:
            return []
        folder = self._work.folder / LOG_FOLDER
        folder.mkdir(exist_ok=True)
        plan = read_plan(self._work.folder)
        own = recorded_overrides(plan) if plan is not None else []
        commands = [task_of(self._work.folder, Part(k, self._num_tasks), own) for k in range(1, len(parts) + 1)]
        tasks = self._cluster.submit(commands, folder)
        log.info("Submitted %d jobs in %d tasks: %s", len(jobs), len(tasks), ", ".join(tasks))
        return [
            _Watched(task_id, log_file, len(nums), [jobs[num] for num in nums])
            for (task_id, log_file), nums in zip(tasks.items(), parts, strict=True)
        ]

    def _has_ended(self, job: Job, task: _Watched) -> bool:
        """Whether it is at its end, or has failed since the tasks were submitted; the listener is told."""
        log_is_new, is_new = (_written(file) != before for file, before in self._before[job.num].items())
        if log_is_new and job.num not in self._running:
            self._running[job.num] = time.monotonic()
            self._listener.started(job)
        is_over = task.how is not None
        result = job.result() if is_new or is_over else None
        has_failed_for_good = is_new and (is_over or self._work.on_failure != "retry")
        if result is None or result.status not in (*FINISHED, *(("failed",) if has_failed_for_good else ())):
            return False  # one that was interrupted may go on, in a task that Slurm puts back into its queue
        self._running.pop(job.num, None)
        self._listener.ended(job, End(result.status, result.error, result.total_seconds))
        return True

    def _lose(self, task: _Watched, *, is_to_blame: bool) -> None:
        """The task has ended, these jobs of its part have not."""
        if is_to_blame:
            log.error(
                "Task %s ended as %s with %d of its %d jobs unfinished; its log: %s",
                task.id, task.how, len(task.jobs), task.num_jobs, task.log_file,
            )  # fmt: skip
        error = f"its {self._cluster.name} task {task.id} ended as {task.how}; its log: {task.log_file}"
        for job in task.jobs:
            since = self._running.pop(job.num, None)
            status, seconds = ("missing", 0.0) if since is None else ("interrupted", time.monotonic() - since)
            self._listener.ended(job, End(status, error if is_to_blame else None, seconds))
        task.jobs = []


def _written(file: Path) -> int:
    """When it was; 0: it is not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
