"""Commands in processes of their own, which tests stop and kill: forks of a process that has imported torch.

A new interpreter imports it for many seconds. What is forked runs what `python -m` runs.
"""

import os
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from jsc.sweep.fork_server import start_fork_server

PATIENCE = 200  # seconds
KILLED = -signal.SIGKILL


@dataclass
class CommandProcess:
    """`python -m MODULE WORDS` under way."""

    process: BaseProcess
    output_file: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def output(self) -> str:
        """What it has said so far, on either stream."""
        return self.output_file.read_text()

    def stop(self, number: int) -> int:
        """Send it a signal; returns its exit code."""
        os.kill(self.pid, number)
        return self.end()

    def end(self) -> int:
        """Wait for its end; returns its exit code."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, self.output()
        return self.process.exitcode


@contextmanager
def command_process(folder: Path, module: str, *words: str) -> Iterator[CommandProcess]:
    """Start `python -m MODULE WORDS` in this folder; it is killed at the end of the context."""
    start_fork_server()
    output_file = folder / f".output-{len(list(folder.glob('.output-*')))}"
    arguments = (folder, output_file, dict(os.environ), sys.path, [module, *words])
    process = get_context("forkserver").Process(target=_run, args=arguments)
    process.start()
    try:
        yield CommandProcess(process, output_file)
    finally:
        process.kill()
        process.join()


def _run(folder: Path, output_file: Path, environment: dict[str, str], path: list[str], argv: list[str]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores these
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    descriptor = os.open(output_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.path[:] = [str(folder), *path]
    sys.argv[:] = argv
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
