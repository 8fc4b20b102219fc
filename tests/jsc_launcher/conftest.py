import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from jsc import train

SweepCommand = Callable[..., int]

QUICK = ("trainer.max_epochs=2", "trainer.limit_train_batches=30", "dataset.batch_size=64")


@pytest.fixture
def sweep_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepCommand:
    """`python -m jsc.train -m ...` in this process, its workers in others; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["jsc/train.py", *words])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as ended:
            train.entry()
        code = ended.value.code
        assert isinstance(code, int)
        return code

    return run
