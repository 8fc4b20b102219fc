"""For tests on real clusters: whether there is one, and sweeps in a process of their own, which may be killed."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 200  # seconds


def require(package: str, extra: str, *, is_there: bool = True, otherwise: str = "") -> None:
    """Skip the test where it cannot run, or fail it where it must (in CI)."""
    reason = otherwise if importlib.util.find_spec(package) is not None else f"the extra [{extra}] is not installed"
    if importlib.util.find_spec(package) is None or not is_there:
        if os.environ.get("JSC_REQUIRE_CLUSTERS"):
            pytest.fail(reason)
        pytest.skip(reason)


def require_slurm() -> None:
    answers = shutil.which("sinfo") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0
    require("submitit", "slurm", is_there=answers, otherwise="no Slurm answers here; bash .ci/slurm start makes one")


@contextmanager
def sweep_process(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m jsc.train` in this folder; what it says is in `stdout`. Killed at the end of the context."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "jsc.train", *words],
        cwd=folder,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stop_sweep(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, output


def wait_for_epochs(sweep: Path, num_epochs: int, num_jobs: int = 1) -> None:
    """Until so many jobs of a sweep have written so many epochs more than now."""
    before, deadline = epochs_written(sweep), time.monotonic() + PATIENCE
    while sum(n >= before.get(job, 0) + num_epochs for job, n in epochs_written(sweep).items()) < num_jobs:
        assert time.monotonic() < deadline, "the sweep does not go on"
        time.sleep(0.05)


def epochs_written(sweep: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text().splitlines()) for path in sweep.glob("*/metrics.csv")}


KILLED = -signal.SIGKILL
