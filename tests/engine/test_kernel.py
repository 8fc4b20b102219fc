import numpy as np
import pytest
import torch
from torch import nn

from jsc.engine import CrossEntropy, FusedTrainer
from jsc.engine.arguments import Jets, Outcome, Steps, Update

JETS = Jets(np.zeros(12, np.float32), np.zeros(4, np.int8))
STEPS = Steps(np.arange(4), 4, np.full(1, 0.1), 0, np.uint64(0))
OUTCOME = Outcome(np.empty(1), np.empty(1, np.int64), np.empty(0, np.float32), False)


@pytest.fixture
def trainer() -> FusedTrainer:
    model = nn.Sequential(nn.Linear(3, 2))
    return FusedTrainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss=CrossEntropy(), seed=0)


@pytest.mark.parametrize("kind", [-1, 4])
def test_an_unknown_optimizer_is_an_error(trainer: FusedTrainer, kind: int) -> None:
    update = Update(kind, 0.9, 0.999, 1e-8, 0.9, 0.0, 0.0, 0)
    with pytest.raises(NotImplementedError, match=f"no code for optimizers of kind {kind}"):
        trainer._run(True, JETS, STEPS, trainer._training, update, OUTCOME)
