"""The engine of a run: it trains and scores the network, and is asked wherever one would have to know which it is.

Shapes: B jets of a batch, N jets, S optimizer steps, F features, C classes. Sums over jets are float64 [3]: of their
losses in nats, of those predicted correctly, of all.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from lightning_fabric import Fabric
from pytorch_lightning.callbacks import (
    Callback,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from jsc.datasets.datamodule import EVAL_BATCH_SIZE, TrainChunks
from jsc.engine import CrossEntropy, FusedScorer, FusedTrainer, Plan, count_dropout, set_dropout_step, warm_up
from jsc.fit.lightning_internals import adopt_step_count, count_chunk
from jsc.fit.lightning_noise import quieten_lightning
from jsc.fit.schedule import Schedule


@dataclass(frozen=True)
class Steps:
    """S optimizer steps: each one's sums (float64 [S, 3]) and learning rate (float64 [S]); how many jets in all."""

    sums_S3: Tensor
    rates_S: npt.NDArray[np.float64]
    num_jets: int


class Engine(Protocol):
    """Trains and scores one network.

    `reason` says why it is not the fused engine; None if it is. `takes_chunks`: it takes the optimizer steps itself,
    many a call; else Lightning takes them, and calls with each batch for its loss.
    """

    name: str
    reason: str | None
    takes_chunks: bool

    def accelerator(self, asked: str) -> str:
        """Lightning's name of where it runs, if `trainer.accelerator` is `asked`."""
        return asked

    def load(self) -> None:
        """Get ready what takes long the first time in a process; called before a fit's clock starts."""
        return

    def start_fit(self, trainer: pl.Trainer) -> None:
        """Take over the trainer's optimizer; a checkpoint has been restored by now."""

    def train(self, trainer: pl.Trainer, batch: Any, batch_idx: int) -> tuple[Steps | None, Tensor | None]:
        """Train on what the loader yields. Returns the steps that are now complete, and the loss to be minimised."""

    def score(self, x_NF: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
        """(sums, logits [N, C]) of jets on the model's device, as it is in evaluation mode."""

    def test(self, x_NF: Tensor, labels_N: Tensor, *, accelerator: str, precision: Any) -> tuple[Tensor, Tensor]:
        """(sums, logits [N, C]), on the CPU, of jets that are scored outside of a fit, on one device."""
        return self.score(x_NF, labels_N)


class TorchEngine(Engine):
    """PyTorch autograd under Lightning's automatic optimization: the definition. `seed` draws dropout's masks."""

    name = "torch"
    takes_chunks = False

    def __init__(
        self, model: nn.Module, *, loss: CrossEntropy | None = None, seed: int = 0, reason: str | None = None
    ) -> None:
        count_dropout(model, seed=seed)
        self.reason = reason
        self._model = model
        self._loss = loss or CrossEntropy()

    def start_fit(self, trainer: pl.Trainer) -> None:
        assert trainer.train_dataloader is not None
        self._batch_size = int(trainer.train_dataloader.batch_size)
        self._parts: list[Tensor] = []  # sums of the micro-batches of the optimizer step that is not complete
        self._num_jets = 0

    def train(self, trainer: pl.Trainer, batch: Any, batch_idx: int) -> tuple[Steps | None, Tensor | None]:
        x_BF, labels_B = batch
        # Processes and micro-batches share an optimizer step: each has masks of its own.
        place = len(self._parts) * trainer.world_size + trainer.global_rank
        set_dropout_step(self._model, trainer.global_step, first_row=place * self._batch_size)
        logits_BC = self._model(x_BF)
        loss = self._loss(logits_BC, labels_B)
        self._parts.append(_sums(loss.detach().double() * len(labels_B), logits_BC.detach(), labels_B))
        self._num_jets += len(labels_B)
        is_last = batch_idx + 1 == trainer.num_training_batches
        if not is_last and len(self._parts) < trainer.accumulate_grad_batches:
            return None, loss
        rates_S = np.array([float(trainer.optimizers[0].param_groups[0]["lr"])])
        steps = Steps(torch.stack(self._parts).sum(0, keepdim=True), rates_S, self._num_jets)
        self._parts, self._num_jets = [], 0
        return steps, loss

    def score(self, x_NF: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
        logits_NC: Tensor = self._model(x_NF)
        loss_sum = nn.functional.cross_entropy(logits_NC, labels_N.long(), reduction="sum")
        return _sums(loss_sum, logits_NC, labels_N), logits_NC

    def test(self, x_NF: Tensor, labels_N: Tensor, *, accelerator: str, precision: Any) -> tuple[Tensor, Tensor]:
        quieten_lightning()
        fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
        model = self._model.to(fabric.device).eval()
        x_NF = x_NF.to(next(model.parameters()).dtype)
        batches = zip(torch.split(x_NF, EVAL_BATCH_SIZE), torch.split(labels_N, EVAL_BATCH_SIZE), strict=True)
        with torch.inference_mode(), fabric.autocast():
            parts = [self.score(x_BF.to(fabric.device), labels_B.to(fabric.device)) for x_BF, labels_B in batches]
        return torch.stack([sums for sums, _ in parts]).sum(0).cpu(), torch.cat([logits for _, logits in parts]).cpu()


def _sums(loss_sum: Tensor, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    num_correct = (logits_NC.argmax(1) == labels_N).sum()
    return torch.stack([loss_sum.double(), num_correct.double(), torch.full_like(num_correct, len(labels_N)).double()])


class FusedEngine(Engine):
    """A chunk of optimizer steps in one call of the compiled kernel, on the CPU."""

    name = "fused"
    takes_chunks = True
    reason = None

    SECONDS_A_CHUNK = 0.1  # signals, callbacks and the progress bar wait for as long

    def __init__(
        self, model: nn.Module, plan: Plan, *, loss: CrossEntropy, schedule: Schedule | None, seed: int
    ) -> None:
        self._make_trainer = partial(FusedTrainer, model, loss=loss, seed=seed, plan=plan)
        self._scorer = FusedScorer(model, plan)
        self._dtype = plan.dtype
        self._schedule = schedule
        self._steps_a_second = 1000.0  # learnt from each chunk

    def accelerator(self, asked: str) -> str:
        return "cpu"

    def load(self) -> None:
        warm_up(self._dtype)

    def start_fit(self, trainer: pl.Trainer) -> None:
        optimizer = trainer.optimizers[0]
        optimizer.zero_grad()
        optimizer.step()  # without a gradient it changes nothing; schedulers warn if they come first
        self._trainer = self._make_trainer(optimizer)
        adopt_step_count(trainer)

    def train(self, trainer: pl.Trainer, batch: Any, batch_idx: int) -> tuple[Steps | None, Tensor | None]:
        """As many steps as there are to the next thing that Lightning does, but no longer than it should wait."""
        assert isinstance(batch, TrainChunks)
        num_steps = self._num_steps(trainer, batch.position)
        started = time.perf_counter()
        rates_S = self._learning_rates(trainer, num_steps)
        rows_N = batch.take(num_steps).numpy()
        losses_S, num_correct_S = self._trainer.train(
            batch.x_NF.numpy(), batch.y_N.numpy(), rows_N,
            batch_size=batch.batch_size, learning_rates_S=rates_S, first_step=trainer.global_step,
        )  # fmt: skip
        count_chunk(trainer, num_steps)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._step_scheduler(trainer, "epoch")
        self._steps_a_second = num_steps / max(time.perf_counter() - started, 1e-6)
        num_jets_S = np.full(num_steps, batch.batch_size)
        num_jets_S[-1] = len(rows_N) - (num_steps - 1) * batch.batch_size
        sums_S3 = np.stack([losses_S * num_jets_S, num_correct_S, num_jets_S], axis=1)
        return Steps(torch.from_numpy(sums_S3), rates_S, len(rows_N)), None

    def _num_steps(self, trainer: pl.Trainer, position: int) -> int:
        """`position` counts the batches of this epoch that were taken."""
        interval = trainer.val_check_batch
        per_epoch = trainer.check_val_every_n_epoch is not None
        counted = position if per_epoch else trainer.fit_loop.epoch_loop.total_batch_idx
        to_validation = math.inf if interval is None or math.isinf(interval) else interval - counted % interval
        to_last_step = math.inf if trainer.max_steps == -1 else trainer.max_steps - trainer.global_step
        in_time = max(1, int(self._steps_a_second * self.SECONDS_A_CHUNK))
        return int(min(int(trainer.num_training_batches) - position, to_validation, to_last_step, in_time))

    def _learning_rates(self, trainer: pl.Trainer, num_steps: int) -> npt.NDArray[np.float64]:
        """One a step; moves a scheduler of interval "step" on by as many."""
        group = trainer.optimizers[0].param_groups[0]
        rates_S = np.full(num_steps, group["lr"], np.float64)
        if self._schedule is not None and self._schedule.interval == "step":
            for s in range(num_steps):
                rates_S[s] = group["lr"]
                self._step_scheduler(trainer, "step")
        return rates_S

    def _step_scheduler(self, trainer: pl.Trainer, interval: str) -> None:
        if self._schedule is not None and self._schedule.interval == interval:
            scheduler = trainer.lr_scheduler_configs[0].scheduler
            if not isinstance(scheduler, ReduceLROnPlateau):  # the task steps that, by an epoch's scores
                scheduler.step()

    def score(self, x_NF: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
        x = np.asarray(x_NF.numpy(), self._scorer.dtype)
        found = self._scorer.evaluate(x, labels_N.numpy(), with_logits=True)
        sums_3 = torch.tensor([found.loss_sum, found.num_correct, len(labels_N)], dtype=torch.float64)
        return sums_3, torch.from_numpy(found.logits_NC)


BATCH_HOOKS = [name for name in dir(Callback) if "train_batch" in name or name.startswith(("on_before_", "on_after_"))]


def why_each_batch(callbacks: Iterable[Callback]) -> str | None:
    """Which of these callbacks has to be called for each batch, and why; None if a call for each chunk will do.

    A callback whose batch hooks may be called once a chunk says so by an attribute `takes_chunks = True`.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, (GradientAccumulationScheduler, StochasticWeightAveraging)):
            return f"callback {name} changes how Lightning takes optimizer steps"
        does_nothing: list[type[Callback]] = [Callback]
        if isinstance(callback, ModelCheckpoint) and callback.every_n_epochs:  # and so not every so many steps
            does_nothing.append(ModelCheckpoint)
        for hook in () if getattr(callback, "takes_chunks", False) else BATCH_HOOKS:
            method = getattr(callback, hook)
            if getattr(method, "__func__", method) not in [getattr(kind, hook) for kind in does_nothing]:
                return f"callback {name} has a hook {hook}, which is called for each batch"
    return None
