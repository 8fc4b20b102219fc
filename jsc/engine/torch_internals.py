"""Names that torch keeps to itself, and that nothing public replaces.

They protect what is computed, not time: torch has no public way to ask whether anything is hooked, and the fused
engine would train without calling it. `tests/engine/test_torch_internals.py` fails when a name has gone.
"""

import torch
from torch import nn


def has_hooks(module: nn.Module) -> bool:
    """Whether anything is called before or after the module's forward or backward."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def has_gradient_hooks(parameter: nn.Parameter) -> bool:
    """Whether anything is called with the parameter's gradient."""
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def has_step_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether anything is called before or after an optimizer step."""
    return bool(optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
