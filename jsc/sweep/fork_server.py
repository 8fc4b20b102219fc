"""The process that has torch: a sweep's workers are forks of it, and so is what answers the sweep's own questions.

The sweep's own process does without torch, which takes it as long to take down at its end as a job takes to run.
"""

import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from jsc.errors import CommandError, WorkerError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

GPU_DEVICES = tuple(map(Path, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")))  # of NVIDIA, of AMD, of Linux in Windows


def may_have_gpus() -> bool:
    """False if there is surely none, which is known without torch and the seconds that its import takes."""
    return sys.platform != "linux" or any(path.exists() for path in GPU_DEVICES)


def context_of(*, may_fork: bool) -> BaseContext:
    """What starts processes; a fork cannot use a GPU."""
    if not may_fork or sys.platform != "linux":  # elsewhere the system's own libraries do not stand a fork
        return get_context("spawn")
    start_fork_server()
    return get_context("forkserver")


def start_fork_server() -> None:
    """Start the server, unless it runs; it imports torch while this process goes on."""
    forkserver.set_forkserver_preload(["jsc.sweep.preload"])
    with ignored_signals():
        forkserver.ensure_running()


@contextmanager
def ignored_signals() -> Iterator[None]:
    """Processes started here ignore Ctrl-C from their first moment, and what Slurm sends before a time limit."""
    numbers = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Death:
    """How a process ended that was asked something."""

    how: str


def ask(
    function: Callable[[Item], Answer], items: Sequence[Item], context: BaseContext | None = None
) -> Iterator[Answer | Death]:
    """What a function returns for each item, called in another process; Death for an item that killed that process.

    A fork of the server, unless another `context` is given. Function and items must be picklable. Raises CommandError
    with the words of a ValueError of the function's, and WorkerError with the traceback of any other error.
    """
    num_answers = 0
    while num_answers < len(items):
        for answer in _asked(function, items[num_answers:], context or context_of(may_fork=not may_have_gpus())):
            num_answers += 1
            yield answer


def _asked(function: Callable[[Item], Answer], items: Sequence[Item], context: BaseContext) -> Iterator[Answer | Death]:
    """Up to the first item that kills the process."""
    ours, theirs = context.Pipe(duplex=False)
    process: BaseProcess = context.Process(target=_answer, args=(theirs, dict(os.environ), function, items))  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's, of a fork beside other threads
        process.start()
    theirs.close()
    try:
        for _ in items:
            try:
                answer, message, details = pickle.loads(ours.recv_bytes())
            except EOFError:
                process.join()
                yield Death(how_it_ended(process))
                return
            if message is not None:
                raise CommandError(message) from WorkerError(details)
            if details is not None:
                raise WorkerError(details)
            yield answer
    finally:
        process.kill()
        process.join()
        ours.close()


def _answer(
    pipe: Connection, environment: dict[str, str], function: Callable[[Item], Answer], items: Sequence[Item]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with suppress(BrokenPipeError, KeyboardInterrupt):
        for item in items:
            answer = message = details = None
            try:
                answer = function(item)
            except Exception as error:
                message = str(error) if isinstance(error, ValueError) else None
                details = traceback.format_exc()
            pipe.send_bytes(pickle.dumps((answer, message, details)))


def how_it_ended(process: BaseProcess) -> str:
    """In words: of a process that was to go on."""
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"its process was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
    return f"its process ended with exit code {code}"
