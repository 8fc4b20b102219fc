"""The fused engine on the CPU: chunks of optimizer steps, and evaluations, in one compiled call each.

Shapes: N jets, F features, C classes, S optimizer steps.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from jsc.engine import kernel
from jsc.engine.arguments import ADAM, Jets, Loss, Memory, Network, Outcome, State, Steps, Update
from jsc.engine.layers import Floats
from jsc.engine.loss import CrossEntropy
from jsc.engine.lowering import lower
from jsc.engine.memory import aligned_zeros, read_only, views_of
from jsc.engine.optimizers import Moments, check_covers, lower_optimizer
from jsc.engine.plan import Plan
from jsc.engine.program import Program, write_program
from jsc.engine.vectors import VECTOR_BYTES

BLOCK_JETS = 256  # a block of the widest registered network still fits a core's second cache


@dataclass(frozen=True)
class Evaluation:
    """`loss_sum / weight_sum` is the mean loss (`weight_sum` is N without class weights)."""

    loss_sum: float
    weight_sum: float
    num_correct: int
    logits_NC: Floats | None

    @property
    def loss(self) -> float:
        """In nats; NaN without any jet, as torch says."""
        return self.loss_sum / self.weight_sum if self.weight_sum else math.nan


class FusedScorer:
    """Scores jets with one model, as the model in evaluation mode does.

    The torch model stays the truth: every call reads its parameters and BatchNorm's statistics, so that it may be
    trained, and state dicts be loaded, between calls. Raises CannotLower if the model is beyond the kernel.
    """

    def __init__(self, model: nn.Module, plan: Plan | None = None, *, loss: CrossEntropy = CrossEntropy()) -> None:  # noqa: B008  # immutable
        """`plan`: what `lower(model)` says, if it is known."""
        self.model = model
        self._plan = lower(model) if plan is None else plan
        self.dtype: np.dtype[Any] = np.dtype(np.float32 if self._plan.dtype == torch.float32 else np.float64)
        num_classes = self._plan.num_classes
        weights = loss.class_weights if loss.class_weights is not None else (1.0,) * num_classes
        if len(weights) != num_classes:
            raise ValueError(f"the loss has {len(weights)} class weights; the model has {num_classes} classes")
        self._loss = Loss(np.array(weights, np.float64), loss.class_weights is not None, loss.label_smoothing)
        self._scoring = write_program(self._plan.in_evaluation())
        self._lanes = VECTOR_BYTES // self.dtype.itemsize
        self._state = State(
            theta=self._parameter_memory(),
            gradient=np.empty(0, self.dtype),
            moment_1=np.empty(0, self.dtype),
            moment_2=np.empty(0, self.dtype),
            running=np.zeros(self._scoring.num_running, self.dtype),
            counters=np.zeros(len(self._scoring.counters), np.int64),
            stats=np.zeros(self._scoring.num_stats, np.float64),
        )
        self._work = aligned_zeros((0,), self.dtype)
        self._places = {
            name: (model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
            for name in (*self._scoring.parameters, *self._scoring.running, *self._scoring.counters)
        }
        self._views = {
            **views_of(self._state.theta, self._scoring.parameters, self._plan.parameters()),
            **views_of(self._state.running, self._scoring.running, self._plan.running()),
        }

    def evaluate(
        self, x_NF: Floats, labels_N: npt.NDArray[np.integer[Any]], *, with_logits: bool = False
    ) -> Evaluation:
        """Score jets.

        Args:
            x_NF: jets, contiguous, in the model's dtype.
            labels_N: their classes, 0 to C - 1; int8 is used as it is, other integers are converted at each call.
            with_logits: whether the logits are wanted too.

        Raises:
            ValueError: unfit arrays.
        """
        jets = self._checked(x_NF, labels_N)
        self._read(self._tensors())
        num_classes = self._plan.num_classes
        logits = np.empty(len(labels_N) * num_classes if with_logits else 0, self.dtype)
        outcome = Outcome(np.zeros(2, np.float64), np.zeros(1, np.int64), logits, with_logits)
        steps = Steps(read_only(np.arange(BLOCK_JETS)), BLOCK_JETS, read_only(np.empty(0)), 0, np.uint64(0))
        update = Update(ADAM, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)  # of no step
        self._run(False, jets, steps, self._scoring, update, outcome)
        loss_sum, weight_sum = outcome.losses.tolist()
        logits_NC = logits.reshape(len(labels_N), num_classes) if with_logits else None
        return Evaluation(loss_sum, weight_sum, int(outcome.num_correct[0]), logits_NC)

    def _run(
        self, training: bool, jets: Jets, steps: Steps, program: Program, update: Update, outcome: Outcome
    ) -> None:
        jets_a_block = _round_up(min(steps.batch_size, BLOCK_JETS), 2 * self._lanes)
        stride = jets_a_block + self._lanes  # an odd number of cache lines, so that rows share no cache set
        block_size = stride * program.rows_a_block
        size = block_size * -(-steps.batch_size // jets_a_block)
        if len(self._work) < size:
            self._work = aligned_zeros((size,), self.dtype)
        memory = Memory(self._work, jets_a_block, stride, block_size)
        network = Network(program.ops, program.segments, self._plan.num_features, self._plan.num_classes)
        arguments = (training, jets, steps, network, self._state, memory, self._loss, update, outcome)
        status = kernel.kernel()(self.dtype, *arguments)
        if status == kernel.STATUS_BAD_ROW:
            raise IndexError(f"a row number is not between 0 and {len(jets.labels) - 1}")
        if status == kernel.STATUS_BAD_LABEL:
            raise self._bad_label()
        if status == kernel.STATUS_UNKNOWN_OPTIMIZER:
            raise NotImplementedError(f"the kernel has no code for optimizers of kind {update.kind}")

    def _parameter_memory(self) -> Floats:
        return aligned_zeros((_round_up(self._scoring.num_parameters, self._lanes),), self.dtype)

    def _tensors(self) -> dict[str, torch.Tensor]:
        """The model's tensors as they are now: loading a state dict may have made new ones."""
        return {name: getattr(module, attribute) for name, (module, attribute) in self._places.items()}

    @torch.no_grad()
    def _read(self, tensors: dict[str, torch.Tensor]) -> None:
        for name, view in self._views.items():
            view.copy_(tensors[name])

    def _checked(self, x_NF: Floats, labels_N: npt.NDArray[np.integer[Any]]) -> Jets:
        num_features, num_classes = self._plan.num_features, self._plan.num_classes
        if x_NF.dtype != self.dtype:
            raise ValueError(f"jets are {x_NF.dtype}; the model is {self.dtype}")
        if x_NF.ndim != 2 or x_NF.shape[1] != num_features or not x_NF.flags.c_contiguous:
            raise ValueError(f"jets are {list(x_NF.shape)}; expected a contiguous [N, {num_features}]")
        if labels_N.shape != x_NF.shape[:1]:
            raise ValueError(f"labels are {list(labels_N.shape)} for {len(x_NF)} jets")
        x = read_only(x_NF.reshape(-1))
        if labels_N.dtype == np.int8 and labels_N.flags.c_contiguous:
            return Jets(x, read_only(labels_N))
        if not np.issubdtype(labels_N.dtype, np.integer):
            raise ValueError(f"labels are {labels_N.dtype}; expected integers")
        if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < num_classes:
            raise self._bad_label()
        return Jets(x, read_only(labels_N.astype(np.int8)))

    def _bad_label(self) -> ValueError:
        return ValueError(f"a label is not between 0 and {self._plan.num_classes - 1}")


