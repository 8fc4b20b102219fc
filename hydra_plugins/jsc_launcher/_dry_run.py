"""`sweep.dry_run=true`: the jobs, their folders, and how long they will take, from one measured epoch each kind."""

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hydra_plugins.jsc_launcher._display import duration
from jsc import console
from jsc.prefix import share_key
from jsc.results import read_metrics
from jsc.settings import TrainSettings
from jsc.sweep import Job, check_folders

log = logging.getLogger(__name__)


def dry_run(folder: Path, jobs: Sequence[Job], settings: Sequence[TrainSettings], *, num_workers: int) -> None:
    """Print the plan and leave nothing behind."""
    check_folders(jobs)
    seconds = [epoch_seconds(s) * epochs for s, epochs in zip(settings, epochs_to_train(settings), strict=True)]
    rows = [
        (job.num, job.folder.name, "done" if job.is_finished() else duration(time) if time >= 1 else f"{time:.2f} s")
        for job, time in zip(jobs, seconds, strict=True)
    ]
    left = sum(time for job, time in zip(jobs, seconds, strict=True) if not job.is_finished())
    log.info(console.table(f"Jobs in {os.path.relpath(folder)}", ("job", "folder", "training"), rows))
    log.info(
        "%d jobs, %s of training on one core, about %s on %d; from one measured epoch of each network and batch size. "
        "Nothing was trained.",
        len(jobs), duration(left), duration(left / min(num_workers, len(jobs))), min(num_workers, len(jobs)),
    )  # fmt: skip
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {
        "multirun.yaml"
    }:  # the sweeper's, before it asked
        (folder / "multirun.yaml").unlink(missing_ok=True)
        folder.rmdir()


def epochs_to_train(settings: Sequence[TrainSettings]) -> list[int]:
    """Each job's epochs, less those that it takes over from a shorter one."""
    trained: dict[str, int] = {}
    epochs = [0] * len(settings)
    for i in sorted(range(len(settings)), key=lambda i: settings[i].trainer.max_epochs):
        length, key = settings[i].trainer.max_epochs, share_key(settings[i])
        epochs[i] = length - (trained.get(key, 0) if key is not None else 0)
        if key is not None:
            trained[key] = length
    return epochs


_measured: dict[str, float] = {}


def epoch_seconds(settings: TrainSettings) -> float:
    """One epoch's, measured once for each network, data set, batch size, optimizer and engine; the first warms up."""
    from jsc.training import train

    trainer = settings.trainer.model_copy(update={"max_epochs": 2})
    key = repr((settings.model, settings.dataset, trainer, settings.engine, settings.optimizer.name))
    if key not in _measured:
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.WARNING)
        try:
            with tempfile.TemporaryDirectory() as folder:
                quiet = {"trainer": trainer, "callbacks": {**settings.callbacks, "progress": None}, "logger": {}}
                train(settings.model_copy(update=quiet), folder=Path(folder), command="")
                seconds = [row.seconds for row in read_metrics(Path(folder))]
        finally:
            root.setLevel(level)
        _measured[key] = seconds[-1] - seconds[0] if len(seconds) > 1 else seconds[-1]
    return _measured[key]
