"""The fused engine: whole stretches of optimizer steps in one compiled call, the same function as torch autograd.

From the model to the machine: `plan` lowers an fx trace to a list of layers (or says why not), `optimizers` and
`loss` do so for the rest; `program` writes the plan as tables of numbers; `kernels` is the compiled code that reads
them, with what each layer does in `layers`, over the vectors of `vectors`, the functions of `elementary` and the
matrix products of `tiles`; `compilation` keeps it on disk; `windows` copies between it and torch's tensors; `cpu` puts
it under one class. `dropout` gives torch the random bits that the kernels draw. A backend for another device is a
file beside `cpu`, with the same class over the same plan.
"""

from jsc.engine.cpu import Evaluation, FusedScorer, FusedTrainer, warm_up
from jsc.engine.dropout import CounterDropout, count_dropout, set_dropout_step
from jsc.engine.layers import CannotLower
from jsc.engine.loss import CrossEntropy
from jsc.engine.lowering import lower
from jsc.engine.optimizers import lower_optimizer
from jsc.engine.plan import Plan, interpret

__all__ = [
    "CannotLower",
    "CounterDropout",
    "CrossEntropy",
    "Evaluation",
    "FusedScorer",
    "FusedTrainer",
    "Plan",
    "count_dropout",
    "interpret",
    "lower",
    "lower_optimizer",
    "set_dropout_step",
    "warm_up",
]
