"""One run from settings to its record: build, fit, test the best checkpoint, write `result.json`."""

import importlib.metadata
import logging
import math
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from jsc import __version__, results
from jsc.cli import console
from jsc.cli.settings import TrainSettings
from jsc.cli.trust import to_name_again
from jsc.datasets.datamodule import JetDataModule
from jsc.datasets.epoch_order import EpochOrder
from jsc.fit.checkpoint import AtomicCheckpointIO, StoredModel, load_weights, read_checkpoint
from jsc.fit.generators import restore_generators
from jsc.fit.hparams import hyper_parameters, register_end, register_run
from jsc.fit.tensorboard import RunLogger
from jsc.models import num_parameters
from jsc.results import EpochMetrics, RunResult, Status, TestResult, from_here, write_record
from jsc.run.assembly import Prepared, prepare
from jsc.run.testing import score_model

log = logging.getLogger(__name__)

PACKAGES = ("torch", "pytorch-lightning", "hydra-core")


def train(
    settings: TrainSettings, *, folder: Path, command: str, resume_from: Path | None = None, varied: Sequence[str] = ()
) -> RunResult:
    """Prepare, train, test and record one run in `folder`. `varied`: keys by which a reader tells it from others.

    Raises whatever ended it, KeyboardInterrupt included, after the record was written.
    """
    return _recorded(Run(settings, folder, command), resume_from, varied)


def train_prepared(
    prepared: Prepared, *, command: str, resume_from: Path | None = None, varied: Sequence[str] = ()
) -> RunResult:
    """Train, test and record a run that was prepared before; as `train` does."""
    run = Run(prepared.settings, prepared.folder, command, clock=prepared.clock, prepared=prepared)
    return _recorded(run, resume_from, varied)


@dataclass
class Run:
    """What is known of a run so far; `record` may be called before its fit and after it."""

    settings: TrainSettings
    folder: Path
    command: str
    started_at: str = field(default_factory=lambda: datetime.now().astimezone().isoformat(timespec="seconds"))
    clock: float = field(default_factory=time.perf_counter)  # when it began
    prepared: Prepared | None = None
    device: str = "cpu"
    fit_seconds: float = 0.0
    test: TestResult | None = None
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        """Say it now, and in the record."""
        log.warning(message)
        self.warnings.append(message)

    @property
    def best_checkpoint(self) -> Path:
        return self.folder / results.CHECKPOINT_FOLDER / results.BEST_CHECKPOINT

    @cached_property
    def epochs(self) -> list[EpochMetrics]:
        """Those recorded so far; to be asked for when the fit has ended."""
        return epochs_in(self.folder)

    @cached_property
    def best(self) -> StoredModel | None:
        """What best.ckpt holds; to be asked for when the fit has ended."""
        return read_checkpoint(self.best_checkpoint) if self.best_checkpoint.is_file() else None

    @property
    def best_epoch(self) -> EpochMetrics | None:
        """The one that best.ckpt is of; None without one, or if its validation loss is no number."""
        epoch = None if self.best is None else self.best.epoch
        rows = [e for e in self.epochs if e.epoch == epoch and e.val_loss is not None and math.isfinite(e.val_loss)]
        return rows[0] if rows else None

    def record(self, status: Status, error: str | None = None) -> RunResult:
        """`result.json`; its training and validation scores are those of the best epoch, the one that is tested.

        If none was, they are the last epoch's.
        """
        settings, prepared, epochs = self.settings, self.prepared, self.epochs
        jets, best = prepared and prepared.jets, self.best_epoch
        speeds = [e.jets_per_second for e in epochs if e.jets_per_second is not None]
        checkpoints = [self.best_checkpoint, self.best_checkpoint.with_name(results.LAST_CHECKPOINT)]
        checkpoint_best, checkpoint_last = (from_here(path) if path.is_file() else None for path in checkpoints)
        return RunResult(
            status=status,
            error=error,
            model=settings.model.name,
            num_parameters=num_parameters(prepared.task.model) if prepared else None,
            dataset=settings.dataset.name,
            dataset_variant=jets.variant if jets else None,
            dataset_sha256=jets.sha256 if jets else None,
            **fields_of(jets, "num_train", "num_val", "num_test"),
            optimizer=settings.optimizer.name,
            **fields_of(settings.optimizer, "lr", "weight_decay"),
            scheduler=settings.scheduler.name,
            batch_size=settings.dataset.batch_size,
            max_epochs=settings.trainer.max_epochs,
            epochs_run=len(epochs),
            seed=settings.seed,
            engine=prepared.task.engine.name if prepared else "torch",
            device=self.device,
            **fields_of(best or (epochs[-1] if epochs else None), "train_loss", "train_acc", "val_loss", "val_acc"),
            **fields_of(self.test, "test_loss", "test_acc"),
            never_predicted=self.test.never_predicted if self.test else [],
            best_epoch=best.epoch if best else None,
            fit_seconds=self.fit_seconds,
            total_seconds=time.perf_counter() - self.clock,
            jets_per_second=len(speeds) / sum(1 / speed for speed in speeds) if speeds else None,
            checkpoint_best=checkpoint_best,
            checkpoint_last=checkpoint_last,
            command=self.command,
            versions=versions(),
            **fields_of(self, "started_at", "warnings"),
            host=platform.node(),
        )


def fields_of(record: object, *names: str) -> dict[str, Any]:
    """Fields that two records share; None stands for each where there is no record."""
    return {name: getattr(record, name, None) for name in names}


