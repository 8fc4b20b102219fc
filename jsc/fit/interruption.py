"""Ctrl-C and SIGTERM, taken at a moment from which a run can go on as if nothing had happened."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint


class Interrupted(KeyboardInterrupt):
    """The fit was asked to stop, and `last.ckpt` holds where it was."""


class StopOnSignal(Checkpoint):
    """Finishes the optimizer step under way, saves `checkpoint`, and raises Interrupted. A second Ctrl-C stops at once.

    SIGTERM comes from programs, more than once from some (Slurm), and the first is enough.

    It is a Checkpoint because Lightning calls those at an epoch's very end; it goes behind the EpochRecorder.
    """

    takes_chunks = True

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._handlers = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            self._restore()
            raise KeyboardInterrupt
        self.received = number

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        # After an epoch's last batch its validation and records come first, or a resumed run would go without them;
        # and gradients that wait for further batches are not in a checkpoint.
        is_last, batch_idx = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch, rest[-1]
        if not is_last and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        if self.received is not None:
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted(f"stopped by {signal.Signals(self.received).name}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())
