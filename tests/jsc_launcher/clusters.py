"""For tests on real clusters: whether there is one, and how far a sweep on it has come."""

import importlib.util
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.processes import PATIENCE


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


def wait_for_epochs(sweep: Path, num_epochs: int, num_jobs: int = 1) -> None:
    """Until so many jobs of a sweep have written so many epochs more than now."""
    before, deadline = epochs_written(sweep), time.monotonic() + PATIENCE
    while sum(n >= before.get(job, 0) + num_epochs for job, n in epochs_written(sweep).items()) < num_jobs:
        assert time.monotonic() < deadline, "the sweep does not go on"
        time.sleep(0.05)


def epochs_written(sweep: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text().splitlines()) for path in sweep.glob("*/metrics.csv")}
