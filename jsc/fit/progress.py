"""One progress line for a whole fit: epoch, steps, time left and the latest validation accuracy."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jsc.fit.task import JetClassifier

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal to draw on


class FitProgress(Callback):
    """A bar on a terminal; elsewhere a line now and then."""

    takes_chunks = True

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._last_line = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_line = time.monotonic()
        if trainer.is_global_zero and sys.stdout.isatty():
            steps, left = TextColumn("steps"), TextColumn("left")
            columns = (BarColumn(None), MofNCompleteColumn(), steps, TimeElapsedColumn(), left, TimeRemainingColumn())
            self._bar = Progress(TextColumn("{task.description}"), *columns, transient=True)
            self._bar.add_task(self._describe(trainer, pl_module), total=int(trainer.estimated_stepping_batches))
            self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        description = self._describe(trainer, pl_module)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=description)
        elif trainer.is_global_zero and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            log.info("%s, step %d", description, trainer.global_step)

    @staticmethod
    def _describe(trainer: pl.Trainer, pl_module: pl.LightningModule) -> str:
        assert isinstance(pl_module, JetClassifier)
        accuracy = pl_module.latest.get("val_acc")
        score = f", validation accuracy {accuracy:.4f}" if accuracy is not None else ""
        return f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}{score}"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
