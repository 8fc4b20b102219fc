"""A plan as the tables of numbers that the compiled loops read: one row a fused layer, one column a name below."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jsc.engine.plan import Activation, BatchNorm, Dropout, Layer, Linear, Plan

# Columns of `Program.ops` (int64).
KIND, NUM_IN, NUM_OUT = 0, 1, 2
WEIGHT, BIAS = 3, 4  # offsets among the parameters; -1: none
X, Y, DX, DY = 5, 6, 7, 8  # rows of a block: input, output, and the loss's gradients with respect to them
NEEDS_DX, NEEDS_DY = 9, 10  # whether those gradients are wanted
NUMBER = 11  # of a Dropout among the Dropouts, of a BatchNorm among the BatchNorms
STATS, RUNNING = 12, 13  # BatchNorm: offsets of its batch and running statistics
MASK = 14  # Dropout: row of the factors
NUM_COLUMNS = 15

# Columns of `Program.constants` (float64).
EPS, MOMENTUM, RATE = 0, 1, 2
SLOPE = 3  # what a (leaky) ReLU, alone or fused into a Linear or BatchNorm, multiplies negative values with; 1 is none
NUM_CONSTANTS = 4

# Kinds of layers and activations.
LINEAR, BATCH_NORM, DROPOUT, LEAKY_RELU, TANH, SIGMOID, GELU, GELU_TANH = range(8)
_ACTIVATIONS = {
    "relu": LEAKY_RELU,
    "leaky_relu": LEAKY_RELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
}

# Batch statistics of a BatchNorm, `width` float64 numbers of each.
MEAN, SQUARES, INVERSE, SUM_DY, SUM_DYX = range(5)
NUM_STATS = 5

# Optimizers.
ADAM, ADAMW, SGD, SGD_NESTEROV = range(4)

LABEL_ROW, INPUT_ROW = 0, 1


@dataclass(frozen=True)
class Program:
    """The tables of one plan.

    `ops` int64 [layers, NUM_COLUMNS]; `constants` float64 [layers, NUM_CONSTANTS]; `segments` int64, where the
    stretches between BatchNorms begin, and the end. `parameters` and `running` name the model's tensors and where
    they lie in the flat arrays of `num_parameters` and `num_running` elements; `tracked` names BatchNorm's counters.
    """

    ops: npt.NDArray[np.int64]
    constants: npt.NDArray[np.float64]
    segments: npt.NDArray[np.int64]
    parameters: dict[str, slice]
    running: dict[str, slice]
    tracked: tuple[str, ...]
    num_parameters: int
    num_running: int
    num_stats: int
    rows_a_block: int


def _fused(layers: tuple[Layer, ...]) -> list[tuple[Layer, Activation | None]]:
    """Layers with the (leaky) ReLU that follows them, whose gradient its own output tells."""
    fused: list[tuple[Layer, Activation | None]] = []
    for layer in layers:
        follows = fused and isinstance(fused[-1][0], (Linear, BatchNorm)) and fused[-1][1] is None
        if follows and isinstance(layer, Activation) and layer.kind in ("relu", "leaky_relu") and layer.slope >= 0.0:
            fused[-1] = (fused[-1][0], layer)
        else:
            fused.append((layer, None))
    return fused


def write_program(plan: Plan) -> Program:
    """The tables of a plan."""
    fused = _fused(plan.layers)
    ops = np.zeros((len(fused), NUM_COLUMNS), np.int64)
    constants = np.zeros((len(fused), NUM_CONSTANTS), np.float64)
    parameters: dict[str, slice] = {}
    running: dict[str, slice] = {}
    tracked: list[str] = []
    num_parameters = num_running = num_stats = 0
    x, width, num_rows = INPUT_ROW, plan.num_features, INPUT_ROW + plan.num_features

    def place(places: dict[str, slice], name: str, start: int, size: int) -> int:
        places[name] = slice(start, start + size)
        return start + size

    for op, constant, (layer, activation) in zip(ops, constants, fused, strict=True):
        num_out = layer.num_out if isinstance(layer, Linear) else width
        op[[NUM_IN, NUM_OUT, X, Y, WEIGHT, BIAS]] = width, num_out, x, num_rows, -1, -1
        x, num_rows = num_rows, num_rows + num_out
        constant[SLOPE] = 1.0 if activation is None else activation.slope
        if isinstance(layer, Linear):
            op[[KIND, WEIGHT]] = LINEAR, num_parameters
            num_parameters = place(parameters, f"{layer.name}.weight", num_parameters, width * num_out)
            if layer.has_bias:
                op[BIAS] = num_parameters
                num_parameters = place(parameters, f"{layer.name}.bias", num_parameters, num_out)
        elif isinstance(layer, BatchNorm):
            op[[KIND, STATS, RUNNING, NUMBER]] = BATCH_NORM, num_stats, num_running, len(tracked)
            constant[EPS] = layer.eps
            constant[MOMENTUM] = -1.0 if layer.momentum is None else layer.momentum
            if layer.affine:
                op[[WEIGHT, BIAS]] = num_parameters, num_parameters + width
                num_parameters = place(parameters, f"{layer.name}.weight", num_parameters, width)
                num_parameters = place(parameters, f"{layer.name}.bias", num_parameters, width)
            num_running = place(running, f"{layer.name}.running_mean", num_running, width)
            num_running = place(running, f"{layer.name}.running_var", num_running, width)
            tracked.append(f"{layer.name}.num_batches_tracked")
            num_stats += NUM_STATS * width
        elif isinstance(layer, Dropout):
            op[[KIND, NUMBER, MASK]] = DROPOUT, layer.number, num_rows
            constant[RATE] = layer.rate
            num_rows += num_out
        else:
            op[KIND], constant[SLOPE] = _ACTIVATIONS[layer.kind], layer.slope
        width = num_out

    num_rows = _place_gradients(ops, num_rows)
    breaks = [k for k in range(len(ops)) if ops[k, KIND] == BATCH_NORM]
    segments = np.array([0, *breaks, len(ops)], np.int64)
    return Program(
        ops=ops,
        constants=constants,
        segments=segments,
        parameters=parameters,
        running=running,
        tracked=tuple(tracked),
        num_parameters=num_parameters,
        num_running=num_running,
        num_stats=num_stats,
        rows_a_block=num_rows,
    )


def _place_gradients(ops: npt.NDArray[np.int64], num_rows: int) -> int:
    """Give gradients two areas to alternate between; returns the number of rows then in use.

    Only a Linear moves a gradient; all others change it in place. Nothing below the first parameter wants one.
    """
    widest = int(max(ops[:, NUM_IN].max(), ops[:, NUM_OUT].max()))
    here, there = num_rows, num_rows + widest
    has_parameters = (ops[:, KIND] == LINEAR) | (ops[:, WEIGHT] >= 0)
    first = int(np.argmax(has_parameters))
    for k in range(len(ops) - 1, -1, -1):
        ops[k, DY] = here
        if ops[k, KIND] == LINEAR:
            here, there = there, here
        ops[k, DX] = here
        ops[k, NEEDS_DY], ops[k, NEEDS_DX] = k >= first, k > first
    return num_rows + 2 * widest
