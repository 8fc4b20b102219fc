"""What the compiled code is handed, in named groups.

T is the model's dtype, float32 or float64; arrays are flat and contiguous, those of Jets and Steps marked read-only.
Shapes: N jets in the table, F features, C classes, R rows to train on, S optimizer steps, L rows of the program,
P parameters rounded up to whole vectors, Q running statistics.
"""

from typing import Any, NamedTuple

ADAM, ADAMW, SGD, SGD_NESTEROV = range(4)  # kinds of optimizers


class Jets(NamedTuple):
    """The table of jets."""

    x: Any  # T [N * F], jet after jet
    labels: Any  # int8 [N]


class Steps(NamedTuple):
    """Which jets to take, and when. An evaluation goes by the table; its `rows` count from 0 to a block's size."""

    rows: Any  # int64 [R]
    batch_size: Any  # int
    learning_rates: Any  # float64 [S]; an evaluation has none
    first_step: Any  # int: steps taken before in the whole run
    seed: Any  # uint64, of dropout


class Network(NamedTuple):
    """What is computed; see `jsc.engine.program.Program`."""

    ops: Any  # OP [L]
    segments: Any  # int64
    num_features: Any  # int
    num_classes: Any  # int


class State(NamedTuple):
    """What a step reads and changes."""

    theta: Any  # T [P]: the parameters
    gradient: Any  # T [P]
    moment_1: Any  # T [P]: the optimizer's
    moment_2: Any  # T [P]
    running: Any  # T [Q]
    counters: Any  # int64: BatchNorms' counts of batches before this call
    stats: Any  # float64: statistics of the batch


class Memory(NamedTuple):
    """Room for a batch: `work` holds its blocks, a block rows of `stride` numbers, one a jet and some to spare."""

    work: Any  # T
    jets_a_block: Any  # int
    stride: Any  # int
    block_size: Any  # int: numbers from block to block


class Block(NamedTuple):
    """One block. The lanes of its last vector that hold no jet are labelled NO_JET and have zero gradients."""

    work: Any  # T
    base: Any  # int: where it begins in `work`
    stride: Any  # int
    first: Any  # int: its first jet's place in the batch
    num_jets: Any  # int
    num_vectors: Any  # int


class Loss(NamedTuple):
    """Cross-entropy."""

    class_weights: Any  # float64 [C]
    is_weighted: Any  # bool: whether they are not all 1
    smoothing: Any  # float


class Update(NamedTuple):
    """What an optimizer does with a gradient; see `jsc.engine.optimizers.OptimizerPlan`."""

    kind: Any  # int: ADAM, ADAMW, SGD or SGD_NESTEROV
    beta_1: Any  # float
    beta_2: Any  # float
    eps: Any  # float
    momentum: Any  # float
    dampening: Any  # float
    weight_decay: Any  # float
    steps_before: Any  # int: steps that it has taken before this call


class Outcome(NamedTuple):
    """What comes back."""

    losses: Any  # float64 [S]; of an evaluation the loss's numerator and denominator
    num_correct: Any  # int64 [S]; of an evaluation [1]
    logits: Any  # T [N * C] if they are wanted
    wants_logits: Any  # bool
