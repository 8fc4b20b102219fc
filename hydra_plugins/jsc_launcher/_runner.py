"""Runs jobs on this machine: a crew gets them as its workers fall idle, a listener is told what becomes of each."""

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.jsc_launcher._crew import Crew, Ended, visible_gpus
from hydra_plugins.jsc_launcher._groups import Layout
from hydra_plugins.jsc_launcher._server import ask
from hydra_plugins.jsc_launcher._tasks import TASK_FOLDER, TaskFolder
from hydra_plugins.jsc_launcher._worker import Assignment
from jsc.cli.settings import TrainSettings
from jsc.errors import JobFailed
from jsc.results import RESULT_FILE, write_record
from jsc.sweep.plan import Job
from jsc.sweep.prefix import adopt_run, shorter_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackedConfig:
    """A job's configuration, pickled: so it is sent, and a thousand of them take up little. `job_name`: Hydra's."""

    job_name: str
    pickled: bytes


@dataclass(frozen=True)
class Work:
    """Jobs and all that it takes to run them, here or on another machine.

    `jobs`: those to run, and finished ones that they may go on from. `settings`: of jsc.train's jobs; empty for another
    task's. `share_keys`: the same for jobs that begin alike. `settled`: numbers of jobs that are not run, though they
    failed. `setup`: what a crew is told.
    """

    jobs: Sequence[Job]
    configs: Mapping[int, PackedConfig]
    settings: Mapping[int, TrainSettings]
    share_keys: Mapping[int, str | None]
    settled: frozenset[int]
    setup: bytes
    num_workers: int
    on_failure: str
    num_retries: int

    @property
    def is_training(self) -> bool:
        return bool(self.settings)

    def waiting(self) -> list[Job]:
        """The jobs that are not done, in order."""
        return [job for job in self.jobs if not (self.is_training and self._is_settled(job))]

    def _is_settled(self, job: Job) -> bool:
        return job.num in self.settled or job.is_finished()

    def part(self, nums: set[int]) -> "Work":
        """The work of these jobs, and of the finished ones that they may go on from."""
        keys = {self.share_keys.get(num) for num in nums} - {None}
        jobs = [j for j in self.jobs if j.num in nums or (self.share_keys.get(j.num) in keys and j.is_finished())]
        kept = {job.num for job in jobs}
        return replace(
            self,
            jobs=jobs,
            configs={n: config for n, config in self.configs.items() if n in kept},
            settings={n: settings for n, settings in self.settings.items() if n in kept},
            share_keys={n: key for n, key in self.share_keys.items() if n in kept},
        )

    def crew(self) -> Crew:
        """For this machine; one GPU a worker, unless a job wants more than one."""
        settings = self.settings.values()
        hides_gpus = not settings or any(s.trainer.accelerator == "cpu" or s.trainer.devices > 1 for s in settings)
        gpus = visible_gpus()
        return Crew(self.num_workers, self.setup, [] if hides_gpus else gpus, may_fork=self.is_training and not gpus)

    def log_file(self, job: Job) -> Path:
        return job.folder / f"{self.configs[job.num].job_name}.log"

    def job_return(self, job: Job, status: JobStatus, value: Any) -> JobReturn:
        name = self.configs[job.num].job_name
        returned = JobReturn(overrides=list(job.overrides), working_dir=os.getcwd(), task_name=name)  # noqa: PTH109  # a string, as Hydra has it
        returned.status, returned.return_value = status, value
        return returned

    def done(self, job: Job) -> JobReturn:
        """What a job returned that has left its result."""
        result = job.result()
        return self.job_return(job, JobStatus.COMPLETED, result.objective if result is not None else None)


@dataclass(frozen=True)
class End:
    """How a job ended: as its result.json says, or failed, interrupted or missing (it did not start)."""

    status: str
    job_return: JobReturn | None
    error: str | None = None
    seconds: float = 0.0


class Listener(Protocol):
    """Is told what becomes of the jobs; `running`: when each that is under way began (time.monotonic)."""

    def started(self, job: Job) -> None: ...
    def ended(self, job: Job, end: End) -> None: ...
    def tick(self, running: Mapping[int, float]) -> None: ...