class FusedTrainer(FusedScorer):
    """Trains and scores one model with one optimizer and loss.

    Every call leaves parameters, BatchNorm's statistics and the optimizer's state in the torch objects, as torch would
    have left them. Raises CannotLower if the model, the optimizer or their options are beyond the kernel.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        loss: CrossEntropy,
        seed: int,
        plan: Plan | None = None,
    ) -> None:
        """`plan`: what `lower(model)` says, if it is known. `seed` is dropout's."""
        super().__init__(model, plan, loss=loss)
        self._optimizer = optimizer
        lower_optimizer(optimizer)
        check_covers(optimizer, self._tensors(), self._plan.parameters())
        self._training = write_program(self._plan)
        gradient, moment_1, moment_2 = (self._parameter_memory() for _ in range(3))
        self._state = self._state._replace(gradient=gradient, moment_1=moment_1, moment_2=moment_2)
        self._seed = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
        self._moments: Moments | None = None

    def train(
        self,
        x_NF: Floats,
        labels_N: npt.NDArray[np.integer[Any]],
        rows: npt.NDArray[np.int64],
        *,
        batch_size: int,
        learning_rates_S: npt.NDArray[np.float64],
        first_step: int,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Take S optimizer steps on consecutive batches of `rows`; the last one may be short.

        Args:
            x_NF: the table of jets, contiguous, in the model's dtype.
            labels_N: its classes, 0 to C - 1; int8 is used as it is, other integers are converted at each call.
            rows: row numbers of `x_NF`, in training order; as many as S batches hold.
            batch_size: jets a step.
            learning_rates_S: one a step.
            first_step: optimizer steps taken before this call in the whole run; dropout draws by it.

        Returns:
            (losses_S, num_correct_S): each batch's mean loss, and how many jets the training forward got right.

        Raises:
            ValueError, IndexError: unfit arrays; the model and the optimizer are then as before the call.
        """
        rows = read_only(np.ascontiguousarray(rows, np.int64))
        rates_S = read_only(np.ascontiguousarray(learning_rates_S, np.float64))
        jets = self._checked(x_NF, labels_N)
        num_steps = len(rates_S)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it is at least 1")
        if num_steps != -(-len(rows) // batch_size):
            raise ValueError(
                f"{len(rows)} rows are {-(-len(rows) // batch_size)} batches of {batch_size}; "
                f"there are {num_steps} learning rates"
            )
        outcome = Outcome(np.empty(num_steps), np.empty(num_steps, np.int64), np.empty(0, self.dtype), False)
        if num_steps == 0:
            return outcome.losses, outcome.num_correct
        smallest = len(rows) - (num_steps - 1) * batch_size
        if self._training.counters and smallest == 1:
            raise ValueError("a batch of 1 jet has no variance: BatchNorm cannot train on it")
        plan = lower_optimizer(self._optimizer)
        if self._moments is None or self._moments.plan != plan:  # options may change between calls
            flats = self._state.moment_1, self._state.moment_2
            self._moments = Moments(self._optimizer, plan, self._plan.parameters(), self._training.parameters, flats)
        tensors = self._tensors()
        steps_before = self._moments.read(tensors)
        self._read(tensors)
        for index, name in enumerate(self._training.counters):
            self._state.counters[index] = int(tensors[name])
        steps = Steps(rows, min(batch_size, len(rows)), rates_S, int(first_step), self._seed)
        self._run(True, jets, steps, self._training, Update(**vars(plan), steps_before=steps_before), outcome)
        with torch.no_grad():
            for name, view in self._views.items():
                tensors[name].copy_(view)
        for name in self._training.counters:
            tensors[name].add_(num_steps)
        self._moments.write(tensors, steps_before + num_steps)
        return outcome.losses, outcome.num_correct


def warm_up(dtype: torch.dtype) -> None:
    """Compile the kernel, or load it from disk, which takes a second, once a process; no random number is drawn."""
    if kernel.kernel().is_ready(torch.empty(0, dtype=dtype).numpy().dtype):
        return
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(1, 2, dtype=dtype))
    scorer = FusedScorer(model)
    scorer.evaluate(np.empty((0, 1), scorer.dtype), np.empty(0, np.int8))


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
