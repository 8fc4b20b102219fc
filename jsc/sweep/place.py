"""Where a sweep's jobs run: the seam between the sweep's books and what runs jobs, here or on a cluster.

A place is given `Work` and tells a `Listener` what becomes of each job. A job's result.json alone says that it is done;
a process that runs a job holds the job's lock, so that several processes (a cluster's tasks, each the ordinary command
with `sweep.resume=FOLDER sweep.part=3/20`) may work on one sweep.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from jsc.results import PLAN_FILE, RESULT_FILE
from jsc.sweep.plan import Job
from jsc.sweep.split import Part, split

LOCK_FILE = ".lock"  # in a job's folder


@dataclass(frozen=True)
class Work:
    """Jobs and all that it takes to run them.

    `folder`: the sweep's. `to_run`: the numbers of the jobs that are to be run; these may go on from others. `varied`:
    the keys that the sweep varies. `hydra`: callbacks and the task that they are told of, pickled for workers.
    """

    folder: Path
    jobs: Sequence[Job]
    to_run: frozenset[int]
    varied: Sequence[str]
    hydra: bytes
    num_workers: int
    on_failure: str
    num_retries: int

    def waiting(self) -> list[Job]:
        """The jobs to run, in order."""
        return [job for job in self.jobs if job.num in self.to_run]

    def parts(self, num_parts: int) -> list[tuple[int, ...]]:
        """The numbers of the jobs of `sweep.part=1/num_parts` and so on; fewer parts if there are fewer jobs."""
        return split(self.waiting(), num_parts)

    def part(self, part: Part) -> frozenset[int]:
        """The numbers of its jobs."""
        parts = self.parts(part.num_parts)
        return frozenset(parts[part.number - 1] if part.number <= len(parts) else ())

    def is_stopped(self) -> bool:
        """With on_failure=stop: whether a job, here or in another process, has failed since the plan was written."""
        return self.on_failure == "stop" and any(self._has_failed(job) for job in self.jobs)

    def _has_failed(self, job: Job) -> bool:
        record, plan = job.folder / RESULT_FILE, self.folder / PLAN_FILE
        if not record.exists() or record.stat().st_mtime_ns < plan.stat().st_mtime_ns:
            return False
        result = job.result()
        return result is not None and result.status == "failed"


@dataclass(frozen=True)
class End:
    """How a job ended: as its result.json says, or failed, interrupted or missing (it did not start)."""

    status: str
    error: str | None = None
    seconds: float = 0.0


class Listener(Protocol):
    """Is told what becomes of the jobs; `running`: when each that is under way began (time.monotonic)."""

    def started(self, job: Job) -> None: ...
    def ended(self, job: Job, end: End) -> None: ...
    def tick(self, running: Mapping[int, float]) -> None: ...


class Place(Protocol):
    """Where the jobs of one launch or several run."""

    def words(self, num_jobs: int) -> str:
        """What a user is told of it."""

    def run(self, work: Work, listener: Listener, signals: list[int]) -> None:
        """Run the jobs to their ends, and tell of each.

        `signals` grows while it runs: after the first, running jobs save where they are and no further one starts;
        after the second it returns at once.
        """

    def close(self, *, kill: bool) -> None:
        """There are no further launches."""


@contextmanager
def job_lock(folder: Path) -> Iterator[bool]:
    """Within this context the job in `folder` is this process's; False: it is another's now."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
