"""What is trained: a network, its loss and scores, its optimizer and schedule, as Lightning's module.

Shapes: B jets of a batch, F features, C classes.
"""

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ParallelStrategy, Strategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from jsc.datasets.datamodule import Batch, JetDataModule, Stretch
from jsc.engine import CrossEntropy, Evaluation, FusedTrainer, Plan, count_dropout, set_dropout_step
from jsc.fit.fused_loop import FusedSteps
from jsc.fit.schedule import Schedule

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class SplitScores:
    """Mean cross-entropy and accuracy over the jets of one split; sums are exact, whatever the batch sizes."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew. The sums become tensors of whichever device they are added on."""
        self.loss_sum: Tensor | float = 0.0
        self.num_correct: Tensor | int = 0
        self.num_jets = 0

    def update(self, loss_sum: Tensor | float, num_correct: Tensor | int, num_jets: int) -> None:
        """Add jets: the sum of their losses, and how many of them were called right."""
        self.loss_sum = self.loss_sum + (loss_sum.double() if isinstance(loss_sum, Tensor) else loss_sum)
        self.num_correct = self.num_correct + num_correct
        self.num_jets += num_jets

    def compute(self, strategy: Strategy) -> tuple[float, float]:
        """(mean loss in nats, accuracy) over the jets of all processes; NaN without any."""
        loss_sum, num_correct, num_jets = float(self.loss_sum), float(self.num_correct), float(self.num_jets)
        if isinstance(strategy, ParallelStrategy):
            here = torch.tensor([loss_sum, num_correct, num_jets], dtype=torch.float64, device=strategy.root_device)
            loss_sum, num_correct, num_jets = strategy.reduce(here, reduce_op="sum").tolist()
        return (loss_sum / num_jets, num_correct / num_jets) if num_jets else (math.nan, math.nan)


# Set at every hook, by Lightning, or every stretch; torch would look for parameters in them.
_PLAIN = frozenset(("_current_fx_name", "learning_rate", "num_jets_trained", "latest"))


