"""Processes that simulate shards side by side and write each as soon as it is finished.

Each worker has a pipe of its own. It is sent a shard; it sends back the number of jets of every batch (int), then True
when the shard's file is written, or the text of a traceback. Whoever finds the pipe closed knows that the other is
dead: a worker whose parent was killed ends at its next batch.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from jsc.errors import WorkerError
from jsc.simulation.shards import Shard, write_shard


@dataclass
class _Worker:
    process: SpawnProcess
    shard: Shard


def run_shards(
    shards: Sequence[Shard], folder: Path, *, run_seed: int, num_workers: int, on_jets: Callable[[int], None]
) -> None:
    """Simulate shards and write them into `folder`. `on_jets` is told of every batch of jets as it comes.

    Raises WorkerError at the first worker that fails. However this ends, no worker is left, and what they were at is
    lost; finished shards are not.
    """
    waiting = list(reversed(shards))
    workers: dict[Connection, _Worker] = {}
    try:
        for _ in range(min(num_workers, len(shards))):
            _start_worker(workers, waiting.pop(), folder, run_seed)
        while workers:
            for pipe in wait(list(workers)):
                assert isinstance(pipe, Connection)
                if not _take_message(pipe, workers[pipe], on_jets):
                    continue
                if waiting:
                    _send_shard(pipe, workers[pipe], waiting.pop())
                else:
                    pipe.close()  # the worker ends
                    workers.pop(pipe).process.join()
    finally:
        for worker in workers.values():
            worker.process.kill()
        for pipe, worker in workers.items():
            worker.process.join()
            pipe.close()


def _start_worker(workers: dict[Connection, _Worker], shard: Shard, folder: Path, run_seed: int) -> None:
    # Spawned, not forked: a copy of this process would hold its lock and the other workers' pipes open.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, folder, run_seed), daemon=True)
    with _ignored_interrupt():
        process.start()
    theirs.close()
    workers[ours] = _Worker(process, shard)
    _send_shard(ours, workers[ours], shard)


def _send_shard(pipe: Connection, worker: _Worker, shard: Shard) -> None:
    worker.shard = shard
    with suppress(ConnectionError):  # a worker that has died is found out when its message is waited for
        pipe.send(shard)


@contextmanager
def _ignored_interrupt() -> Iterator[None]:
    """Processes started here ignore Ctrl-C for good: it reaches all of a terminal's, and the parent ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _take_message(pipe: Connection, worker: _Worker, on_jets: Callable[[int], None]) -> bool:
    """Whether the worker has finished its shard. Raises WorkerError."""
    try:
        message = pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        code = worker.process.exitcode
        death = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        raise WorkerError(f"the worker that simulated {worker.shard.file_name} {death}") from None
    if isinstance(message, str):
        raise WorkerError(f"the worker that simulated {worker.shard.file_name} failed:\n{message}")
    if message is True:
        return True
    on_jets(message)
    return False


def _work(pipe: Connection, folder: Path, run_seed: int) -> None:
    # Pythia and FastJet write to the standard output, which is the progress bar's.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        from jsc.simulation.jets import simulate_jets  # Pythia and FastJet: not before it is known that they are there

        while True:
            shard: Shard = pipe.recv()
            seed, pair_seed = shard.seeds(run_seed)
            x_NO, pt_N = simulate_jets(
                shard.class_name, shard.num_jets, seed=seed, pair_seed=pair_seed, on_jets=pipe.send
            )
            write_shard(folder, shard, x_NO, pt_N)
            pipe.send(True)
    except (EOFError, ConnectionError):
        return  # the parent has no more shards, or is dead
    except Exception:
        with suppress(ConnectionError):
            pipe.send(traceback.format_exc())
