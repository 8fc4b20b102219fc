"""Runs jobs on this machine: a worker pool gets them as workers fall idle, a listener is told what becomes of each."""

import logging
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

from jsc.sweep.fork_server import ask
from jsc.sweep.job import record_failure
from jsc.sweep.place import End, Listener, Work, job_lock
from jsc.sweep.plan import Job
from jsc.sweep.pool import Ended, WorkerPool, visible_gpus
from jsc.sweep.worker import Order

log = logging.getLogger(__name__)

SECONDS_TO_ASK_AGAIN = 1.0  # whether another process has finished a job that it took


@dataclass
class Here:
    """This machine; the first launch's worker pool runs the others' jobs as well."""

    num_workers: int
    pool: WorkerPool | None = None

    def words(self, num_jobs: int) -> str:
        num_workers = max(1, min(self.num_workers, num_jobs))
        return f"with {num_workers} worker{'s' if num_workers > 1 else ''}"

    def run(self, work: Work, listener: Listener, signals: list[int]) -> None:
        self.pool = self.pool or pool_for(work)
        Runner(work, self.pool, listener, signals).run()

    def close(self, *, kill: bool) -> None:
        if self.pool is not None:
            self.pool.close(kill=kill)


def pool_for(work: Work) -> WorkerPool:
    """One GPU a worker, unless a job wants more than one."""
    trainers = [job.settings.trainer for job in work.jobs]
    hides_gpus = any(trainer.accelerator == "cpu" or trainer.devices > 1 for trainer in trainers)
    gpus = visible_gpus()
    return WorkerPool(work.num_workers, work.hydra, [] if hides_gpus else gpus, may_fork=not gpus)


@dataclass
class Runner:
    """`signals`: those that this process has received; the first interrupts the jobs, the second ends the loop."""

    work: Work
    pool: WorkerPool
    listener: Listener
    signals: list[int]
    waiting: list[Job] = field(default_factory=list)
    tries: Counter[int] = field(default_factory=Counter)
    asked: dict[int, float] = field(default_factory=dict)  # of jobs that another process has: when it was found out

    def run(self) -> None:
        self.jobs = {job.num: job for job in self.work.jobs}
        self.waiting = self.work.waiting()
        asked_to_stop = False
        while self.pool.running or (self.waiting and not self.signals):
            while not self.signals and self.pool.has_room() and (job := self._next_job()) is not None:
                if self.work.is_stopped():
                    self._drop_waiting("not started: a job failed and on_failure=stop")
                else:
                    self._start(job)
            self.listener.tick(self.pool.running)
            if self.signals and not asked_to_stop:
                asked_to_stop = True
                log.warning("Stopping: running jobs save where they are; once more stops at once.")
                self.pool.interrupt()
            if len(self.signals) > 1:
                break
            for ended in self.pool.wait(0.1):
                self._take(ended)
        for num in self.pool.running:
            self.listener.ended(self.jobs[num], End("interrupted"))

    def _next_job(self) -> Job | None:
        """The first that need not wait for a shorter run of the same settings, or for another process."""
        unfinished = [*self.waiting, *(self.jobs[num] for num in self.pool.running)]
        for job in self.waiting:
            is_free = self.asked.get(job.num, 0.0) <= time.monotonic() - SECONDS_TO_ASK_AGAIN
            shorter = (o for o in unfinished if job.share_key is not None and o.share_key == job.share_key)
            if is_free and not any(other.max_epochs < job.max_epochs for other in shorter):
                return job
        return None

    def _start(self, job: Job) -> None:
        self.waiting.remove(job)
        self.tries[job.num] += 1
        self.listener.started(job)
        key, jobs = job.share_key, self.work.jobs
        alike = [o.folder for o in jobs if o.share_key == key and o is not job] if key is not None else []
        self.pool.start(Order(job, self.work.varied, alike, is_afresh=self.tries[job.num] > 1))

    def _take(self, ended: Ended) -> None:
        """Tell how a job ended, or try it again if that is wanted."""
        job, answer = self.jobs[ended.num], ended.answer
        if answer is not None and answer.how == "taken":
            self.asked[job.num] = time.monotonic()
            self.tries[job.num] -= 1
            self.waiting.append(job)
            return
        result = job.result()
        if result is not None and job.is_finished():  # its worker may have died after the job's end
            self.listener.ended(job, End(result.status, seconds=ended.seconds))
            return
        interrupted = answer is not None and answer.how == "interrupted"
        if interrupted and not self.signals:
            self.signals.append(signal.SIGTERM)  # someone else stopped the worker: the user is leaving
        if interrupted or self.signals:
            self.listener.ended(job, End("interrupted", seconds=ended.seconds))
            return
        error = (answer.error if answer is not None else None) or ended.death
        if answer is None:
            self._record_death(job, ended)
        if self.work.on_failure == "retry" and self.tries[job.num] <= self.work.num_retries:
            log.warning("%s: failed (%s); trying it again", job.folder.name, error)
            self.waiting.insert(0, job)
            return
        self.listener.ended(job, End("failed", error, ended.seconds))

    def _drop_waiting(self, reason: str) -> None:
        for job in self.waiting:
            self.listener.ended(job, End("missing", reason))
        self.waiting.clear()

    def _record_death(self, job: Job, ended: Ended) -> None:
        with job_lock(job.folder) as is_ours:
            if is_ours:
                with job.log_file.open("a") as file:
                    file.write(f"The run failed: {ended.death}\n")
                list(ask(_record, [(job, ended.death, ended.seconds)]))


def _record(told: tuple[Job, str, float]) -> None:
    record_failure(*told)
