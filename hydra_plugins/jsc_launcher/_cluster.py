"""A sweep on a cluster, seen from its head: groups of jobs are submitted as tasks, heard of, and cancelled."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.jsc_launcher._groups import Layout, split
from hydra_plugins.jsc_launcher._runner import End, Listener, Work

from hydra_plugins.jsc_launcher._node import NodeTask, surroundings
from hydra_plugins.jsc_launcher._tasks import TASK_FOLDER, Event, Task, TaskFolder
from jsc.errors import JobFailed
from jsc.sweep.plan import FINISHED, Job

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
_LAG_SECONDS = 60.0  # after which a network file system shows what another machine has written


class Cluster(Protocol):
    """What an engine (Slurm, Ray) does for us. `ids` are its own names of tasks."""

    name: str

    def submit(self, tasks: Sequence[NodeTask], folder: Path) -> list[str]:
        """Raises CommandError if the cluster refuses them. `folder`: for files of the engine's."""

    def still_knows(self, task_id: str) -> bool:
        """Whether a task of an earlier head, which was killed, waits or runs."""

    def ended(self, ids: Sequence[str]) -> dict[str, str]:
        """Those that have ended, and how in the engine's word. Asked often: it limits its own questions."""

    def returned(self, task_id: str, folder: Path) -> dict[int, JobReturn]:
        """What `run_task` returned; nothing if it did not get that far."""

    def cancel(self, ids: Sequence[str]) -> None:
        """Tasks that wait do not start; those that run get a signal."""

    def log_of(self, task: Task, folder: Path) -> Path:
        """Where its output is."""

    def close(self) -> None:
        """There will be no further questions."""


@dataclass
class _Watch:
    """One task. `running`: its jobs under way, and when each began; `heard`: events that are not yet taken in."""

    task: Task
    unfinished: set[int]
    running: dict[int, float] = field(default_factory=dict)
    position: int = 0  # up to which its file is read
    heard: list[Event] = field(default_factory=list)
    how: str | None = None  # it ended, in the engine's word
    unseen_since: float | None = None  # the first of `heard` tells of a file that is not to be seen yet


