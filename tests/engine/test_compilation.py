import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jsc.engine import warm_up
from jsc.engine.kernel import kernel

SCRIPT = """
import logging, sys
import numpy as np, torch
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
from jsc.engine import CrossEntropy, FusedTrainer
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 2))
trainer = FusedTrainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss=CrossEntropy(), seed=0)
print(trainer.evaluate(np.zeros((4, 3), np.float32), np.zeros(4, np.int8)).num_correct)
"""


def run(folder: Path) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.slow
def test_the_first_process_compiles_and_says_so_and_the_second_loads(tmp_path: Path) -> None:
    first, second = run(tmp_path), run(tmp_path)
    assert first.count("compiled the fused engine for float32 in") == 1
    assert str(tmp_path) in first
    assert "compiled" not in second
    assert first.splitlines()[-1] == second.splitlines()[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_warming_up_draws_no_random_number(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    ready: dict[np.dtype, object] = {}
    monkeypatch.setattr(kernel(), "_ready", ready)
    before = torch.get_rng_state()
    warm_up(dtype)
    assert set(ready) == {np.dtype(str(dtype).removeprefix("torch."))}
    assert torch.equal(torch.get_rng_state(), before)
