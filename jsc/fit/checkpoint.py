"""Checkpoints: ours written whole or not at all, and ours and others' read without running code from them."""

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import safetensors.torch
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from jsc.errors import CheckpointError
from jsc.results import BEST_CHECKPOINT, write_atomically

READABLE = (
    "a run's folder, a .ckpt, or weights alone: a .pt or .pth that torch.save(network.state_dict(), PATH) wrote, or a "
    ".safetensors file"
)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, put in place by one rename: a killed run leaves the previous one whole.

    With `best_waits`, best.ckpt stays in memory until another checkpoint is saved or the fit ends: a tiny network
    betters it in most epochs, and a warm job of 20 epochs takes 137 ms of a core if each is written, 118 if it waits
    (measured 2026-11-25). last.ckpt never knows of a best.ckpt that is not on the disk.
    """

    def __init__(self, *, best_waits: bool = False) -> None:
        super().__init__()
        self._best_waits = best_waits
        self._waiting: tuple[dict[str, Any], Path] | None = None
        self.best: StoredModel | None = None  # what best.ckpt holds, or will, if it was kept in memory here

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        path = Path(path)
        if self._best_waits and path.name == BEST_CHECKPOINT:
            self._waiting = _snapshot(checkpoint), path
            self.best = stored_model(self._waiting[0])
        else:
            self._write_waiting()
            _write(checkpoint, path)

    def teardown(self) -> None:
        self._write_waiting()

    def _write_waiting(self) -> None:
        if self._waiting is not None:
            _write(*self._waiting)
            self._waiting = None


def _snapshot(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What training changes is copied, in a fifth of the time of copy.deepcopy."""
    settled = ("hyper_parameters", "loops")  # the one never changes, the other is made anew for each checkpoint
    return {key: value if key in settled else _copied(value) for key, value in checkpoint.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(v) for key, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_atomically(path, content.getvalue(), durable=False)


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`: that of the best score so far, the one that callbacks see under the name `monitor`.

    Raises ValueError if `mode` would keep the worst accuracy or the highest loss.
    """

    def __init__(self, *, monitor: str, mode: str) -> None:
        better = {"loss": "min", "acc": "max"}
        expected = next((direction for name, direction in better.items() if name in monitor.split("_")), mode)
        if mode != expected:
            raise ValueError(f"mode={mode} keeps the worst {monitor}; give mode={expected} with it")
        super().__init__(filename="best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False)


class LastCheckpoint(ModelCheckpoint):
    """`last.ckpt`, from which a killed run goes on: after the last epoch, and now and then before.

    An epoch of a tiny network is shorter than the writing of a checkpoint. At most `seconds_between` and one epoch's
    work are lost.
    """

    def __init__(self, *, seconds_between: float) -> None:
        super().__init__(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.seconds_between = seconds_between
        self._next_save = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._next_save = time.monotonic() + self.seconds_between

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert trainer.max_epochs is not None
        is_last = (
            trainer.should_stop
            or trainer.current_epoch + 1 >= trainer.max_epochs
            or 0 <= trainer.max_steps <= trainer.global_step
        )
        # Processes that train together save together.
        if trainer.strategy.broadcast(is_last or time.monotonic() >= self._next_save):
            for logger in trainer.loggers:
                logger.save()  # a run that goes on from here has what it logged before
            super().on_train_epoch_end(trainer, pl_module)
            self._next_save = time.monotonic() + self.seconds_between


@dataclass(frozen=True)
class StoredModel:
    """Weights, and for a checkpoint of jsc's the hyperparameters and the epoch, counted from 0, that they are of."""

    weights: dict[str, Tensor]
    hyper_parameters: dict[str, Any] | None = None
    epoch: int | None = None


def read_checkpoint(path: Path) -> StoredModel:
    """Read a Lightning checkpoint (.ckpt), a plain state dict (.pt, .pth) or a .safetensors file, on the CPU.

    Raises CheckpointError.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; give {READABLE}")
    try:
        if path.suffix == ".safetensors":
            return StoredModel(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the readers raise; torch's own words advise to run code from the file
        raise CheckpointError(f"{path}: not a readable checkpoint, or one cut short; give {READABLE}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return stored_model(content)


def stored_model(content: Mapping[str, Any]) -> StoredModel:
    """What there is to know of a model in a Lightning checkpoint or a plain state dict."""
    if "state_dict" not in content:
        return StoredModel(dict(content))
    hyper_parameters = content.get("hyper_parameters")
    if not isinstance(hyper_parameters, Mapping) or "settings" not in hyper_parameters:  # not one of ours
        return StoredModel(dict(content["state_dict"]))
    return StoredModel(dict(content["state_dict"]), dict(hyper_parameters), int(content["epoch"]))


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights whose names may all bear a prefix ("model.", MASE's "model.seq_blocks."), in place.

    Raises CheckpointError if a name or a shape does not fit.
    """
    expected = model.state_dict()
    some_name = next(iter(expected))
    prefixes = {name.removesuffix(some_name) for name in weights if name.endswith(some_name)}
    prefix = min(prefixes, key=len, default="")
    stripped = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    missing, unknown = sorted(expected.keys() - stripped.keys()), sorted(stripped.keys() - expected.keys())
    misshapen = [
        f"{name} is {tuple(stripped[name].shape)} there and {tuple(expected[name].shape)} in the model"
        for name in expected
        if name in stripped and stripped[name].shape != expected[name].shape
    ]
    faults = [*misshapen, *(f"{n} is missing" for n in missing), *(f"{n} is unknown" for n in unknown)]
    if faults:
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(faults[:6])}. Give the right one with model=")
    model.load_state_dict(stripped)
