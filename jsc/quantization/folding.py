"""A float network as a chain of Linears, ReLUs and Dropouts, with every BatchNorm folded away, exactly.

A BatchNorm computes s * x + t of each feature, with s = weight / sqrt(running_var + eps) and
t = bias - s * running_mean. Shapes: F features, I inputs and O outputs of a Linear.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from jsc.engine import CannotLower, lower
from jsc.engine.layers import GELU, BatchNorm, Dropout, Layer, LeakyReLU, Linear, Sigmoid, Tanh
from jsc.errors import QuantizationError

CHAIN = "a network that can be quantised is a chain of Linear, BatchNorm1d, ReLU, Identity, Flatten and Dropout"
NO_SCALE = 2.0**-100  # stands for a BatchNorm's weight of 0 at the input: what is left is its bias


@dataclass
class Stage:
    """A Linear, then a ReLU and Dropouts where there are any. `weight` is float64 [O, I], `bias` float64 [O]."""

    weight: Tensor
    bias: Tensor | None
    has_relu: bool = False
    dropout_rates: list[float] = field(default_factory=list)

    def scale_outputs(self, s: Tensor, t: Tensor) -> None:
        """Follow the Linear with s * y + t, [O]."""
        self.weight = self.weight * s[:, None]
        self.bias = t if self.bias is None else self.bias * s + t

    def scale_inputs(self, s: Tensor, t: Tensor) -> None:
        """Let s * x + t, [I], come before the Linear."""
        shift = self.weight @ t
        self.bias = shift if self.bias is None else self.bias + shift
        self.weight = self.weight * s


@dataclass
class InputStage:
    """(x - offset) * scale of raw features, float64 [F], then a ReLU and Dropouts where there are any."""

    offset_F: Tensor
    scale_F: Tensor
    has_relu: bool = False
    dropout_rates: list[float] = field(default_factory=list)

    def scale_outputs(self, s: Tensor, t: Tensor) -> None:
        """Follow it with s * x + t, [F]."""
        self.scale_F = self.scale_F * torch.where(s == 0, NO_SCALE, s)
        self.offset_F = self.offset_F - t / self.scale_F


@dataclass
class FoldedChain:
    """What a network computes of raw features; `dtype` is the network's."""

    input: InputStage
    stages: list[Stage]
    dtype: torch.dtype


def fold(network: nn.Module, *, mean_F: Tensor, std_F: Tensor) -> FoldedChain:
    """The chain that computes, of raw features, what `network` computes in evaluation of (x - mean) / std.

    A BatchNorm goes into the Linear before it, or, behind a ReLU, into the Linear that follows, or, at the input, into
    offset and scale; a Dropout in between makes no difference there. `network` is left as it is.
    Raises QuantizationError with the layer's name for any other layer or place.
    """
    try:
        plan = lower(network)
    except CannotLower as error:
        raise QuantizationError(f"{error}; {CHAIN}") from error
    if plan.num_features != len(mean_F):
        raise QuantizationError(
            f"the network takes {plan.num_features} features; give as many means, not {len(mean_F)}"
        )
    entrance = InputStage(mean_F.to(torch.float64), 1 / std_F.to(torch.float64))
    stages: list[Stage] = []
    latest: Stage | InputStage = entrance
    waiting: list[BatchNorm] = []  # behind a ReLU, for the next Linear
    for layer in plan.layers:
        if isinstance(layer, BatchNorm):
            if latest.has_relu:
                waiting.append(layer)
            else:
                latest.scale_outputs(*_scale_and_shift(network.get_submodule(layer.name)))
        elif isinstance(layer, Linear):
            module = network.get_submodule(layer.name)
            assert isinstance(module, nn.Linear)
            latest = Stage(_double(module.weight), None if module.bias is None else _double(module.bias))
            stages.append(latest)
            while waiting:
                latest.scale_inputs(*_scale_and_shift(network.get_submodule(waiting.pop().name)))
        elif isinstance(layer, Dropout):
            latest.dropout_rates.append(layer.rate)
        elif not (isinstance(layer, LeakyReLU) and layer.negative_slope == 0.0):
            raise QuantizationError(f"{_name_of(layer, network)} cannot be quantised; {CHAIN}")
        elif waiting:
            raise QuantizationError(f"{_behind_relu(waiting[0])}, and another ReLU comes before the next Linear")
        else:
            latest.has_relu = True
    if waiting:
        raise QuantizationError(f"{_behind_relu(waiting[0])}, and no Linear follows")
    if not stages:
        raise QuantizationError(f"the network has no Linear; {CHAIN}")
    return FoldedChain(entrance, stages, plan.dtype)


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    s = torch.rsqrt(_double(norm.running_var) + norm.eps)
    s = _double(norm.weight) * s if norm.affine else s
    t = -_double(norm.running_mean) * s
    return s, _double(norm.bias) + t if norm.affine else t


def _double(x: Tensor) -> Tensor:
    return x.detach().to(torch.float64)


def _behind_relu(layer: BatchNorm) -> str:
    return f"layer {layer.name} (BatchNorm1d) cannot be folded into a Linear: it stands behind a ReLU"


_MODULES = {LeakyReLU: nn.LeakyReLU, Tanh: nn.Tanh, Sigmoid: nn.Sigmoid, GELU: nn.GELU}


def _name_of(layer: Layer, network: nn.Module) -> str:
    """A module's path, or what it is called where the network calls a function."""
    kind = _MODULES[type(layer)]
    name = next((name for name, module in network.named_modules() if isinstance(module, kind)), None)
    return f"function {kind.__name__}" if name is None else f"layer {name} ({kind.__name__})"
