"""The layers of a plan: how torch makes each, its widths, the tensors that it owns, and what it computes, in NumPy.

Adding one: a class here with a `Kind`, its torch modules in `jsc.engine.lowering`, and its compiled code in
`jsc.engine.layer_kernels`. Shapes: N jets, I inputs and O outputs of a layer.
"""

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from jsc.engine.dropout import CounterDropout, dropout_names

Floats = npt.NDArray[np.floating[Any]]
Shape = tuple[int, ...]

_erf: Callable[[Floats], Floats] = np.vectorize(math.erf, otypes=[np.float64])


class CannotLower(ValueError):  # noqa: N818  # what it says, in few words
    """The fused engine cannot run this; the message names the layer or option that forced it."""


class Kind(enum.IntEnum):
    """Tells the compiled code which layer it has before it."""

    LINEAR = 0
    BATCH_NORM = 1
    DROPOUT = 2
    LEAKY_RELU = 3
    TANH = 4
    SIGMOID = 5
    GELU = 6
    GELU_TANH = 7


@dataclass(frozen=True)
class Layer:
    """What holds for a layer that works on each number for itself, without parameters; others say what differs."""

    kind: ClassVar[Kind]
    acts_in_evaluation: ClassVar[bool] = True
    needs_whole_batch: ClassVar[bool] = False  # before any jet can pass
    takes_relu: ClassVar[bool] = False  # whether its compiled code does a (leaky) ReLU that follows in the same pass
    moves_gradient: ClassVar[bool] = False  # dx has a place of its own; elsewhere it takes the place of dy
    num_kept: ClassVar[int] = 0  # numbers that each output of each jet keeps for the way back
    num_stats: ClassVar[int] = 0  # float64 numbers that each output keeps of the whole batch

    @property
    def widths(self) -> tuple[int, int] | None:
        """(I, O); None: as many come out as go in, whatever their number."""
        return None

    def parameters(self) -> dict[str, Shape]:
        """Names in the model and shapes of what training changes, in the model's dtype."""
        return {}

    def running(self) -> dict[str, Shape]:
        """Names in the model and shapes of running statistics, in the model's dtype."""
        return {}

    def counters(self) -> tuple[str, ...]:
        """Names in the model of int64 scalars that count training batches."""
        return ()

    def constants(self) -> dict[str, float]:
        """Numbers for its compiled code, by their columns in `jsc.engine.program.OP`."""
        return {}

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        """y_NO in evaluation mode and in the dtype of x; `state` holds parameters and statistics by their names."""
        raise NotImplementedError


@dataclass(frozen=True)
class Linear(Layer):
    """y = W x + b. `name` is the module's path in the model."""

    name: str
    num_in: int
    num_out: int
    has_bias: bool

    kind = Kind.LINEAR
    takes_relu = True
    moves_gradient = True

    @staticmethod
    def of(name: str, module: nn.Linear, model: nn.Module) -> "Linear":
        return Linear(name, module.in_features, module.out_features, module.bias is not None)

    @property
    def widths(self) -> tuple[int, int]:
        return self.num_in, self.num_out

    def parameters(self) -> dict[str, Shape]:
        weight: dict[str, Shape] = {f"{self.name}.weight": (self.num_out, self.num_in)}
        return {**weight, f"{self.name}.bias": (self.num_out,)} if self.has_bias else weight

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        y_NO: Floats = x_NI @ state[f"{self.name}.weight"].T
        return y_NO + state[f"{self.name}.bias"] if self.has_bias else y_NO


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = (x - mean) / sqrt(var + eps) * w + b. `momentum` None is the cumulative average that torch keeps then."""

    name: str
    width: int
    eps: float
    momentum: float | None
    affine: bool

    kind = Kind.BATCH_NORM
    needs_whole_batch = True
    takes_relu = True
    num_stats = 5

    @staticmethod
    def of(name: str, module: nn.BatchNorm1d, model: nn.Module) -> "BatchNorm":
        if None in (module.running_mean, module.running_var, module.num_batches_tracked):
            raise CannotLower(
                f"layer {name} ({type(module).__name__}) keeps no running statistics, so that a jet's score depends "
                "on its batch"
            )
        return BatchNorm(name, module.num_features, module.eps, module.momentum, module.affine)

    @property
    def widths(self) -> tuple[int, int]:
        return self.width, self.width

    def parameters(self) -> dict[str, Shape]:
        return {f"{self.name}.{tensor}": (self.width,) for tensor in ("weight", "bias")} if self.affine else {}

    def running(self) -> dict[str, Shape]:
        return {f"{self.name}.{tensor}": (self.width,) for tensor in ("running_mean", "running_var")}

    def counters(self) -> tuple[str, ...]:
        return (f"{self.name}.num_batches_tracked",)

    def constants(self) -> dict[str, float]:
        is_cumulative = self.momentum is None
        return {"eps": self.eps, "momentum": self.momentum or 0.0, "is_cumulative": is_cumulative}

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        mean, var = (state[name] for name in self.running())
        y_NO: Floats = (x_NI - mean) / np.sqrt(var + self.eps)
        return y_NO * state[f"{self.name}.weight"] + state[f"{self.name}.bias"] if self.affine else y_NO


@dataclass(frozen=True)
class Dropout(Layer):
    """Nothing in evaluation. `number` counts the model's Dropout modules: it tells their random streams apart."""

    rate: float
    number: int

    kind = Kind.DROPOUT
    acts_in_evaluation = False
    num_kept = 1

    @staticmethod
    def of(name: str, module: nn.Dropout | CounterDropout, model: nn.Module) -> "Dropout | None":
        return Dropout(module.p, dropout_names(model).index(name)) if module.p > 0.0 else None

    def constants(self) -> dict[str, float]:
        return {"rate": self.rate, "number": self.number}

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        return x_NI


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """y = x where x > 0, else `negative_slope` * x; a ReLU's negative slope is 0."""

    negative_slope: float = 0.0

    kind = Kind.LEAKY_RELU

    def constants(self) -> dict[str, float]:
        return {"negative_slope": self.negative_slope}

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        return np.where(x_NI > 0.0, x_NI, x_NI * self.negative_slope)


class Tanh(Layer):
    """y = tanh x."""

    kind = Kind.TANH

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        return np.tanh(x_NI)


class Sigmoid(Layer):
    """y = 1 / (1 + e^-x)."""

    kind = Kind.SIGMOID

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        return np.exp(-np.logaddexp(0.0, -x_NI))  # overflows nowhere


class GELU(Layer):
    """y = x P(z < x) for a standard normal z."""

    kind = Kind.GELU

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        return x_NI * 0.5 * (1.0 + _erf(x_NI * math.sqrt(0.5)).astype(x_NI.dtype))


class GELUTanh(Layer):
    """GELU, with tanh for the error function: `nn.GELU(approximate="tanh")`."""

    kind = Kind.GELU_TANH

    def forward(self, x_NI: Floats, state: Mapping[str, Floats]) -> Floats:
        return x_NI * 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x_NI + 0.044715 * x_NI**3)))