class OnCluster:
    """Where jobs run that go to a cluster. The tasks of a head that was killed are watched on."""

    def __init__(self, cluster: Cluster, layout: Layout, folder: Path) -> None:
        assert layout.num_tasks is not None
        self._cluster = cluster
        self._layout = layout
        self._num_tasks = layout.num_tasks
        self._files = TaskFolder(folder / TASK_FOLDER)
        self._files.path.mkdir(exist_ok=True)
        known = [task for task in self._files.tasks() if task.cluster == cluster.name and task.id is not None]
        self._tasks = [task for task in known if task.id is not None and cluster.still_knows(task.id)]
        self._files.take_over(self._tasks)
        self._jobs: dict[int, Job] = {}

    def words(self, num_jobs: int) -> str:
        going_on = f", {len(self._tasks)} tasks of an earlier launch go on" if self._tasks else ""
        return f"on {self._cluster.name}, {self._layout.num_workers} at a time on each node{going_on}"

    def run(self, work: Work, listener: Listener, signals: list[int]) -> None:
        """Raises CommandError if the cluster refuses the tasks."""
        self._work, self._jobs = work, {job.num: job for job in work.jobs}
        waiting = {job.num for job in work.waiting()}
        watches = [_Watch(task, waiting & set(task.jobs)) for task in self._tasks if waiting & set(task.jobs)]
        watches += [
            _Watch(task, set(task.jobs)) for task in self._submit(waiting - {n for w in watches for n in w.unfinished})
        ]
        cancelled = False
        while watches and len(signals) < 2:
            if signals and not cancelled:
                cancelled = True
                log.warning("Stopping: the tasks are cancelled, running jobs save where they are; once more leaves.")
                self._cluster.cancel([self._id(watch) for watch in watches])
            self._hear(watches, listener)
            watches = [watch for watch in watches if not self._is_over(watch, listener, told=not signals)]
            listener.tick({num: since for watch in watches for num, since in watch.running.items()})
            if watches:
                time.sleep(POLL_SECONDS)

    def close(self, *, kill: bool) -> None:
        """The tasks have ended, or are cancelled."""
        self._cluster.close()

    def _submit(self, nums: set[int]) -> list[Task]:
        groups = split(sorted(nums), self._num_tasks, self._work.settings, self._work.share_keys)
        if not groups:
            return []
        place, modules, variables = surroundings()
        tasks = [Task(self._files.new_num(), group, self._cluster.name) for group in groups]
        self._files.write([*self._tasks, *tasks])  # before they can start
        sent = [
            NodeTask(task.num, self._work.part(set(task.jobs)), self._files, place, modules, variables)
            for task in tasks
        ]
        ids = self._cluster.submit(sent, self._files.path)
        tasks = [replace(task, id=task_id) for task, task_id in zip(tasks, ids, strict=True)]
        self._tasks += tasks
        self._files.write(self._tasks)
        log.info("Submitted %d jobs in %d tasks: %s", len(nums), len(tasks), ", ".join(ids))
        return tasks

    def _id(self, watch: _Watch) -> str:
        assert watch.task.id is not None
        return watch.task.id

    def _hear(self, watches: Sequence[_Watch], listener: Listener) -> None:
        ended = self._cluster.ended([self._id(watch) for watch in watches if watch.how is None])
        for watch in watches:
            watch.how = watch.how or ended.get(self._id(watch))
            events, watch.position = self._files.events(watch.task.num, watch.position)
            watch.heard += events
            while watch.heard and self._take(watch.heard[0], watch, listener):
                watch.heard.pop(0)

    def _take(self, event: Event, watch: _Watch, listener: Listener) -> bool:
        """False if it is to be taken in later."""
        if event.host is not None:
            log.info("Task %s runs on %s", watch.task.id, event.host)
        if event.job not in watch.unfinished:
            return True
        job = self._jobs[event.job]
        if event.what == "started":
            if job.num not in watch.running:
                watch.running[job.num] = time.monotonic()
                listener.started(job)
        elif self._work.is_training and event.what in (*FINISHED, "failed"):
            if job.result() is None and self._may_lag(watch):
                return False
            self._finish(job, watch, self._end(job, event), listener)
        return True  # jobs that were interrupted may go on (a task that Slurm puts back into its queue)

    def _may_lag(self, watch: _Watch) -> bool:
        if watch.unseen_since is None:
            watch.unseen_since = time.monotonic()
        return time.monotonic() - watch.unseen_since < _LAG_SECONDS

    def _end(self, job: Job, event: Event) -> End:
        if event.what in FINISHED:
            return End(event.what, self._work.done(job), seconds=event.seconds)
        told = JobFailed(f"job {job.num} ({job.folder.name}): {event.error}")
        return End("failed", self._work.job_return(job, JobStatus.FAILED, told), event.error, event.seconds)

    def _finish(self, job: Job, watch: _Watch, end: End, listener: Listener) -> None:
        watch.unfinished.discard(job.num)
        watch.running.pop(job.num, None)
        watch.unseen_since = None
        listener.ended(job, end)

    def _is_over(self, watch: _Watch, listener: Listener, *, told: bool) -> bool:
        """Whether all its jobs are at their end; if the task is, they are made to be."""
        if watch.unfinished and watch.how is None:
            return False
        if watch.heard:
            return False
        returned = self._cluster.returned(self._id(watch), self._files.path) if not self._work.is_training else {}
        lost = []
        for num in sorted(watch.unfinished):
            job = self._jobs[num]
            result = job.result() if self._work.is_training else None
            if num in returned:
                failed = returned[num].status != JobStatus.COMPLETED
                self._finish(job, watch, End("failed" if failed else "completed", returned[num]), listener)
            elif result is not None and result.status in FINISHED:
                self._finish(job, watch, End(result.status, self._work.done(job)), listener)
            else:
                lost.append(job)
        self._lose(lost, watch, listener, told=told and not self._files.is_stopped())
        self._tasks.remove(watch.task)
        self._files.write(self._tasks)
        return True

    def _lose(self, jobs: Sequence[Job], watch: _Watch, listener: Listener, *, told: bool) -> None:
        """Jobs whose task is at its end and that are not."""
        task_log = self._cluster.log_of(watch.task, self._files.path)
        error = f"its {self._cluster.name} task {watch.task.id} ended as {watch.how}; its log: {task_log}"
        if jobs and told:
            log.error(
                "Task %s ended as %s with %d of its %d jobs unfinished; its log: %s",
                watch.task.id, watch.how, len(jobs), len(watch.task.jobs), task_log,
            )  # fmt: skip
        for job in jobs:
            since = watch.running.get(job.num)
            failure = JobFailed(f"job {job.num} ({job.folder.name}): {error}")
            end = End(
                "missing" if since is None else "interrupted",
                self._work.job_return(job, JobStatus.FAILED, failure),
                error if told else None,
                0.0 if since is None else time.monotonic() - since,
            )
            self._finish(job, watch, end, listener)
