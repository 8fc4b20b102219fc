"""A plan as the tables that the compiled code reads: a row a layer, with a (leaky) ReLU drawn into the layer before."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jsc.engine.layers import Layer, LeakyReLU, Shape
from jsc.engine.plan import Plan

# A layer's row of `Program.ops`. Areas of a block are told by their first row; parameters, statistics and running
# statistics by where they begin in the flat array of their kind.
OP = np.dtype(
    [
        ("kind", np.int64),  # a `Kind`
        ("num_in", np.int64),
        ("num_out", np.int64),
        ("x", np.int64),  # input
        ("y", np.int64),  # output
        ("dx", np.int64),  # the loss's gradient with respect to the input,
        ("dy", np.int64),  # and to the output
        ("wants_dx", np.bool_),  # whether anything before it
        ("wants_dy", np.bool_),  # or it itself has parameters
        ("kept", np.int64),  # what each jet keeps for the way back
        ("weight", np.int64),
        ("bias", np.int64),
        ("has_weight", np.bool_),
        ("has_bias", np.bool_),
        ("stats", np.int64),
        ("running", np.int64),
        ("counter", np.int64),  # number of its batch counter among the counters
        ("negative_slope", np.float64),  # of the (leaky) ReLU that it is or that was drawn into it; 1 changes nothing
        ("eps", np.float64),
        ("momentum", np.float64),
        ("is_cumulative", np.bool_),  # BatchNorm: the running statistics are means over all batches
        ("rate", np.float64),
        ("number", np.int64),
    ],
    align=True,
)

LABEL_ROW, INPUT_ROW = 0, 1  # of a block


@dataclass(frozen=True)
class Program:
    """The tables of one plan.

    `ops` OP [layers]; `segments` int64, where the parts between layers that need the whole batch begin, and the end.
    `parameters` and `running` say where the model's tensors lie in the flat arrays of `num_parameters` and
    `num_running` elements; `counters` names the counters of batches.
    """

    ops: npt.NDArray[np.void]
    segments: npt.NDArray[np.int64]
    parameters: dict[str, slice]
    running: dict[str, slice]
    counters: tuple[str, ...]
    num_parameters: int
    num_running: int
    num_stats: int
    rows_a_block: int


def _with_relus(layers: tuple[Layer, ...]) -> list[tuple[Layer, LeakyReLU | None]]:
    """Layers with the (leaky) ReLU that follows them, if they take one whose gradient its own output tells."""
    paired: list[tuple[Layer, LeakyReLU | None]] = []
    for layer in layers:
        before, relu = paired[-1] if paired else (None, None)
        is_taken = before is not None and before.takes_relu and relu is None
        if before is not None and is_taken and isinstance(layer, LeakyReLU) and layer.negative_slope >= 0.0:
            paired[-1] = (before, layer)
        else:
            paired.append((layer, None))
    return paired


def write_program(plan: Plan) -> Program:
    """The tables of a plan."""
    layers = _with_relus(plan.layers)
    ops = np.zeros(len(layers), OP)
    parameters, running = _places(plan.parameters()), _places(plan.running())
    counters: list[str] = []
    num_stats = 0
    width, x, num_rows = plan.num_features, INPUT_ROW, INPUT_ROW + plan.num_features
    for op, (layer, relu) in zip(ops, layers, strict=True):
        num_in, width = layer.widths or (width, width)
        row: dict[str, Any] = {"kind": layer.kind, "num_in": num_in, "num_out": width, "x": x, "y": num_rows}
        row |= {"kept": num_rows + width, "stats": num_stats, "counter": len(counters)}
        row |= {"negative_slope": 1.0 if relu is None else relu.negative_slope, **layer.constants()}
        for name in layer.parameters():
            tensor = name.rpartition(".")[2]
            row |= {f"has_{tensor}": True, tensor: parameters[name].start}
        for name in list(layer.running())[:1]:
            row["running"] = running[name].start
        for column, value in row.items():
            op[column] = value
        x, num_rows = num_rows, num_rows + width + layer.num_kept * width
        num_stats += layer.num_stats * width
        counters += layer.counters()
    num_rows = _place_gradients(ops, [layer for layer, _ in layers], num_rows)
    breaks = [k for k, (layer, _) in enumerate(layers) if layer.needs_whole_batch]
    return Program(
        ops=ops,
        segments=np.array([0, *breaks, len(ops)], np.int64),
        parameters=parameters,
        running=running,
        counters=tuple(counters),
        num_parameters=max((place.stop for place in parameters.values()), default=0),
        num_running=max((place.stop for place in running.values()), default=0),
        num_stats=num_stats,
        rows_a_block=num_rows,
    )


def _places(shapes: dict[str, Shape]) -> dict[str, slice]:
    """One after the other in a flat array."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()], dtype=np.int64).tolist()
    return {name: slice(start, end) for name, start, end in zip(shapes, [0, *ends], ends, strict=False)}


def _place_gradients(ops: npt.NDArray[np.void], layers: list[Layer], num_rows: int) -> int:
    """Give gradients two areas to alternate between; returns the number of rows then in use.

    Nothing below the first parameter wants a gradient.
    """
    widest = int(max(ops["num_in"].max(), ops["num_out"].max()))
    here, there = num_rows, num_rows + widest
    first = next(k for k, layer in enumerate(layers) if layer.parameters())
    for k in range(len(ops) - 1, -1, -1):
        ops[k]["dy"] = here
        if layers[k].moves_gradient:
            here, there = there, here
        ops[k]["dx"] = here
        ops[k]["wants_dy"], ops[k]["wants_dx"] = k >= first, k > first
    return num_rows + 2 * widest
