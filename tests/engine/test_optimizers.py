from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from jsc.engine import CannotLower, CrossEntropy, FusedTrainer, lower_optimizer


class MyAdam(Adam):
    pass


def groups(model: nn.Sequential) -> Any:
    return SGD([{"params": [model[0].weight]}, {"params": [model[0].bias]}], lr=0.1)


def with_step_hook(model: nn.Module) -> Any:
    optimizer = Adam(model.parameters())
    optimizer.register_step_post_hook(lambda *_: None)
    return optimizer


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda m: Adam(m.parameters(), amsgrad=True), "optimizer Adam has amsgrad=True"),
        (lambda m: AdamW(m.parameters(), maximize=True), "optimizer AdamW has maximize=True"),
        (lambda m: SGD(m.parameters(), lr=0.1, maximize=True), "optimizer SGD has maximize=True"),
        (lambda m: torch.optim.RMSprop(m.parameters()), "optimizer RMSprop is not one that the fused engine knows"),
        (lambda m: MyAdam(m.parameters()), "optimizer MyAdam is not one"),
        (groups, "has 2 parameter groups, not 1"),
        (with_step_hook, "has step hooks"),
        (lambda m: SGD([m[0].weight], lr=0.1), "the optimizer does not train 0.bias"),
        (lambda m: SGD([*m.parameters(), nn.Parameter(torch.ones(2))], lr=0.1), "1 tensors that are not the model's"),
    ],
)
def test_what_cannot_be_lowered_is_named(make: Any, reason: str) -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(CannotLower, match=reason):
        FusedTrainer(model, make(model), loss=CrossEntropy(), seed=0)


def test_decoupled_decay_by_any_name() -> None:
    model = nn.Linear(2, 2)
    adamw = lower_optimizer(AdamW(model.parameters(), weight_decay=0.1))
    assert lower_optimizer(Adam(model.parameters(), weight_decay=0.1, decoupled_weight_decay=True)) == adamw
    assert lower_optimizer(Adam(model.parameters(), weight_decay=0.1)) != adamw
