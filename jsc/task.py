"""What is trained: a network, its loss and scores, its optimizer and schedule, as Lightning's module.

Shapes: B jets of a batch, F features, C classes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import torchmetrics
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from jsc.datasets import Batch

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate changes: `make(optimizer)` builds the scheduler, stepped once an `interval`.

    `needs_total_steps`: `make` also takes `total_steps`, the optimizer steps of the whole fit. `monitor` names the
    logged value that a scheduler such as ReduceLROnPlateau watches.
    """

    make: Callable[..., LRScheduler]
    interval: Literal["epoch", "step"] = "epoch"
    monitor: str | None = None
    needs_total_steps: bool = False


class SplitScores(torchmetrics.Metric):
    """Mean cross-entropy and accuracy over the jets of one split; sums are exact, whatever the batch sizes."""

    full_state_update = False
    loss_sum: Tensor
    num_correct: Tensor
    num_jets: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_correct", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("num_jets", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, mean_loss: Tensor, num_correct: Tensor, num_jets: int) -> None:
        """Add a batch: its mean loss, and how many of its jets were called right."""
        self.loss_sum += mean_loss.double() * num_jets
        self.num_correct += num_correct
        self.num_jets += num_jets

    def compute(self) -> tuple[Tensor, Tensor]:
        """(mean loss in nats, accuracy), float64."""
        return self.loss_sum / self.num_jets, self.num_correct.double() / self.num_jets


class JetClassifier(pl.LightningModule):
    """Trains `model` by cross-entropy.

    `class_weights` and `label_smoothing` shape the training loss alone: validation and test losses are plain mean
    cross-entropies, so that they compare between runs. `hyper_parameters`, plain values, travel in every checkpoint.
    """

    class_weights_C: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        *,
        make_optimizer: MakeOptimizer,
        schedule: Schedule | None = None,
        label_smoothing: float = 0.0,
        class_weights: list[float] | None = None,
        hyper_parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.make_optimizer = make_optimizer
        self.schedule = schedule
        self.label_smoothing = label_smoothing
        self.register_buffer(
            "class_weights_C", torch.tensor(class_weights) if class_weights is not None else None, persistent=False
        )
        self.save_hyperparameters(dict(hyper_parameters or {}), logger=False)
        self.train_scores, self.val_scores, self.test_scores = SplitScores(), SplitScores(), SplitScores()
        self.test_logits: list[Tensor] = []
        self.latest: dict[str, float] = {}  # the last train_loss, val_acc, ... in full precision
        self.num_jets_trained = 0  # by this process

    def forward(self, x_BF: Tensor) -> Tensor:
        """Logits [B, C]."""
        logits_BC: Tensor = self.model(x_BF)
        return logits_BC

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x_BF, y_B = batch
        logits_BC = self(x_BF)
        loss = nn.functional.cross_entropy(
            logits_BC, y_B, weight=self.class_weights_C, label_smoothing=self.label_smoothing
        )
        num_correct = (logits_BC.detach().argmax(1) == y_B).sum()
        self.train_scores.update(loss.detach(), num_correct, len(y_B))
        self.num_jets_trained += len(y_B)
        step = self.trainer.fit_loop.epoch_loop._batches_that_stepped
        if (step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set in Trainer.__init__
            self.log_step(step, loss.item(), num_correct.item() / len(y_B), self.learning_rate())
        return loss

    def log_step(self, step: int, loss: float, accuracy: float, lr: float) -> None:
        """Send one optimizer step's values to the loggers, at its own place on the x-axis."""
        for logger in self.loggers:
            logger.log_metrics({"train_loss_step": loss, "train_acc_step": accuracy, "lr": lr}, step=step)

    def learning_rate(self) -> float:
        """The one that the next optimizer step takes."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self) -> None:
        self._log_scores(self.train_scores, "train", suffix="")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, self.val_scores)

    def on_validation_epoch_end(self) -> None:
        self._log_scores(self.val_scores, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.test_logits.append(self._score(batch, self.test_scores))

    def on_test_start(self) -> None:
        self.test_logits.clear()

    def on_test_epoch_end(self) -> None:
        self._log_scores(self.test_scores, "test")

    def _score(self, batch: Batch, scores: SplitScores) -> Tensor:
        x_BF, y_B = batch
        logits_BC: Tensor = self(x_BF)
        scores.update(nn.functional.cross_entropy(logits_BC, y_B), (logits_BC.argmax(1) == y_B).sum(), len(y_B))
        return logits_BC

    def _log_scores(self, scores: SplitScores, split: str, suffix: str = "_epoch") -> None:
        loss, accuracy = scores.compute()
        scores.reset()
        self.latest |= {f"{split}_loss": loss.item(), f"{split}_acc": accuracy.item()}
        # For callbacks and the loggers; train_loss and train_acc have their places on the x-axis of steps already.
        self.log_dict(
            {f"{split}_loss{suffix}": loss.float(), f"{split}_acc{suffix}": accuracy.float()},
            logger=bool(suffix and self.loggers),
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.model.parameters())
        if self.schedule is None:
            return optimizer
        arguments = {}
        if self.schedule.needs_total_steps:
            arguments["total_steps"] = int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": self.schedule.make(optimizer, **arguments),
                "interval": self.schedule.interval,
                "monitor": self.schedule.monitor,
            },
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Sums over the epoch so far, so that a run resumed within an epoch reports the whole of it."""
        scores = self.train_scores
        checkpoint["train_scores"] = [scores.loss_sum.item(), scores.num_correct.item(), scores.num_jets.item()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "train_scores" in checkpoint:
            self.train_scores._update_count = 1  # torchmetrics warns of a compute before any update
            for state, value in zip(("loss_sum", "num_correct", "num_jets"), checkpoint["train_scores"], strict=True):
                getattr(self.train_scores, state).fill_(value)
