"""Writes a run's `metrics.csv` as the run goes, and ends a fit that has diverged."""

import math
import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from jsc.fit.task import JetClassifier
from jsc.results import METRICS_FILE, EpochMetrics, append_metrics, read_metrics, write_metrics


class EpochRecorder(Checkpoint):
    """One row an epoch. Also logs its `jets_per_second`: as jsc.results says, the speed of training alone.

    It is a Checkpoint because Lightning calls those after the module's own hooks, when an epoch's scores are known.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seconds_before = 0.0  # of fitting before this process resumed
        self._fit_started = self._epoch_started = self._validation_started = 0.0
        self._validation_seconds = 0.0
        self._jets_before = 0  # trained when the epoch started

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        before: list[EpochMetrics] = []
        if trainer.current_epoch > 0 and (self.folder / METRICS_FILE).is_file():
            before = [row for row in read_metrics(self.folder) if row.epoch < trainer.current_epoch]
            self._seconds_before = before[-1].seconds if before else 0.0
        if trainer.is_global_zero:
            write_metrics(self.folder, before)
        self._fit_started = self._epoch_started = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, JetClassifier)
        self._epoch_started = time.perf_counter()
        self._validation_seconds = 0.0
        self._jets_before = pl_module.num_jets_trained

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation_seconds += time.perf_counter() - self._validation_started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, JetClassifier)
        now = time.perf_counter()
        training_seconds = now - self._epoch_started - self._validation_seconds
        num_jets = (pl_module.num_jets_trained - self._jets_before) * trainer.world_size
        speed = {"jets_per_second": num_jets / training_seconds}
        for logger in trainer.loggers:
            logger.log_metrics(speed, step=trainer.global_step - 1)
        latest = pl_module.latest
        if trainer.is_global_zero:
            row = EpochMetrics(
                epoch=trainer.current_epoch,
                step=trainer.global_step,
                lr=pl_module.learning_rate,
                train_loss=latest["train_loss"],
                train_acc=latest["train_acc"],
                val_loss=latest.get("val_loss"),
                val_acc=latest.get("val_acc"),
                **speed,
                seconds=self._seconds_before + now - self._fit_started,
            )
            append_metrics(self.folder, row)
        trainer.should_stop = trainer.should_stop or not math.isfinite(latest["train_loss"])
        latest.clear()  # the next epoch may not be validated
