"""Optimizers that the fused engine knows: what they compute, and where torch keeps their state."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jsc.engine import torch_internals
from jsc.engine.arguments import ADAM, ADAMW, SGD, SGD_NESTEROV
from jsc.engine.layers import CannotLower, Floats, Shape
from jsc.engine.memory import views_of

# Names of the state tensors of each kind, in the order of the kernel's moment arrays.
_STATE = {
    ADAM: ("exp_avg", "exp_avg_sq"),
    ADAMW: ("exp_avg", "exp_avg_sq"),
    SGD: ("momentum_buffer",),
    SGD_NESTEROV: ("momentum_buffer",),
}
_UNKNOWN_OPTIONS = ("amsgrad", "maximize", "differentiable", "capturable")


@dataclass(frozen=True)
class OptimizerPlan:
    """What an optimizer computes; the options of the other kinds are 0."""

    kind: int
    weight_decay: float
    beta_1: float = 0.0
    beta_2: float = 0.0
    eps: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0

    @property
    def state_names(self) -> tuple[str, ...]:
        """The per-parameter state tensors that torch keeps for it."""
        return () if self.kind in (SGD, SGD_NESTEROV) and self.momentum == 0.0 else _STATE[self.kind]


def lower_optimizer(optimizer: torch.optim.Optimizer) -> OptimizerPlan:
    """What an optimizer computes; its learning rate comes with each step instead. Raises CannotLower."""
    name = type(optimizer).__name__
    if len(optimizer.param_groups) != 1:
        raise CannotLower(f"optimizer {name} has {len(optimizer.param_groups)} parameter groups, not 1")
    group = optimizer.param_groups[0]
    for option in _UNKNOWN_OPTIONS:
        if group.get(option):
            raise CannotLower(f"optimizer {name} has {option}={group[option]}")
    if torch_internals.has_step_hooks(optimizer):
        raise CannotLower(f"optimizer {name} has step hooks, which the fused engine would not call")
    decay = float(group.get("weight_decay", 0.0))
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        is_decoupled = type(optimizer) is torch.optim.AdamW or bool(group.get("decoupled_weight_decay"))
        beta_1, beta_2 = (float(beta) for beta in group["betas"])
        kind = ADAMW if is_decoupled else ADAM
        return OptimizerPlan(kind, decay, beta_1=beta_1, beta_2=beta_2, eps=float(group["eps"]))
    if type(optimizer) is torch.optim.SGD:
        kind = SGD_NESTEROV if group["nesterov"] else SGD
        momentum, dampening = float(group["momentum"]), float(group["dampening"])
        return OptimizerPlan(kind, decay, momentum=momentum, dampening=dampening)
    raise CannotLower(f"optimizer {name} is not one that the fused engine knows (Adam, AdamW, SGD)")


def check_covers(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Raises CannotLower unless the optimizer trains the parameters of these names and no others."""
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    owned = {name: id(tensors[name]) for name in names}
    left_out = [name for name, number in owned.items() if number not in trained]
    if left_out:
        raise CannotLower(f"the optimizer does not train {', '.join(left_out)}")
    if len(trained) > len(owned):
        raise CannotLower(f"the optimizer trains {len(trained) - len(owned)} tensors that are not the model's")


class Moments:
    """One optimizer's state, read from and written to where torch keeps it: `optimizer.state[parameter]`.

    `shapes` and `places` say what the parameters are and where their numbers lie in `flats`, the kernel's flat arrays
    of moments, of which a plan uses none, one or both.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        plan: OptimizerPlan,
        shapes: Mapping[str, Shape],
        places: Mapping[str, slice],
        flats: Sequence[Floats],
    ) -> None:
        self.plan = plan
        self._optimizer = optimizer
        self._counts_steps = plan.kind in (ADAM, ADAMW)
        self._names = list(shapes)
        self._views = {
            state_name: views_of(flat, places, shapes)
            for state_name, flat in zip(plan.state_names, flats, strict=False)
        }

    def read(self, tensors: Mapping[str, Tensor]) -> int:
        """Copy torch's state into the flat arrays, zeros where there is none; returns the number of steps taken.

        `tensors` holds the parameters. Adam counts steps; for SGD it is 1 if there are momentum buffers, 0 if not.
        Raises CannotLower if the parameters differ in it.
        """
        states = {name: self._optimizer.state.get(tensors[name], {}) for name in self._names}
        if self._counts_steps:
            counts = {int(state.get("step", 0)) for state in states.values()}
        else:
            counts = {int(state.get("momentum_buffer") is not None) for state in states.values()}
        if len(counts) > 1:
            raise CannotLower(
                f"the optimizer has taken different numbers of steps for its parameters: {sorted(counts)}"
            )
        for state_name, views in self._views.items():
            for name, view in views.items():
                there = states[name].get(state_name)
                view.zero_() if there is None else view.copy_(there)
        return counts.pop()

    def write(self, tensors: Mapping[str, Tensor], num_steps: int) -> None:
        """Copy the flat arrays into torch's state, made as torch makes it where there is none yet."""
        for name in self._names if self._views else ():
            state = self._optimizer.state[tensors[name]]
            if self._counts_steps:
                state.setdefault("step", torch.tensor(0.0, dtype=torch.float32)).fill_(num_steps)
            for state_name, views in self._views.items():
                if state.get(state_name) is None:
                    state[state_name] = torch.empty_like(tensors[name], requires_grad=False)
                state[state_name].copy_(views[name])
