"""Optimizers that the fused engine knows: what they compute, and where torch keeps their state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from jsc.engine import program
from jsc.engine.plan import CannotLower
from jsc.engine.windows import Window

# Names of the state tensors of each kind, in the order of the kernel's moment arrays.
_STATE = {
    program.ADAM: ("exp_avg", "exp_avg_sq"),
    program.ADAMW: ("exp_avg", "exp_avg_sq"),
    program.SGD: ("momentum_buffer",),
    program.SGD_NESTEROV: ("momentum_buffer",),
}
_UNKNOWN_OPTIONS = ("amsgrad", "maximize", "differentiable", "capturable")


@dataclass(frozen=True)
class OptimizerPlan:
    """`kind` is one of `program`'s; `constants` are beta_1, beta_2, eps, decay (Adam) or momentum, dampening, decay."""

    kind: int
    constants: tuple[float, ...]

    @property
    def state_names(self) -> tuple[str, ...]:
        """The per-parameter state tensors that torch keeps for it."""
        if self.kind in (program.SGD, program.SGD_NESTEROV) and self.constants[0] == 0.0:
            return ()
        return _STATE[self.kind]


def lower_optimizer(optimizer: torch.optim.Optimizer) -> OptimizerPlan:
    """What an optimizer computes; its learning rate comes with each step instead. Raises CannotLower."""
    name = type(optimizer).__name__
    if len(optimizer.param_groups) != 1:
        raise CannotLower(f"optimizer {name} has {len(optimizer.param_groups)} parameter groups, not 1")
    group = optimizer.param_groups[0]
    for option in _UNKNOWN_OPTIONS:
        if group.get(option):
            raise CannotLower(f"optimizer {name} has {option}={group[option]}")
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        raise CannotLower(f"optimizer {name} has step hooks, which the fused engine would not call")
    decay = float(group.get("weight_decay", 0.0))
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        is_decoupled = type(optimizer) is torch.optim.AdamW or bool(group.get("decoupled_weight_decay"))
        beta_1, beta_2 = group["betas"]
        constants = (float(beta_1), float(beta_2), float(group["eps"]), decay)
        return OptimizerPlan(program.ADAMW if is_decoupled else program.ADAM, constants)
    if type(optimizer) is torch.optim.SGD:
        kind = program.SGD_NESTEROV if group["nesterov"] else program.SGD
        return OptimizerPlan(kind, (float(group["momentum"]), float(group["dampening"]), decay))
    raise CannotLower(f"optimizer {name} is not one that the fused engine knows (Adam, AdamW, SGD)")


def check_covers(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> None:
    """Raises CannotLower unless the optimizer trains these parameters and no others."""
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left_out = [name for name, p in parameters.items() if id(p) not in trained]
    if left_out:
        raise CannotLower(f"the optimizer does not train {', '.join(left_out)}")
    if len(trained) > len(parameters):
        raise CannotLower(f"the optimizer trains {len(trained) - len(parameters)} tensors that are not the model's")


class OptimizerState:
    """One optimizer's state, read from and written to where torch keeps it: `optimizer.state[parameter]`.

    `places` says where each parameter's numbers lie in the flat `moments`, of which a plan uses none, one or both.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        plan: OptimizerPlan,
        shapes: Mapping[str, torch.Size],
        places: Mapping[str, slice],
        moments: Sequence[npt.NDArray[Any]],
    ) -> None:
        self._optimizer = optimizer
        self._counts_steps = plan.kind in (program.ADAM, program.ADAMW)
        self._windows = [
            (name, state_name, Window(moment, places[name].start, tuple(shape)))
            for state_name, moment in zip(plan.state_names, moments, strict=False)
            for name, shape in shapes.items()
        ]
        self._has_state = bool(plan.state_names)

    def read(self, parameters: Mapping[str, nn.Parameter]) -> int:
        """Copy torch's state into the flat arrays, zeros where there is none; returns the number of steps taken.

        Adam counts them; for SGD it is 1 if there are momentum buffers, 0 if not. Raises CannotLower if the parameters
        differ in it.
        """
        states = {name: self._optimizer.state.get(parameter, {}) for name, parameter in parameters.items()}
        if self._counts_steps:
            counts = {int(state.get("step", 0)) for state in states.values()}
        else:
            counts = {int(state.get("momentum_buffer") is not None) for state in states.values()}
        if len(counts) > 1:
            raise CannotLower(
                f"the optimizer has taken different numbers of steps for its parameters: {sorted(counts)}"
            )
        for name, state_name, window in self._windows:
            window.read(states[name].get(state_name))
        return counts.pop()

    def write(self, parameters: Mapping[str, nn.Parameter], num_steps: int) -> None:
        """Copy the flat arrays into torch's state, made as torch makes it where there is none yet."""
        if not self._has_state:
            return
        state_of = self._optimizer.state
        for name, state_name, window in self._windows:
            state = state_of[parameters[name]]
            if state.get(state_name) is None:
                if self._counts_steps and "step" not in state:
                    state["step"] = torch.tensor(0.0, dtype=torch.float32)
                state[state_name] = torch.empty_like(parameters[name], requires_grad=False)
            window.write(state[state_name])
        if self._counts_steps:
            for parameter in parameters.values():
                state_of[parameter]["step"].fill_(num_steps)
