"""The process that has torch: a sweep's workers are forks of it, and so is what answers the sweep's own questions.

The sweep's own process does without torch, which takes it as long to take down at its end as a job takes to run.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any

from jsc.imports import Answer, call_elsewhere

Caller = Callable[..., Any]  # of a function with its arguments

GPU_DEVICES = tuple(map(Path, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")))  # of NVIDIA, of AMD, of Linux in Windows


def may_have_gpus() -> bool:
    """False if there is surely none, which is known without torch and the seconds that its import takes."""
    return sys.platform != "linux" or any(path.exists() for path in GPU_DEVICES)


def context_of(*, may_fork: bool) -> ForkServerContext | SpawnContext:
    """What starts processes; a fork cannot use a GPU."""
    if not may_fork or sys.platform != "linux":  # elsewhere the system's own libraries do not stand a fork
        return get_context("spawn")
    start_fork_server()
    return get_context("forkserver")


def start_fork_server() -> bool:
    """Start the server, unless it runs; it imports torch while this process goes on. Returns whether it is new."""
    global _was_started
    is_new, _was_started = not _was_started, True
    forkserver.set_forkserver_preload(["hydra_plugins.jsc_launcher._preload"])
    with ignored_signals():
        forkserver.ensure_running()
    return is_new


_was_started = False


def get_ready() -> Caller | None:
    """Start the server, and return what calls a function that imports torch elsewhere; None where that is to be here.

    While the server imports torch for the first time, a fork of this process does so beside it: asking the server would
    take longer.
    """
    if may_have_gpus():
        return None
    return partial(call_elsewhere, get_context("fork")) if start_fork_server() else ask


def ask(function: Callable[..., Answer], *arguments: object) -> Answer:
    """What a function returns, or raises, that imports torch; all must be picklable."""
    if "torch" in sys.modules or may_have_gpus():
        return function(*arguments)
    return call_elsewhere(context_of(may_fork=True), function, *arguments)


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
