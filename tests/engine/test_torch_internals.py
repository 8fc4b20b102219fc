"""Torch has no public way to ask for hooks; here a hook of each kind is registered the public way and found."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from jsc.engine import torch_internals

TORCH = f"torch {torch.__version__} keeps its hooks elsewhere: mend jsc/engine/torch_internals.py"


def nothing(*_: Any) -> None:
    pass


@pytest.mark.parametrize(
    "register",
    [
        lambda module: module.register_forward_hook(nothing),
        lambda module: module.register_forward_pre_hook(nothing),
        lambda module: module.register_full_backward_hook(nothing),
        lambda module: module.register_full_backward_pre_hook(nothing),
    ],
)
def test_hooks_of_a_module_are_found(register: Callable[[nn.Module], Any]) -> None:
    module = nn.Linear(2, 2)
    assert not torch_internals.has_hooks(module), TORCH
    register(module)
    assert torch_internals.has_hooks(module), TORCH


@pytest.mark.parametrize(
    "register",
    [
        lambda parameter: parameter.register_hook(nothing),
        lambda parameter: parameter.register_post_accumulate_grad_hook(nothing),
    ],
)
def test_hooks_of_a_parameter_are_found(register: Callable[[nn.Parameter], Any]) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    assert not torch_internals.has_gradient_hooks(parameter), TORCH
    register(parameter)
    assert torch_internals.has_gradient_hooks(parameter), TORCH


@pytest.mark.parametrize(
    "register",
    [
        lambda optimizer: optimizer.register_step_pre_hook(nothing),
        lambda optimizer: optimizer.register_step_post_hook(nothing),
    ],
)
def test_hooks_of_an_optimizer_are_found(register: Callable[[torch.optim.Optimizer], Any]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1)
    assert not torch_internals.has_step_hooks(optimizer), TORCH
    register(optimizer)
    assert torch_internals.has_step_hooks(optimizer), TORCH
