from collections.abc import Callable
from functools import partial

import pytest

from tests.conftest import QUICK, Command

__all__ = ["QUICK", "SweepCommand", "sweep_command"]

SweepCommand = Callable[..., int]


@pytest.fixture
def sweep_command(command: Command) -> SweepCommand:
    """`python -m jsc.train -m ...` in this process, its workers in others; returns the exit code."""
    return partial(command, "jsc.train")
