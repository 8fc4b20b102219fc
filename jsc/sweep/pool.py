"""A sweep's worker pool: processes that are started, given jobs, and replaced when they die."""

import os
import pickle
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from jsc.sweep.fork_server import context_of, how_it_ended, ignored_signals, may_have_gpus
from jsc.sweep.worker import Answer, Order, work

Slot = int  # a worker's place; a dead worker's replacement takes its place and its GPU


@dataclass(frozen=True)
class Ended:
    """A worker has answered, or, if there is no answer, died: of what."""

    num: int  # of the job
    answer: Answer | None
    death: str
    seconds: float


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    num: int | None = None  # of its job
    started: float = 0.0

    def signal(self, number: int) -> None:
        """Not by the process's own methods: they take it for dead when the server that it is a fork of is."""
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)


@dataclass
class WorkerPool:
    """At most `num_workers` processes. `hydra`: its callbacks and task, pickled.

    `gpus`: the GPUs (CUDA_VISIBLE_DEVICES) that are dealt out over the workers; empty: none are. `may_fork`: they are
    forks of one process, which imports torch once for all of them.
    """

    num_workers: int
    hydra: bytes
    gpus: Sequence[str] = ()
    may_fork: bool = False
    _workers: dict[Slot, _Worker] = field(default_factory=dict)

    @property
    def running(self) -> dict[int, float]:
        """Numbers of the jobs under way, and when each started (time.monotonic)."""
        return {worker.num: worker.started for worker in self._workers.values() if worker.num is not None}

    def has_room(self) -> bool:
        return len(self.running) < self.num_workers

    def start(self, order: Order) -> None:
        """Give a job to an idle worker, or to a new one."""
        slot = next((s for s, worker in self._workers.items() if worker.num is None), None)
        if slot is None:
            slot = next(s for s in range(self.num_workers) if s not in self._workers)
            self._workers[slot] = self._new_worker(slot)
        worker = self._workers[slot]
        worker.num, worker.started = order.job.num, time.monotonic()
        with suppress(ConnectionError):  # a worker that has died is found out by wait()
            worker.pipe.send_bytes(pickle.dumps(order))

    def _new_worker(self, slot: Slot) -> _Worker:
        context = context_of(may_fork=self.may_fork)
        ours, theirs = context.Pipe()
        # Not a daemon: a job may start processes of its own (trainer=ddp). It ends when the pipe closes.
        process: BaseProcess = context.Process(target=work, args=(theirs,), name=f"jsc-worker-{slot}")  # type: ignore[attr-defined]
        with ignored_signals():
            process.start()
        theirs.close()
        with suppress(ConnectionError):
            ours.send_bytes(pickle.dumps({**os.environ, **gpu_of(slot, self.gpus)}))
            ours.send_bytes(self.hydra)
        return _Worker(process, ours)

    def wait(self, seconds: float) -> list[Ended]:
        """What workers answer within this time; returns at the first."""
        slots = {worker.pipe: slot for slot, worker in self._workers.items()}
        ended = []
        for pipe in connection.wait(list(slots), timeout=seconds):
            assert isinstance(pipe, Connection)
            slot = slots[pipe]
            worker = self._workers[slot]
            try:
                answer: Answer | None = pickle.loads(pipe.recv_bytes())
            except (EOFError, ConnectionError):
                answer = None
            if answer is None or answer.how == "interrupted":
                del self._workers[slot]
                pipe.close()
                worker.process.join()
            if worker.num is not None:
                death = how_it_ended(worker.process) if answer is None else ""
                ended.append(Ended(worker.num, answer, death, time.monotonic() - worker.started))
                worker.num = None
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
