"""What is trained: a network, its engine, its optimizer and schedule, as Lightning's module.

Shapes: B jets of a batch, F features, C classes.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from jsc.datasets.datamodule import Batch, TrainChunks
from jsc.fit.engine import Engine, Steps
from jsc.fit.generators import GeneratorStates, generator_states, restore_generators
from jsc.fit.schedule import Schedule

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class SplitScores:
    """Mean cross-entropy and accuracy over the jets of one split; sums are exact, whatever the batch sizes."""

    def __init__(self, sums_3: Sequence[float] = (0.0, 0.0, 0.0)) -> None:
        """`sums_3`: those of jets that came before, as jsc.fit.engine has them."""
        self.sums_3 = torch.tensor(sums_3, dtype=torch.float64)

    def update(self, sums_K3: Tensor) -> None:
        """Add jets by K parts' sums, one by one: the last digits do not depend on how the parts came."""
        self.sums_3 = torch.cat([self.sums_3.to(sums_K3.device)[None], sums_K3]).cumsum(0)[-1]

    def end(self, strategy: Strategy) -> tuple[float, float]:
        """(mean loss in nats, accuracy) over the jets of all processes, NaN without any; then begin anew."""
        sums_3 = strategy.reduce(self.sums_3.to(strategy.root_device), reduce_op="sum")
        self.sums_3 = torch.zeros_like(self.sums_3)
        loss_sum, num_correct, num_jets = sums_3.tolist()
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
        self._stored_generators: GeneratorStates = {}  # of the checkpoint that the fit goes on from

    def forward(self, x_BF: Tensor) -> Tensor:
        """Logits [B, C]."""
        logits_BC: Tensor = self.model(x_BF)
        return logits_BC

    def on_train_start(self) -> None:
        self.engine.start_fit(self.trainer)
        restore_generators(self._stored_generators, self.trainer.strategy.root_device)

    def training_step(self, batch: Batch | TrainChunks, batch_idx: int) -> Tensor | None:
        first_step = self.trainer.global_step
        steps, loss = self.engine.train(self.trainer, batch, batch_idx)
        if steps is not None:
            self._record(steps, first_step)
        return loss

    def _record(self, steps: Steps, first_step: int) -> None:
        self.train_scores.update(steps.sums_S3)
        self.num_jets_trained += steps.num_jets
        self.learning_rate = float(steps.rates_S[-1])
        every = int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]  # set in Trainer.__init__
        logged = slice(every - 1 - first_step % every, None, every)
        points = range(first_step, first_step + len(steps.rates_S))[logged]
        sums = steps.sums_S3[logged].tolist() if points else []  # to read them waits for a GPU
        for step, (loss_sum, num_correct, num_jets), rate in zip(points, sums, steps.rates_S[logged], strict=True):
            scores = {"train_loss_step": loss_sum / num_jets, "train_acc_step": num_correct / num_jets}
            for logger in self.loggers:
                logger.log_metrics(scores | {"lr": float(rate)}, step=step)

    def on_train_epoch_end(self) -> None:
        # To callbacks alone: train_loss_step and train_acc_step are on the loggers' axis of steps already.
        self._show(self._end_split(self.train_scores, "train"))
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            assert self.schedule is not None
            assert self.schedule.monitor is not None, "ReduceLROnPlateau needs a monitor"
            scheduler.step(self.trainer.callback_metrics[self.schedule.monitor])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        sums_3, _ = self.engine.score(*batch)
        self.val_scores.update(sums_3[None])

    def on_validation_epoch_end(self) -> None:
        scores = {f"{name}_epoch": value for name, value in self._end_split(self.val_scores, "val").items()}
        self._show(scores)
        for logger in self.loggers:
            logger.log_metrics({**scores, "epoch": self.current_epoch}, step=self.trainer.global_step - 1)

    def _end_split(self, scores: SplitScores, split: str) -> dict[str, float]:
        """An epoch's scores of a split, for the record."""
        ended = dict(zip((f"{split}_loss", f"{split}_acc"), scores.end(self.trainer.strategy), strict=True))
        self.latest |= ended
        return ended

    def _show(self, scores: Mapping[str, float]) -> None:
        """Show scores to callbacks; Lightning's own `log` takes as long as the fused engine for half an epoch."""
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in scores.items()})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.model.parameters())
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule.start(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        if not self.automatic_optimization:  # the engine steps it
            return [optimizer], [scheduler]
        # Lightning shows ReduceLROnPlateau an epoch's score after the epoch's last checkpoint was saved, so a resumed
        # run would miss it; on_train_epoch_end does that in time.
        frequency = sys.maxsize if isinstance(scheduler, ReduceLROnPlateau) else 1
        told = {"interval": self.schedule.interval, "monitor": self.schedule.monitor, "frequency": frequency}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **told}}  # type: ignore[return-value]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Sums over the epoch so far, and the generators' states: a run resumed here ends as if it had not stopped."""
        checkpoint["train_scores"] = self.train_scores.sums_3.tolist()
        checkpoint["generators"] = generator_states(self.trainer.strategy.root_device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.train_scores = SplitScores(checkpoint.get("train_scores", (0.0, 0.0, 0.0)))
        self._stored_generators = checkpoint.get("generators", {})
