from collections.abc import Callable
from functools import partial

import pytest

from tests.conftest import Command

SweepCommand = Callable[..., int]

QUICK = ("trainer.max_epochs=2", "trainer.limit_train_batches=30", "dataset.batch_size=64")


@pytest.fixture
def sweep_command(command: Command) -> SweepCommand:
    """`python -m jsc.train -m ...` in this process, its workers in others; returns the exit code."""
    return partial(command, "jsc.train")
