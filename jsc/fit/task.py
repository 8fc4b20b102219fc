"""What is trained: a network, its engine, its optimizer and schedule, as Lightning's module.

Shapes: B jets of a batch, N jets, S optimizer steps, F features, C classes.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ParallelStrategy, Strategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from jsc.datasets.datamodule import Batch, RestOfEpoch
from jsc.fit.engine import Engine, Steps
from jsc.fit.generators import GeneratorStates, restore_generators, states_of_all
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

    def update(self, loss_sums_K: Tensor, num_correct_K: Tensor, num_jets: int) -> None:
        """Add jets, in K parts: the sum of their losses (float64 [K]), and how many were predicted correctly ([K])."""
        # One by one, so that the last digits do not depend on how the parts came.
        self.loss_sum = torch.cat([torch.zeros_like(loss_sums_K[:1]) + self.loss_sum, loss_sums_K]).cumsum(0)[-1]
        self.num_correct = self.num_correct + num_correct_K.sum()
        self.num_jets += num_jets

    def compute(self, strategy: Strategy) -> tuple[float, float]:
        """(mean loss in nats, accuracy) over the jets of all processes; NaN without any."""
        loss_sum, num_correct, num_jets = float(self.loss_sum), float(self.num_correct), float(self.num_jets)
        if isinstance(strategy, ParallelStrategy):
            here = torch.tensor([loss_sum, num_correct, num_jets], dtype=torch.float64, device=strategy.root_device)
            loss_sum, num_correct, num_jets = strategy.reduce(here, reduce_op="sum").tolist()
        return (loss_sum / num_jets, num_correct / num_jets) if num_jets else (math.nan, math.nan)


class JetClassifier(pl.LightningModule):
    """Trains `model` with an engine and shows its scores to callbacks and loggers.

    The engine's loss shapes training alone: validation losses are plain mean cross-entropies, so that they compare
    between runs. `hyper_parameters`, plain values, travel in every checkpoint, and so do the generators' states.
    """

    def __init__(
        self,
        model: nn.Module,
        engine: Engine,
        *,
        make_optimizer: MakeOptimizer,
        schedule: Schedule | None = None,
        hyper_parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.engine = engine
        self.make_optimizer = make_optimizer
        self.schedule = schedule
        self.save_hyperparameters(dict(hyper_parameters or {}), logger=False)
        self.automatic_optimization = not engine.takes_chunks
        self.train_scores, self.val_scores = SplitScores(), SplitScores()
        self.latest: dict[str, float] = {}  # the last train_loss, val_acc, ... in full precision
        self.learning_rate = 0.0  # of the last optimizer step
        self.num_jets_trained = 0  # by this process
        self._stored_generators: list[GeneratorStates] = []  # of the checkpoint that the fit goes on from, by rank

    def forward(self, x_BF: Tensor) -> Tensor:
        """Logits [B, C]."""
        logits_BC: Tensor = self.model(x_BF)
        return logits_BC

    def on_train_start(self) -> None:
        self.engine.start_fit(self.trainer)
        if self.trainer.global_rank < len(self._stored_generators):
            restore_generators(self._stored_generators[self.trainer.global_rank], self.trainer.strategy.root_device)

    def training_step(self, batch: Batch | RestOfEpoch, batch_idx: int) -> Tensor | None:
        first_step = self.trainer.global_step
        steps, loss = self.engine.train(self.trainer, batch, batch_idx)
        if steps is not None:
            self._record(steps, first_step)
        return loss

    def _record(self, steps: Steps, first_step: int) -> None:
        num_jets = int(steps.num_jets_S.sum())
        self.train_scores.update(steps.loss_sums_S, steps.num_correct_S, num_jets)
        self.num_jets_trained += num_jets
        self.learning_rate = float(steps.rates_S[-1])
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]  # set in Trainer.__init__
        logged = slice(every - 1 - first_step % every, None, every)
        points = range(first_step, first_step + len(steps.rates_S))[logged]
        if points:
            sizes_S = steps.num_jets_S[logged]
            columns = {
                "train_loss_step": steps.loss_sums_S[logged].cpu().numpy() / sizes_S,
                "train_acc_step": steps.num_correct_S[logged].cpu().numpy() / sizes_S,
                "lr": steps.rates_S[logged],
            }
            self._log_points({name: column.tolist() for name, column in columns.items()}, points)

    def _log_points(self, columns: Mapping[str, Sequence[float]], steps: Sequence[int]) -> None:
        """Send values of optimizer steps to the loggers, each at its own place on the x-axis."""
        for logger in self.loggers:
            if hasattr(
                logger, "log_points"
            ):  # jsc.fit.tensorboard, which loads TensorBoard and so is not imported here
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

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        scores = self.engine.score(*batch)
        self.val_scores.update(scores.loss_sum, scores.num_correct, len(batch[1]))

    def on_validation_epoch_end(self) -> None:
        scores = self._end_split(self.val_scores, "val")
        self._announce({f"{name}_epoch": value for name, value in scores.items()}, to_loggers=True)

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
        if not self.automatic_optimization:  # the engine steps it
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
        """Sums over the epoch so far, and the generators' states, so that a run resumed here ends as if it had not."""
        scores = self.train_scores
        checkpoint["train_scores"] = [float(scores.loss_sum), int(scores.num_correct), scores.num_jets]
        checkpoint["generators"] = states_of_all(self.trainer.strategy.root_device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._stored_generators = checkpoint.get("generators", [])
        if "train_scores" in checkpoint:
            loss_sum, num_correct, num_jets = checkpoint["train_scores"]
            self.train_scores.loss_sum, self.train_scores.num_correct = loss_sum, num_correct
            self.train_scores.num_jets = num_jets
