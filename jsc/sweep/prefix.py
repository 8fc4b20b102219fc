"""Runs that begin alike: a run of 50 epochs goes on from the recorded run of 10 with the same settings.

Its weights and scores are those that it would have had alone; its seconds too count from its own first epoch.
"""

import io
import logging
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsc.cli.settings import TrainSettings, changes_length, values_where
from jsc.errors import ResultError
from jsc.results import (
    BEST_CHECKPOINT,
    CHECKPOINT_FOLDER,
    LAST_CHECKPOINT,
    METRICS_FILE,
    read_metrics,
    read_result,
    write_atomically,
)

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

_LAST_CHECKPOINT = "jsc.fit.checkpoint.LastCheckpoint"
# Callbacks to whom the fit's length makes no difference; to a user's own, or early stopping, it may.
_BLIND_CALLBACKS = (
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "jsc.fit.checkpoint.BestCheckpoint",
    _LAST_CHECKPOINT,
    "jsc.fit.progress.FitProgress",
)


def share_keys(settings: Sequence[TrainSettings]) -> list[str | None]:
    """The same key for those that train alike as far as both go, if `draws_nothing` is true of them; None for the rest.

    They differ in `trainer.max_epochs` alone.
    """
    keys = [_share_key(one) for one in settings]
    num_alike = Counter(keys)
    return [key if num_alike[key] > 1 else None for key in keys]


def draws_nothing(network: "nn.Module") -> bool:
    """Whether its layers' random numbers are counted by step, not drawn in sequence."""
    from jsc.engine import CannotLower, lower

    try:
        lower(network)
    except CannotLower:
        return False
    return True


def _share_key(settings: TrainSettings) -> str | None:
    """The same for runs that differ in `trainer.max_epochs` alone and train alike, if their layers let them.

    None where that is not certain: early stopping, callbacks of the user's own, a schedule that is told the fit's
    length, a fit that ends by steps or does not save its end.
    """
    callbacks = [c for c in settings.callbacks.values() if c is not None]
    last = settings.callbacks.get("last_checkpoint")
    best = settings.callbacks.get("best_checkpoint")
    if (
        any(callback.target not in _BLIND_CALLBACKS for callback in callbacks)
        or last is None
        or best is None
        or last.target != _LAST_CHECKPOINT
        or settings.scheduler.needs_total_steps
        or settings.trainer.max_steps != -1
        or settings.trainer.devices > 1
        or settings.trainer.accumulate_grad_batches > 1
    ):
        return None
    # A schedule that interpolates max_epochs (cosine's T_max) makes the keys differ.
    return repr(values_where(lambda key: not changes_length(key), settings))


def shorter_run(folders: Sequence[Path], max_epochs: int) -> Path | None:
    """Of runs with one share key, the longest that is recorded whole and shorter than `max_epochs`."""
    lengths = {}
    for folder in folders:
        try:
            result = read_result(folder)
            is_whole = len(read_metrics(folder)) == result.max_epochs
        except ResultError:
            continue
        checkpoints = folder / CHECKPOINT_FOLDER
        has_files = all((checkpoints / name).is_file() for name in (BEST_CHECKPOINT, LAST_CHECKPOINT))
        if result.status == "completed" and is_whole and has_files and result.max_epochs < max_epochs:
            lengths[folder] = result.max_epochs
    return max(lengths, key=lambda folder: lengths[folder], default=None)


def adopt_run(source: Path, target: Path, settings: TrainSettings) -> None:
    """Copy a shorter run into `target`, a run of `settings`, as if that had been interrupted there.

    `last.ckpt` comes last: without it the target starts from the beginning.
    """
    epochs = read_metrics(source)
    log.info("Epochs 1 to %d are those of %s: the same settings but for trainer.max_epochs.", len(epochs), source.name)
    shutil.copyfile(source / METRICS_FILE, target / METRICS_FILE)
    for events in sorted(source.glob("events.out.tfevents.*")):
        _copy_events(events, target / events.name)
    for name in (BEST_CHECKPOINT, LAST_CHECKPOINT):
        _copy_checkpoint(source, target, name, settings)


def _copy_checkpoint(source: Path, target: Path, name: str, settings: TrainSettings) -> None:
    import torch

    checkpoint = torch.load(source / CHECKPOINT_FOLDER / name, map_location="cpu", weights_only=True)
    checkpoint["hyper_parameters"]["settings"] = settings.model_dump(by_alias=True)
    checkpoint["callbacks"] = _moved(checkpoint["callbacks"], str(source), str(target))
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_atomically(target / CHECKPOINT_FOLDER / name, content.getvalue())


def _moved(value: Any, source: str, target: str) -> Any:
    """Paths within a callback's state, which ModelCheckpoint compares with its own."""
    if isinstance(value, dict):
        return {_moved(k, source, target): _moved(v, source, target) for k, v in value.items()}
    if isinstance(value, str) and (value == source or value.startswith(source + os.sep)):
        return target + value[len(source) :]
    return value


def _copy_events(source: Path, target: Path) -> None:
    """All but the shorter run's test scores, which are not this run's, and its hyperparameters."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    with target.open("wb") as file:
        writer = RecordWriter(file)
        for record in RawEventFileLoader(str(source)).Load():
            tags = [value.tag for value in Event.FromString(record).summary.value]
            if not any(tag.startswith(("test_", "_hparams_/")) for tag in tags):
                writer.write(record)
        writer.flush()
