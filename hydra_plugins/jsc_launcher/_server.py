"""The process that has torch: a sweep's workers are forks of it, and so is what answers the sweep's own questions.

The sweep's own process does without torch, which takes it as long to take down at its end as a job takes to run.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from jsc.cli.imports import Answer, call_elsewhere

GPU_DEVICES = tuple(map(Path, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")))  # of NVIDIA, of AMD, of Linux in Windows
HEAD_START = 2.0  # seconds that another import of torch cannot catch up with


def may_have_gpus() -> bool:
    """False if there is surely none, which is known without torch and the seconds that its import takes."""
    return sys.platform != "linux" or any(path.exists() for path in GPU_DEVICES)


def context_of(*, may_fork: bool) -> ForkServerContext | SpawnContext:
    """What starts processes; a fork cannot use a GPU."""
    if not may_fork or sys.platform != "linux":  # elsewhere the system's own libraries do not stand a fork
        return get_context("spawn")
    start_fork_server()
    return get_context("forkserver")


def start_fork_server() -> None:
    """Start the server, unless it runs; it imports torch while this process goes on."""
    global _started_at
    _started_at = _started_at or time.monotonic()
    forkserver.set_forkserver_preload(["hydra_plugins.jsc_launcher._preload"])
    with ignored_signals():
        forkserver.ensure_running()


_started_at = 0.0


def ask_early(function: Callable[..., Answer], *arguments: object) -> Answer:
    """As `ask`; but if the server has only begun to import torch, a fork of this process does so beside it.

    Together they take no longer than the server alone, which is not asked until it has all that it shall have.
    """
    if time.monotonic() - _started_at > HEAD_START:
        return ask(function, *arguments)
    return call_elsewhere(get_context("fork"), function, *arguments)


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
