"""The fused engine on the CPU: stretches of optimizer steps, and evaluations, in one compiled call each.

Shapes: N jets, F features, C classes, S optimizer steps, P parameters.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from jsc.engine import kernels, program
from jsc.engine.loss import CrossEntropy
from jsc.engine.memory import aligned_zeros, writable
from jsc.engine.optimizers import OptimizerPlan, OptimizerState, check_covers, lower_optimizer
from jsc.engine.plan import Dropout, Plan, lower
from jsc.engine.program import Program, write_program
from jsc.engine.vectors import VECTOR_BYTES
from jsc.engine.windows import Window

BLOCK_JETS = 256  # a block of the widest registered network still fits a core's second cache
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Evaluation:
    """`loss_sum / weight_sum` is the mean loss (`weight_sum` is N without class weights)."""

    loss_sum: float
    weight_sum: float
    num_correct: int
    logits_NC: Floats | None

    @property
    def loss(self) -> float:
        return self.loss_sum / self.weight_sum if self.weight_sum else math.nan  # as torch says


class FusedTrainer:
    """Trains and scores one model with one optimizer and loss.

    The torch objects stay the truth: every call reads parameters, BatchNorm's statistics and the optimizer's state
    from them and leaves them as torch would have, so that state dicts are current between calls and may be loaded.
    Raises CannotLower if the model, the optimizer or their options are beyond the kernel.
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
        """`plan`: what `lower(model)` says, if it is known."""
        self.model = model
        self._optimizer = optimizer
        self._plan = lower(model) if plan is None else plan
        self._program = write_program(self._plan)
        # Dropout passes everything in evaluation, and has no parameters: everything else keeps its place.
        layers = tuple(layer for layer in self._plan.layers if not isinstance(layer, Dropout))
        self._scoring = write_program(dataclasses.replace(self._plan, layers=layers))
        self._tensors = {
            name: (model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
            for name in (*self._program.parameters, *self._program.running, *self._program.tracked)
        }
        lower_optimizer(optimizer)
        check_covers(optimizer, self._parameters())
        num_classes = self._plan.num_classes
        weights = loss.class_weights if loss.class_weights is not None else (1.0,) * num_classes
        if len(weights) != num_classes:
            raise ValueError(f"the loss has {len(weights)} class weights; the model has {num_classes} classes")
        self._loss = loss
        # One more than there are classes says that they matter: then each batch's weights are summed first.
        self._class_weights = np.array([*weights, 0.0] if loss.class_weights else weights, np.float64)
        self._seed = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
        self.dtype: np.dtype[Any] = np.dtype(np.float32 if self._plan.dtype == torch.float32 else np.float64)
        self._lanes = VECTOR_BYTES // self.dtype.itemsize
        size = _round_up(self._program.num_parameters, self._lanes)
        self._theta, self._gradient, *self._moments = (aligned_zeros((size,), self.dtype) for _ in range(4))
        self._running = np.zeros(self._program.num_running, self.dtype)
        self._stats = np.zeros(self._program.num_stats, np.float64)
        self._work = aligned_zeros((0,), self.dtype)
        self._shapes = {name: parameter.shape for name, parameter in self._parameters().items()}
        flats = {
            **dict.fromkeys(self._program.parameters, self._theta),
            **dict.fromkeys(self._program.running, self._running),
        }
        self._windows = {
            name: Window(flats[name], place.start, tuple(self._tensor(name).shape))
            for name, place in {**self._program.parameters, **self._program.running}.items()
        }
        self._state: tuple[OptimizerPlan, OptimizerState] | None = None

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
        rows = writable(np.ascontiguousarray(rows, np.int64))
        rates_S = writable(np.ascontiguousarray(learning_rates_S, np.float64))
        x, labels = self._checked(x_NF, labels_N)
        num_steps = len(rates_S)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it is at least 1")
        if num_steps != -(-len(rows) // batch_size):
            raise ValueError(
                f"{len(rows)} rows are {-(-len(rows) // batch_size)} batches of {batch_size}; "
                f"there are {num_steps} learning rates"
            )
        losses_S, num_correct_S = np.empty(num_steps, np.float64), np.empty(num_steps, np.int64)
        if num_steps == 0:
            return losses_S, num_correct_S
        smallest = len(rows) - (num_steps - 1) * batch_size
        if self._program.tracked and smallest == 1:
            raise ValueError("a batch of 1 jet has no variance: BatchNorm cannot train on it")
        optimizer_plan, state = self._optimizer_state()
        parameters = self._parameters()
        steps_before = state.read(parameters)
        self._read_model()
        tracked = np.array([int(self._tensor(name)) for name in self._program.tracked], np.int64)
        status = self._run(
            self._program, x, labels, rows, min(batch_size, len(rows)), rates_S, first_step, tracked,
            optimizer_plan.kind, np.array(optimizer_plan.constants), steps_before,
            losses_S, num_correct_S, np.empty(0, self.dtype),
        )  # fmt: skip
        self._check(status, len(labels))
        for name, window in self._windows.items():
            window.write(self._tensor(name))
        for name in self._program.tracked:
            self._tensor(name).add_(num_steps)
        state.write(parameters, steps_before + num_steps)
        return losses_S, num_correct_S

    def evaluate(
        self, x_NF: Floats, labels_N: npt.NDArray[np.integer[Any]], *, with_logits: bool = False
    ) -> Evaluation:
        """Score jets as the model in evaluation mode does. Arguments and errors are those of `train`."""
        x, labels = self._checked(x_NF, labels_N)
        self._read_model()
        logits = np.empty(len(labels) * self._plan.num_classes if with_logits else 0, self.dtype)
        sums, num_correct = np.zeros(2, np.float64), np.zeros(1, np.int64)
        status = self._run(
            self._scoring, x, labels, np.arange(BLOCK_JETS), BLOCK_JETS, None, 0, np.empty(0, np.int64),
            program.ADAM, np.zeros(4), 0, sums, num_correct, logits,
        )  # fmt: skip
        self._check(status, len(labels))
        logits_NC = logits.reshape(len(labels), self._plan.num_classes) if with_logits else None
        return Evaluation(float(sums[0]), float(sums[1]), int(num_correct[0]), logits_NC)

    def _run(
        self, steps: Program, x: Floats, labels: npt.NDArray[np.int8], rows: npt.NDArray[np.int64], batch_size: int,
        learning_rates_S: npt.NDArray[np.float64] | None, first_step: int, tracked: npt.NDArray[np.int64],
        optimizer: int, constants: npt.NDArray[np.float64], steps_before: int,
        losses: npt.NDArray[np.float64], num_correct: npt.NDArray[np.int64], logits: Floats,
    ) -> int:  # fmt: skip
        """Call the kernel: to train, with learning rates; to evaluate, without."""
        block = _round_up(min(batch_size, BLOCK_JETS), 2 * self._lanes)
        stride = block + self._lanes  # an odd number of cache lines, so that rows share no cache set
        block_size = stride * steps.rows_a_block
        size = block_size * (-(-batch_size // block))
        if len(self._work) < size:
            self._work = aligned_zeros((size,), self.dtype)
        shape = np.array([self._plan.num_features, self._plan.num_classes, block_size, stride, block], np.int64)
        status: int = kernels.kernel()(
            self.dtype,
            learning_rates_S is not None, x, labels, rows, int(batch_size),
            np.empty(0, np.float64) if learning_rates_S is None else learning_rates_S, int(first_step),
            steps.ops, steps.constants, steps.segments, shape,
            self._theta, self._gradient, self._moments[0], self._moments[1],
            self._running, tracked, self._stats, self._work,
            self._class_weights, self._loss.label_smoothing, optimizer, constants, steps_before, self._seed,
            losses, num_correct, logits,
        )  # fmt: skip
        return status

    def _tensor(self, name: str) -> torch.Tensor:
        module, attribute = self._tensors[name]
        tensor = module._parameters.get(attribute)
        return module._buffers[attribute] if tensor is None else tensor  # type: ignore[return-value]  # lowered: not None

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {name: self._tensor(name) for name in self._program.parameters}  # type: ignore[misc]  # they are

    def _read_model(self) -> None:
        for name, window in self._windows.items():
            window.read(self._tensor(name))

    def _optimizer_state(self) -> tuple[OptimizerPlan, OptimizerState]:
        plan = lower_optimizer(self._optimizer)
        if self._state is None or self._state[0] != plan:  # options may change between calls
            places = self._program.parameters
            self._state = plan, OptimizerState(self._optimizer, plan, self._shapes, places, self._moments)
        return self._state

    def _checked(self, x_NF: Floats, labels_N: npt.NDArray[np.integer[Any]]) -> tuple[Floats, npt.NDArray[np.int8]]:
        num_features, num_classes = self._plan.num_features, self._plan.num_classes
        if x_NF.dtype != self.dtype:
            raise ValueError(f"jets are {x_NF.dtype}; the model is {self.dtype}")
        if x_NF.ndim != 2 or x_NF.shape[1] != num_features or not x_NF.flags.c_contiguous:
            raise ValueError(f"jets are {list(x_NF.shape)}; expected a contiguous [N, {num_features}]")
        if labels_N.shape != x_NF.shape[:1]:
            raise ValueError(f"labels are {list(labels_N.shape)} for {len(x_NF)} jets")
        x = writable(x_NF.reshape(-1))
        if labels_N.dtype == np.int8 and labels_N.flags.c_contiguous:
            return x, writable(labels_N)
        if not np.issubdtype(labels_N.dtype, np.integer):
            raise ValueError(f"labels are {labels_N.dtype}; expected integers")
        if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < num_classes:
            raise _bad_label(num_classes)
        return x, labels_N.astype(np.int8)

    def _check(self, status: int, num_jets: int) -> None:
        if status == kernels.STATUS_BAD_ROW:
            raise IndexError(f"a row number is not between 0 and {num_jets - 1}")
        if status == kernels.STATUS_BAD_LABEL:
            raise _bad_label(self._plan.num_classes)


def warm_up(dtype: torch.dtype) -> None:
    """Compile the kernel, or load it from disk, which takes a second, once a process; no random number is drawn."""
    if kernels.kernel().is_ready(torch.empty(0, dtype=dtype).numpy().dtype):
        return
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(1, 2, dtype=dtype))
    trainer = FusedTrainer(model, torch.optim.SGD(model.parameters(), lr=1.0), loss=CrossEntropy(), seed=0)
    trainer.evaluate(np.empty((0, 1), trainer.dtype), np.empty(0, np.int8))


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _bad_label(num_classes: int) -> ValueError:
    return ValueError(f"a label is not between 0 and {num_classes - 1}")
