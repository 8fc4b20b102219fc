"""The worker processes of a sweep, seen from the sweep: started, given jobs, replaced when they die."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import cloudpickle
from hydra.core.utils import JobReturn

from hydra_plugins.jsc_launcher._server import context_of, ignored_signals, may_have_gpus
from hydra_plugins.jsc_launcher._worker import Assignment, Outcome, work

Slot = int  # a worker's place; a dead worker's replacement takes its place and its GPU


@dataclass(frozen=True)
class Ended:
    """A job's end: what it returned, or the words on how its worker died, or neither if it was interrupted."""

    key: int
    job_return: JobReturn | None
    death: str | None
    seconds: float


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    key: int | None = None  # of its job
    started: float = 0.0

    def signal(self, number: int) -> None:
        """Not by the process's own methods: they take it for dead when the server that it is a fork of is."""
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)


@dataclass
class Crew:
    """At most `num_workers` processes. `setup`: the pickled task function, context and state of Hydra's.

    `gpus`: the GPUs (CUDA_VISIBLE_DEVICES) that are dealt out over the workers; empty: none are. `may_fork`: they are
    forks of one process, which imports torch once for all of them.
    """

    num_workers: int
    setup: bytes
    gpus: Sequence[str] = ()
    may_fork: bool = False
    _workers: dict[Slot, _Worker] = field(default_factory=dict)

    @property
    def running(self) -> dict[int, float]:
        """Keys of the jobs under way, and when each started (time.monotonic)."""
        return {worker.key: worker.started for worker in self._workers.values() if worker.key is not None}

    def has_room(self) -> bool:
        return len(self.running) < self.num_workers

    def start(self, key: int, assignment: Assignment) -> None:
        """Give a job to an idle worker, or to a new one."""
        slot = next((s for s, worker in self._workers.items() if worker.key is None), None)
        if slot is None:
            slot = next(s for s in range(self.num_workers) if s not in self._workers)
            self._workers[slot] = self._new_worker(slot)
        worker = self._workers[slot]
        worker.key, worker.started = key, time.monotonic()
        with suppress(ConnectionError):  # a worker that has died is found out by wait()
            worker.pipe.send_bytes(cloudpickle.dumps(assignment))

    def _new_worker(self, slot: Slot) -> _Worker:
        context = context_of(may_fork=self.may_fork)
        ours, theirs = context.Pipe()
        # Not a daemon: a job may start processes of its own (trainer=ddp). It ends when the pipe closes.
        process = context.Process(target=work, args=(theirs,), name=f"jsc-worker-{slot}")
        with ignored_signals():
            process.start()
        theirs.close()
        with suppress(ConnectionError):
            ours.send_bytes(cloudpickle.dumps({**os.environ, **gpu_of(slot, self.gpus)}))
            ours.send_bytes(self.setup)
        return _Worker(process, ours)

    def wait(self, seconds: float) -> list[Ended]:
        """The jobs that end within this time; returns at the first."""
        slots = {worker.pipe: slot for slot, worker in self._workers.items()}
        ended = []
        for pipe in connection.wait(list(slots), timeout=seconds):
            assert isinstance(pipe, Connection)
            slot = slots[pipe]
            worker = self._workers[slot]
            try:
                outcome: Outcome | None = cloudpickle.loads(pipe.recv_bytes())
            except (EOFError, ConnectionError):
                outcome = None
            if outcome is None or outcome.job_return is None:
                del self._workers[slot]
                pipe.close()
                worker.process.join()
            if worker.key is not None:
                job_return = outcome.job_return if outcome is not None else None
                death = _death(worker.process) if outcome is None else None
                ended.append(Ended(worker.key, job_return, death, time.monotonic() - worker.started))
                worker.key = None
        return ended

    def interrupt(self) -> None:
        """Ask every job to stop where it can be resumed."""
        for worker in self._workers.values():
            worker.signal(signal.SIGTERM)

    def close(self, *, kill: bool) -> None:
        """End all workers: at once, or each when it has nothing left to do."""
        for worker in self._workers.values():
            if kill:
                worker.signal(signal.SIGKILL)
            worker.pipe.close()
        for worker in self._workers.values():
            worker.process.join()
        self._workers.clear()


def gpu_of(slot: Slot, gpus: Sequence[str]) -> dict[str, str]:
    """The environment that shows a worker its one GPU; worker 0 gets the first, and so on around."""
    return {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if gpus else {}


def visible_gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them; none where there are none."""
    if not may_have_gpus():
        return []
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(i) for i in range(count)]


def _death(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"its process was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
    return f"its process ended with exit code {code}"