@dataclass
class Runner:
    """`signals`: those that this process has received; the first interrupts the jobs, the second ends the loop.

    `may_start`: asked before each job; once it says no, no further one is started.
    """

    work: Work
    crew: Crew
    listener: Listener
    signals: list[int]
    may_start: Callable[[], bool] = lambda: True
    waiting: list[Job] = field(default_factory=list)
    tries: Counter[int] = field(default_factory=Counter)

    def run(self) -> None:
        self.waiting = self.work.waiting()
        asked_to_stop = False
        while self.crew.running or (self.waiting and not self.signals):
            while not self.signals and self.crew.has_room() and (job := self._next_job()) is not None:
                if self.may_start():
                    self._start(job)
                else:
                    self._drop_waiting("not started: the sweep was stopped")
            self.listener.tick(self.crew.running)
            if self.signals and not asked_to_stop:
                asked_to_stop = True
                log.warning("Stopping: running jobs save where they are; once more stops at once.")
                self.crew.interrupt()
            if len(self.signals) > 1:
                break
            for ended in self.crew.wait(0.1):
                self._take(ended)
        for num in self.crew.running:
            self.listener.ended(self._job(num), End("interrupted", None))

    def _job(self, num: int) -> Job:
        return next(job for job in self.work.jobs if job.num == num)

    def _next_job(self) -> Job | None:
        """The first that need not wait for a shorter run of the same settings."""
        if not self.waiting:
            return None
        keys = self.work.share_keys
        unfinished = [*self.waiting, *(self._job(num) for num in self.crew.running)]
        for job in self.waiting:
            key = keys.get(job.num)
            if key is None or not any(
                keys[other.num] == key and self._max_epochs(other) < self._max_epochs(job) for other in unfinished
            ):
                return job
        return None

    def _max_epochs(self, job: Job) -> int:
        return self.work.settings[job.num].trainer.max_epochs

    def _start(self, job: Job) -> None:
        prepare = resume_from = None
        if self.work.is_training:
            if job.can_go_on() and not self.tries[job.num]:
                resume_from = job.last_checkpoint
            else:
                job.clear()
                shorter = self._shorter_job(job)
                if shorter is not None:
                    prepare = partial(adopt_run, shorter.folder, job.folder, self.work.settings[job.num])
                    resume_from = job.last_checkpoint
        self.waiting.remove(job)
        self.tries[job.num] += 1
        self.listener.started(job)
        config, log_file = self.work.configs[job.num].pickled, self.work.log_file(job)
        self.crew.start(job.num, Assignment(config, resume_from, log_file, prepare, self.work.is_training))

    def _shorter_job(self, job: Job) -> Job | None:
        key = self.work.share_keys.get(job.num)
        group = [other for other in self.work.jobs if key is not None and self.work.share_keys[other.num] == key]
        folder = shorter_run([other.folder for other in group], self._max_epochs(job)) if group else None
        return next((other for other in group if other.folder == folder), None)

    def _take(self, ended: Ended) -> None:
        """Tell how a job ended, or try it again if that is wanted."""
        job = self._job(ended.key)
        job_return = ended.job_return
        if job_return is not None and job_return.status == JobStatus.COMPLETED:
            result = job.result() if self.work.is_training else None
            end = End(result.status if result is not None else "completed", job_return, seconds=ended.seconds)
        elif self.work.is_training and job.is_finished():  # its worker died after the job's end
            result = job.result()
            assert result is not None
            end = End(result.status, self.work.done(job), seconds=ended.seconds)
        elif self.signals or (job_return is None and ended.death is None):
            end = End("interrupted", None, seconds=ended.seconds)
            if job_return is None and ended.death is None and not self.signals:
                self.signals.append(signal.SIGTERM)  # someone else stopped the worker: the user is leaving
        else:
            end = self._failure(job, ended)
            if self.work.on_failure == "retry" and self.tries[job.num] <= self.work.num_retries:
                log.warning("%s: failed (%s); trying it again", job.folder.name, end.error)
                self.waiting.insert(0, job)
                return
        self.listener.ended(job, end)
        if end.status == "failed" and self.work.on_failure == "stop":
            self._drop_waiting(f"not started: job {job.num} failed and on_failure=stop")

    def _drop_waiting(self, reason: str) -> None:
        for job in self.waiting:
            self.listener.ended(job, End("missing", self.work.job_return(job, JobStatus.FAILED, JobFailed(reason))))
        self.waiting.clear()

    def _failure(self, job: Job, ended: Ended) -> End:
        result = job.result() if self.work.is_training else None
        error: object = ended.death
        if ended.job_return is not None:
            value: Any = ended.job_return._return_value
            error = result.error if result is not None and isinstance(value, JobFailed) else f"{value!r}"
        message = str(error)
        if ended.death is not None:
            job.folder.mkdir(parents=True, exist_ok=True)  # it may have died before it had one
            with self.work.log_file(job).open("a") as file:
                file.write(f"The run failed: {message}\n")
        if self.work.is_training and (result is None or result.status != "failed"):
            ask(_record_failure, job, self.work.settings[job.num], message, ended.seconds)
        told = JobFailed(f"job {job.num} ({job.folder.name}): {message}")
        returned = ended.job_return or self.work.job_return(job, JobStatus.FAILED, told)
        if isinstance(returned._return_value, JobFailed):
            returned.return_value = told
        return End("failed", returned, message, ended.seconds)


def _record_failure(job: Job, settings: TrainSettings, message: str, seconds: float) -> None:
    """The result.json that a job could not write itself."""
    from jsc.run.training import Run

    run = Run(settings, job.folder, job.command, clock=time.perf_counter() - seconds)
    write_record(job.folder / RESULT_FILE, run.record("failed", message))


class Place(Protocol):
    """Where the jobs of one launch or several run."""

    def words(self, num_jobs: int) -> str:
        """What a user is told of it."""

    def run(self, work: Work, listener: Listener, signals: list[int]) -> None: ...
    def close(self, *, kill: bool) -> None: ...


@dataclass
class Here:
    """This machine; the first launch's crew runs the others' jobs as well."""

    num_workers: int
    crew: Crew | None = None

    def words(self, num_jobs: int) -> str:
        num_workers = max(1, min(self.num_workers, num_jobs))
        return f"with {num_workers} worker{'s' if num_workers > 1 else ''}"

    def run(self, work: Work, listener: Listener, signals: list[int]) -> None:
        self.crew = self.crew or work.crew()
        Runner(work, self.crew, listener, signals).run()

    def close(self, *, kill: bool) -> None:
        if self.crew is not None:
            self.crew.close(kill=kill)


def here(layout: Layout, folder: Path) -> Place:
    """This machine. Raises CommandError while tasks of a cluster's run jobs of this sweep."""
    tasks = TaskFolder(folder / TASK_FOLDER)
    if tasks.path.is_dir():
        tasks.take_over([])
    return Here(layout.num_workers)


@contextmanager
def signals_noted(received: list[int], *, once: bool = False) -> Iterator[None]:
    """Within this context SIGINT and SIGTERM do nothing but enter the list.

    After the first, only a user's Ctrl-C does, or, with `once`, nothing: clusters say it more than once.
    """

    def receive(number: int, frame: FrameType | None) -> None:
        if not received or (number == signal.SIGINT and not once):
            received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