class JetClassifier(pl.LightningModule):
    """Trains `model` by cross-entropy: with the fused engine, given its `plan` of the model, or with torch autograd.

    `loss` shapes training alone: validation and test losses are plain mean cross-entropies, so that they compare
    between runs. `seed` draws dropout. `hyper_parameters`, plain values, travel in every checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        make_optimizer: MakeOptimizer,
        schedule: Schedule | None = None,
        loss: CrossEntropy = CrossEntropy(),  # noqa: B008  # immutable
        plan: Plan | None = None,
        seed: int = 0,
        hyper_parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        count_dropout(model, seed=seed)
        self.model = model
        self.make_optimizer = make_optimizer
        self.schedule = schedule
        self.loss = loss
        self.seed = seed
        self.save_hyperparameters(dict(hyper_parameters or {}), logger=False)
        self.train_scores, self.val_scores, self.test_scores = SplitScores(), SplitScores(), SplitScores()
        self.test_logits: list[Tensor] = []
        self.latest: dict[str, float] = {}  # the last train_loss, val_acc, ... in full precision
        self.learning_rate = 0.0  # of the last optimizer step
        self.num_jets_trained = 0  # by this process
        self.plan = plan
        self.automatic_optimization = plan is None
        self.fused: FusedSteps | None = None
        self.scorer: FusedTrainer | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PLAIN:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Logits [B, C]."""
        logits_BC: Tensor = self.model(x_BF)
        return logits_BC

    def on_train_start(self) -> None:
        if self.plan is not None:
            self.fused = FusedSteps(
                self.model, self.plan, self.trainer, loss=self.loss, schedule=self.schedule, seed=self.seed
            )

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        return batch if self._is_in_place() else super()._on_before_batch_transfer(batch, dataloader_idx)

    def _apply_batch_transfer_handler(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        return batch if self._is_in_place() else super()._apply_batch_transfer_handler(batch, device, dataloader_idx)

    def _is_in_place(self) -> bool:
        """Whether batches lie on the device: Lightning looks for the hooks that move them at every batch."""
        return isinstance(getattr(self._trainer, "datamodule", None), JetDataModule)

    def training_step(self, batch: Batch | Stretch, batch_idx: int) -> Tensor | None:
        if isinstance(batch, Stretch):
            self._take_stretch(batch)
            return None
        x_BF, y_B = batch
        step = self.trainer.global_step
        set_dropout_step(self.model, step)
        logits_BC = self(x_BF)
        loss = self.loss(logits_BC, y_B)
        num_correct = (logits_BC.detach().argmax(1) == y_B).sum()
        self.train_scores.update(loss.detach() * len(y_B), num_correct, len(y_B))
        self.num_jets_trained += len(y_B)
        self.learning_rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        if (step + 1) % self.log_every_n_steps == 0:
            self._log_steps((step,), (loss.item(),), (num_correct.item() / len(y_B),), (self.learning_rate,))
        return loss

    def _take_stretch(self, stretch: Stretch) -> None:
        assert self.fused is not None
        first_step = self.trainer.global_step
        taken = self.fused.take(stretch)
        # Added one by one, so that the sum's last digits do not depend on how the epoch fell into stretches.
        sums_S = taken.losses_S * taken.sizes_S
        sums_S[0] += float(self.train_scores.loss_sum)
        self.train_scores.loss_sum = float(sums_S.cumsum()[-1])
        num_jets = int(taken.sizes_S.sum())
        self.train_scores.update(0.0, int(taken.num_correct_S.sum()), num_jets)
        self.num_jets_trained += num_jets
        self.learning_rate = float(taken.rates_S[-1])
        every = self.log_every_n_steps
        logged = range(every - 1 - first_step % every, len(taken.losses_S), every)
        columns = taken.losses_S, taken.num_correct_S / taken.sizes_S, taken.rates_S
        self._log_steps([first_step + s for s in logged], *(c[logged.start :: every].tolist() for c in columns))

    @property
    def log_every_n_steps(self) -> int:
        """Optimizer steps between two points of the loggers."""
        return int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]  # set in Trainer.__init__

    def _log_steps(
        self, steps: Sequence[int], losses: Sequence[float], accuracies: Sequence[float], rates: Sequence[float]
    ) -> None:
        """Send optimizer steps' values to the loggers, each at its own place on the x-axis."""
        columns = {"train_loss_step": losses, "train_acc_step": accuracies, "lr": rates}
        for logger in self.loggers:
            if hasattr(logger, "log_points"):  # jsc.fit.event_file, which loads TensorBoard and so is not imported here
                logger.log_points(columns, steps)
            else:
                for step, *values in zip(steps, *columns.values(), strict=True):
                    logger.log_metrics(dict(zip(columns, values, strict=True)), step=step)

    def on_train_epoch_end(self) -> None:
        # To callbacks alone: train_loss_step and train_acc_step are on the loggers' axis of steps already.
        self._announce(self._end_split(self.train_scores, "train"), to_loggers=False)
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            assert self.schedule is not None
            assert self.schedule.monitor is not None, "ReduceLROnPlateau needs a monitor"
            scheduler.step(self.trainer.callback_metrics[self.schedule.monitor])

    def on_validation_model_zero_grad(self) -> None:
        if self.plan is None:  # the fused engine's gradients are not the parameters'
            super().on_validation_model_zero_grad()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, self.val_scores, with_logits=False)

    def on_validation_epoch_end(self) -> None:
        scores = self._end_split(self.val_scores, "val")
        self._announce({f"{name}_epoch": value for name, value in scores.items()}, to_loggers=True)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        logits_BC = self._score(batch, self.test_scores, with_logits=True)
        assert logits_BC is not None
        self.test_logits.append(logits_BC)

    def on_test_start(self) -> None:
        self.test_logits.clear()

    def on_test_epoch_end(self) -> None:
        scores = self._end_split(self.test_scores, "test")
        self._announce({f"{name}_epoch": value for name, value in scores.items()}, to_loggers=True)

    def _score(self, batch: Batch, scores: SplitScores, *, with_logits: bool) -> Tensor | None:
        x_BF, y_B = batch
        if self.plan is not None:
            evaluation = self.evaluate_fused(x_BF.numpy(), y_B.numpy(), with_logits=with_logits)
            scores.update(evaluation.loss_sum, evaluation.num_correct, len(y_B))
            return None if evaluation.logits_NC is None else torch.from_numpy(evaluation.logits_NC)
        logits_BC: Tensor = self(x_BF)
        loss = nn.functional.cross_entropy(logits_BC, y_B.long(), reduction="sum")
        scores.update(loss, (logits_BC.argmax(1) == y_B).sum(), len(y_B))
        return logits_BC

    def evaluate_fused(
        self, x_NF: npt.NDArray[Any], labels_N: npt.NDArray[np.integer[Any]], *, with_logits: bool
    ) -> Evaluation:
        """Score jets, of any precision, with the fused engine, be it in a fit or after it."""
        if self.scorer is None:
            optimizer = self.make_optimizer(self.model.parameters())
            self.scorer = FusedTrainer(self.model, optimizer, loss=CrossEntropy(), seed=self.seed, plan=self.plan)
        return self.scorer.evaluate(np.asarray(x_NF, self.scorer.dtype), labels_N, with_logits=with_logits)

    def _end_split(self, scores: SplitScores, split: str) -> dict[str, float]:
        """An epoch's scores of a split, for the record."""
        loss, accuracy = scores.compute(self.trainer.strategy)
        scores.reset()
        ended = {f"{split}_loss": loss, f"{split}_acc": accuracy}
        self.latest |= ended
        return ended

    def _announce(self, scores: Mapping[str, float], *, to_loggers: bool) -> None:
        """Show scores to callbacks, and to the loggers at the last step taken.

        By hand: Lightning's own `log` takes longer than the fused engine needs for half an epoch of 70,000 jets.
        """
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in scores.items()})
        for logger in self.loggers if to_loggers else ():
            logger.log_metrics({**scores, "epoch": self.current_epoch}, step=self.trainer.global_step - 1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.model.parameters())
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule.start(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        if not self.automatic_optimization:  # FusedSteps steps it
            return [optimizer], [scheduler]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": scheduler,
                "interval": self.schedule.interval,
                "monitor": self.schedule.monitor,
                # Lightning shows ReduceLROnPlateau an epoch's score after the epoch's last checkpoint was saved, so a
                # resumed run would miss it; on_train_epoch_end does that in time.
                "frequency": sys.maxsize if isinstance(scheduler, ReduceLROnPlateau) else 1,
            },
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Sums over the epoch so far, so that a run resumed within an epoch reports the whole of it."""
        scores = self.train_scores
        checkpoint["train_scores"] = [float(scores.loss_sum), int(scores.num_correct), scores.num_jets]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "train_scores" in checkpoint:
            self.train_scores.reset()
            self.train_scores.update(*checkpoint["train_scores"])


for _step in (JetClassifier.training_step, JetClassifier.validation_step, JetClassifier.test_step):
    setattr(_step, "__signature__", inspect.signature(_step))  # noqa: B010  # Lightning asks for it at every batch