def epochs_in(folder: Path) -> list[EpochMetrics]:
    """A run's epochs so far; none before its first."""
    return results.read_metrics(folder) if (folder / results.METRICS_FILE).is_file() else []


@cache
def versions() -> dict[str, str]:
    """Of what a run's numbers depend on."""
    packages = {name.replace("-", "_"): importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "jsc": __version__, **packages}


def _recorded(run: Run, resume_from: Path | None, varied: Sequence[str]) -> RunResult:
    """Train and test; the record says how it ended, whatever happens."""
    try:
        run.prepared = prepared = run.prepared or prepare(run.settings, run.folder)
        status = fit(run, prepared, resume_from, varied)
        if run.best_epoch is not None:
            test_best(run, prepared, ended_well=status != "diverged")
        elif status != "diverged":
            run.warn("No epoch ended with a validation loss and a best.ckpt: nothing was tested.")
    except KeyboardInterrupt:
        write_record(run.folder / results.RESULT_FILE, run.record("interrupted", "interrupted by its user"))
        again = to_name_again(shlex.split(run.command))
        log.warning("Interrupted. To go on: python -m jsc.train resume='%s'%s", from_here(run.folder), again)
        raise
    except Exception as error:
        write_record(run.folder / results.RESULT_FILE, run.record("failed", f"{type(error).__name__}: {error}"))
        raise
    finally:
        for logger in run.prepared.trainer.loggers if run.prepared else ():
            if isinstance(logger, RunLogger):
                logger.close()
    result = run.record(status)
    results.make_durable(run.folder)
    write_record(run.folder / results.RESULT_FILE, result)
    log.info(console.result_table(result))
    return result


def fit(run: Run, prepared: Prepared, resume_from: Path | None, varied: Sequence[str]) -> Status:
    """Train to the end that the settings name, or to a loss that is no number."""
    settings, jets, task, trainer = prepared.settings, prepared.jets, prepared.task, prepared.trainer
    torch.set_num_threads(settings.trainer.num_threads)
    if trainer.world_size > 1:
        pl.seed_everything(settings.seed, verbose=False)  # which the processes that it starts find in the environment
    restore_generators(prepared.generators)  # another run may have been prepared since
    device = trainer.strategy.root_device
    run.device = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    log.info(
        "%s with %s parameters on %s; %s (%s): %s jets to train, %s to validate, %s to test",
        settings.model.name, f"{num_parameters(task.model):,}", run.device, settings.dataset.name, jets.variant,
        *(f"{n:,}" for n in (jets.num_train, jets.num_val, jets.num_test)),
    )  # fmt: skip
    log.info("engine: %s%s", task.engine.name, f" ({task.engine.reason})" if task.engine.reason else "")
    for logger in trainer.loggers:
        register_run(logger, hyper_parameters(settings), varied)
    earlier_epochs: list[EpochMetrics] = []
    if resume_from is not None:
        check_same_jets(run, prepared, resume_from)
        earlier_epochs = epochs_in(run.folder)
    data = JetDataModule(
        jets, batch_size=settings.dataset.batch_size, seed=settings.seed, in_chunks=task.engine.takes_chunks
    )
    task.engine.load()
    EpochOrder(1, seed=0).rows_N()  # compiled, or loaded, before the clock starts
    started = time.perf_counter()
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resume_from, weights_only=True)
    except SystemExit as ended:  # what Lightning makes of a KeyboardInterrupt
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise ended.__context__ from None
        raise
    finally:
        run.fit_seconds = time.perf_counter() - started + (earlier_epochs[-1].seconds if earlier_epochs else 0.0)
    if isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO):
        run.best = trainer.strategy.checkpoint_io.best or run.best  # to read it takes as long as half an epoch
    last = run.epochs[-1] if run.epochs else None
    if last is not None and last.train_loss is not None and not math.isfinite(last.train_loss):
        run.warn(f"The training loss became {last.train_loss} in epoch {last.epoch}: try a smaller optimizer.lr.")
        return "diverged"
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return "completed"
    return "completed" if len(run.epochs) >= settings.trainer.max_epochs else "stopped_early"


def check_same_jets(run: Run, prepared: Prepared, checkpoint: Path) -> None:
    """Warn, in the record too, if a run goes on with other jets than it began with."""
    before, jets = read_checkpoint(checkpoint).hyper_parameters or {}, prepared.jets
    if before.get("dataset_sha256") != jets.sha256:
        run.warn(
            f"The run began on jets of variant {before.get('dataset_variant')}, SHA-256 {before.get('dataset_sha256')} "
            f"and goes on with variant {jets.variant}, SHA-256 {jets.sha256}: its scores belong to neither."
        )


def test_best(run: Run, prepared: Prepared, *, ended_well: bool) -> None:
    """Score the test split once, with the weights of the lowest validation loss."""
    assert run.best is not None
    task, settings = prepared.task, prepared.settings
    load_weights(task.model, run.best.weights, run.best_checkpoint)
    run.test = score_model(
        task.model,
        task.engine,
        prepared.jets,
        checkpoint=run.best_checkpoint,
        model_name=settings.model.name,
        dataset_name=settings.dataset.name,
        accelerator=settings.trainer.accelerator,
        precision=settings.trainer.precision,
    )
    scores = {"test_loss_epoch": run.test.test_loss, "test_acc_epoch": run.test.test_acc}
    for logger in prepared.trainer.loggers:
        logger.log_metrics(scores, step=run.epochs[-1].step - 1)
        if ended_well:
            register_end(logger)
        logger.finalize("success")
    for warning in run.test.warnings:
        run.warn(warning)
