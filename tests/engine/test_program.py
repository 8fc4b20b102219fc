import numpy as np
import torch

from jsc.engine.layers import BatchNorm, Dropout, LeakyReLU, Linear, Tanh
from jsc.engine.plan import Plan
from jsc.engine.program import INPUT_ROW, OP, write_program

PLAN = Plan(
    (
        BatchNorm("norm", 3, 1e-3, None, affine=False),
        Dropout(0.25, 4),
        Linear("first", 3, 6, True),
        LeakyReLU(0.2),
        LeakyReLU(0.5),
        Linear("last", 6, 2, False),
        LeakyReLU(-0.5),
        Tanh(),
    ),
    num_features=3,
    num_classes=2,
    dtype=torch.float32,
)


def test_each_layers_numbers_stand_in_its_row() -> None:
    program = write_program(PLAN)
    norm, dropout, first, leaky, last, negative, tanh = program.ops
    assert program.ops.dtype == OP
    assert (norm["eps"], norm["is_cumulative"], norm["has_weight"]) == (1e-3, True, False)
    assert (dropout["rate"], dropout["number"]) == (0.25, 4)
    assert (first["num_in"], first["num_out"], first["has_bias"], last["has_bias"]) == (3, 6, True, False)
    # The LeakyReLU after a layer that takes one is in its row; one that turns signs round is not taken.
    assert (first["negative_slope"], leaky["negative_slope"], last["negative_slope"]) == (0.2, 0.5, 1.0)
    assert negative["negative_slope"] == -0.5
    assert tanh["negative_slope"] == 1.0
    assert program.segments.tolist() == [0, 0, 7]


def test_tensors_lie_one_after_the_other() -> None:
    program = write_program(PLAN)
    assert program.parameters == {
        "first.weight": slice(0, 18),
        "first.bias": slice(18, 24),
        "last.weight": slice(24, 36),
    }
    assert program.running == {"norm.running_mean": slice(0, 3), "norm.running_var": slice(3, 6)}
    assert (program.num_parameters, program.num_running, program.counters) == (36, 6, ("norm.num_batches_tracked",))
    assert program.ops["weight"][[2, 4]].tolist() == [0, 24]


def test_no_two_areas_of_a_block_overlap() -> None:
    """But for gradients, which take turns; nothing is wanted below the first parameter."""
    ops = write_program(PLAN).ops
    rows = list(range(INPUT_ROW + 3))
    for op in ops:
        rows += range(op["y"], op["y"] + op["num_out"])
    kept = range(ops[1]["kept"], ops[1]["kept"] + 3)
    rows += kept
    assert sorted(rows) == list(range(len(rows)))
    assert min(ops["dy"]) == len(rows)
    assert ops["x"][1:].tolist() == ops["y"][:-1].tolist()
    assert ops["wants_dy"].tolist() == [False, False, True, True, True, True, True]
    assert ops["wants_dx"].tolist() == [False, False, False, True, True, True, True]
    moves = ops["dx"] != ops["dy"]
    assert np.flatnonzero(moves).tolist() == [2, 4]
    assert ops["dy"][:-1].tolist() == ops["dx"][1:].tolist()


def test_evaluation_leaves_dropout_out_and_parameters_in_place() -> None:
    program, training = write_program(PLAN.in_evaluation()), write_program(PLAN)
    assert len(program.ops) == len(training.ops) - 1
    assert program.parameters == training.parameters
