"""From settings to the objects of a run, built once: what cannot be built is said before there is a folder."""

import difflib
import math
import pkgutil
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from jsc.cli.construction import check_kind, construct
from jsc.cli.explanation import nearest
from jsc.cli.settings import (
    DatasetSettings,
    ModelSettings,
    OptimizerSettings,
    SchedulerSettings,
    TrainerSettings,
    TrainSettings,
)
from jsc.datasets import JetSource, PreparedJets, load_jets
from jsc.engine import CannotLower, CrossEntropy, lower, lower_optimizer
from jsc.errors import CommandError
from jsc.fit.checkpoint import AtomicCheckpointIO, LastCheckpoint
from jsc.fit.engine import Engine, FusedEngine, TorchEngine, why_each_batch
from jsc.fit.generators import GeneratorStates, generator_states
from jsc.fit.interruption import StopOnSignal
from jsc.fit.lightning_noise import quieten_lightning
from jsc.fit.recorder import EpochRecorder
from jsc.fit.schedule import Schedule
from jsc.fit.task import JetClassifier
from jsc.models import build_model, find_model, is_traceable
from jsc.models.plugins import import_plugins
from jsc.results import CHECKPOINT_FOLDER, LAST_CHECKPOINT


@dataclass(frozen=True)
class Prepared:
    """A run that can begin, once: all is built and checked, and nothing is written yet.

    `generators` are as they were when the weights had been drawn.
    """

    settings: TrainSettings
    folder: Path
    jets: PreparedJets
    task: JetClassifier
    trainer: pl.Trainer
    generators: GeneratorStates
    clock: float  # when its preparation began


def prepare(settings: TrainSettings, folder: Path) -> Prepared:
    """Build what a run needs that will write into `folder`; weights are drawn by the run's seed.

    Raises CommandError, DatasetError or ValueError if that cannot be.
    """
    clock = time.perf_counter()
    import_plugins(settings.plugins)
    check_machine(settings.trainer)
    check_monitors(settings)
    pl.seed_everything(settings.seed, verbose=False)
    jets = jets_of(settings.dataset)
    check_class_weights(settings.loss.class_weights, jets)
    network = build_network(settings.model, jets)
    generators = generator_states()
    if settings.trainer.precision == "64-true":
        network.double()  # Lightning would do so only after it had read a checkpoint's weights into float32
    with _lightnings_words():
        callbacks: list[Callback] = [construct(c, Callback) for c in settings.callbacks.values() if c is not None]
    schedule = build_schedule(settings.scheduler)
    engine = choose_engine(settings, network, schedule, callbacks)
    task = JetClassifier(
        network,
        engine,
        make_optimizer=partial(build_optimizer, settings.optimizer),
        schedule=schedule,
        hyper_parameters={"settings": settings.model_dump(by_alias=True), **described(jets)},
    )
    with _lightnings_words():
        trainer = build_trainer(settings, engine, folder, callbacks)
    return Prepared(settings, folder, jets, task, trainer, generators, clock)


def jets_of(settings: DatasetSettings) -> PreparedJets:
    """A data set, ready to train on; read once a process, however many jobs train on it. Raises DatasetError."""
    key = settings.model_dump_json(by_alias=True, exclude={"batch_size"})
    if key not in _jets:
        _jets[key] = load_jets(construct(settings, JetSource))
    return _jets[key]


_jets: dict[str, PreparedJets] = {}


def described(jets: PreparedJets) -> dict[str, Any]:
    """What a checkpoint says of the jets that it was trained on, in plain values."""
    return {
        "num_features": jets.num_features,
        "num_classes": jets.num_classes,
        "feature_names": list(jets.feature_names),
        "class_names": list(jets.class_names),
        "feature_mean": jets.mean_F.tolist(),
        "feature_std": jets.std_F.tolist(),
        "dataset_variant": jets.variant,
        "dataset_sha256": jets.sha256,
    }


def build_network(settings: ModelSettings, jets: PreparedJets) -> nn.Module:
    """A registered network of the jets' sizes, drawn from torch's generator. Raises ValueError on wrong options."""
    sizes = {"num_features": jets.num_features, "num_classes": jets.num_classes}
    return build_model(settings.name, options=settings.options, **sizes)


def build_optimizer(settings: OptimizerSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Raises CommandError with the optimizer's own words."""
    try:
        optimizer: torch.optim.Optimizer = construct(settings, torch.optim.Optimizer, params=parameters)
    except LookupError as error:  # torch checks what betas are, not how many
        raise CommandError(f"optimizer {_told(settings.name, settings.arguments)}: {error}") from error
    return optimizer


def build_schedule(settings: SchedulerSettings) -> Schedule | None:
    """None for a constant learning rate."""
    if settings.target is None:
        return None
    try:
        check_kind(settings.target, LRScheduler)
    except (AttributeError, ImportError, ValueError) as error:
        raise CommandError(f"scheduler {settings.name}: {error}") from error
    return Schedule(
        make=partial(pkgutil.resolve_name(settings.target), **(settings.model_extra or {})),
        interval=settings.interval,
        monitor=settings.monitor,
        needs_total_steps=settings.needs_total_steps,
    )


def choose_engine(
    settings: TrainSettings, network: nn.Module, schedule: Schedule | None, callbacks: Sequence[Callback]
) -> Engine:
    """The fused engine where it can act, else torch's, after a trial of the optimizer and the schedule.

    Raises CommandError if the fused engine was asked for by name and cannot act.
    """
    optimizer = build_optimizer(settings.optimizer, network.parameters())
    changed = rehearse_schedule(settings, schedule, optimizer)
    loss = CrossEntropy(settings.loss.label_smoothing, settings.loss.class_weights)
    reason = "engine=torch"
    if settings.engine.name != "torch":
        try:
            check_fused(settings, callbacks, changed)
            lower_optimizer(optimizer)
            return FusedEngine(network, lower(network), loss=loss, schedule=schedule, seed=settings.seed)
        except CannotLower as error:
            if settings.engine.name == "fused":
                raise CommandError(f"engine=fused cannot act: {error}. Take engine=auto or engine=torch") from error
            reason = str(error)
    if find_model(settings.model.name).info.is_fx_traceable and not is_traceable(network):  # as for a plan it must be
        raise CommandError(f"model {settings.model.name!r} is registered as fx-traceable, but torch.fx cannot trace it")
    return TorchEngine(network, loss=loss, seed=settings.seed, reason=reason)


def check_fused(settings: TrainSettings, callbacks: Sequence[Callback], changed: Sequence[str]) -> None:
    """Raises CannotLower with what a run has that the fused engine does not do, whatever its network."""
    trainer = settings.trainer
    needs_torch = {
        "accelerator": trainer.accelerator == "gpu",
        "devices": trainer.devices > 1,
        "precision": trainer.precision not in ("32-true", "64-true"),
        "gradient_clip_val": trainer.gradient_clip_val is not None,
        "accumulate_grad_batches": trainer.accumulate_grad_batches > 1,
        "detect_anomaly": trainer.detect_anomaly,
    }
    reasons = [
        f"trainer.{key}={getattr(trainer, key)} is the torch engine's" for key, needs in needs_torch.items() if needs
    ]
    if changed:
        reasons.append(f"scheduler {settings.scheduler.name} changes {' and '.join(changed)} besides the learning rate")
    reasons += filter(None, [why_each_batch(callbacks)])
    if reasons:
        raise CannotLower(reasons[0])


def build_trainer(settings: TrainSettings, engine: Engine, folder: Path, callbacks: Sequence[Callback]) -> pl.Trainer:
    """A Lightning trainer that writes into `folder`; jsc's own callbacks come before the configured ones."""
    quieten_lightning()
    arguments = settings.trainer.model_dump(exclude={"num_threads"})
    arguments["accelerator"] = engine.accelerator(settings.trainer.accelerator)
    last_checkpoint = folder / CHECKPOINT_FOLDER / LAST_CHECKPOINT
    return pl.Trainer(
        **arguments,
        default_root_dir=folder,
        callbacks=[EpochRecorder(folder), StopOnSignal(last_checkpoint), *callbacks],
        logger=[
            construct(section, Logger, save_dir=folder) for section in settings.logger.values() if section is not None
        ],
        plugins=[AtomicCheckpointIO(best_waits=any(isinstance(c, LastCheckpoint) for c in callbacks))],
        enable_progress_bar=False,  # callbacks.progress draws ours
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def check_machine(trainer: TrainerSettings) -> None:
    """Raises CommandError for a GPU that is not there, and for processes that would not share the run's folder."""
    if trainer.accelerator == "gpu" and not (CUDAAccelerator.is_available() or MPSAccelerator.is_available()):
        raise CommandError(
            "trainer.accelerator=gpu: torch finds no GPU here; take trainer.accelerator=auto or trainer.accelerator=cpu"
        )
    if trainer.devices > 1 and trainer.strategy != "ddp_spawn":  # Lightning's others run the whole command once more
        raise CommandError(
            f"trainer.devices={trainer.devices}: trainer.strategy={trainer.strategy} cannot start several processes; "
            f"give trainer=ddp trainer.devices={trainer.devices}"
        )


def check_class_weights(weights: Sequence[float] | None, jets: PreparedJets) -> None:
    """Raises CommandError unless there is one for each class."""
    if weights is not None and len(weights) != jets.num_classes:
        classes = ", ".join(jets.class_names)
        told = f"loss.class_weights={list(weights)}"
        raise CommandError(f"{told}: give {jets.num_classes} weights, one for each of {classes}")


LOGGED = ("train_loss", "train_acc", "val_loss_epoch", "val_acc_epoch")  # what JetClassifier shows to callbacks


def check_monitors(settings: TrainSettings) -> None:
    """Raises CommandError for a misspelt score, which would be found out when the first epoch has been trained.

    Other names may be right: Lightning's callbacks log some, and a callback of the user's own any.
    """
    callbacks = {name: section for name, section in settings.callbacks.items() if section is not None}
    if not all(section.target.startswith(("jsc.", "pytorch_lightning.")) for section in callbacks.values()):
        return
    monitors = {f"callbacks.{name}.monitor": section.arguments.get("monitor") for name, section in callbacks.items()}
    for key, monitor in {**monitors, "scheduler.monitor": settings.scheduler.monitor}.items():
        if isinstance(monitor, str) and monitor not in LOGGED and difflib.get_close_matches(monitor, LOGGED):
            raise CommandError(f"{key}={monitor}: nothing of that name is logged. {nearest(monitor, LOGGED)}")


def rehearse_schedule(
    settings: TrainSettings, schedule: Schedule | None, optimizer: torch.optim.Optimizer
) -> list[str]:
    """The options of an optimizer, besides its learning rate, that a schedule changes, found out by running it.

    The optimizer is used up. Raises CommandError with the scheduler's own words, or if the learning rate becomes
    negative or no number.
    """
    if schedule is None:
        return []
    group = optimizer.param_groups[0]
    before = {name: value for name, value in group.items() if name not in ("params", "lr")}
    changed: dict[str, None] = {}
    name = _told(settings.scheduler.name, settings.scheduler.model_extra or {})
    num_steps = min(99, settings.trainer.max_epochs) if schedule.interval == "epoch" else 99
    rates: list[float] = []
    try:
        scheduler = schedule.start(optimizer, total_steps=100)
        for step in range(num_steps + 1):  # some fail, or go wrong, when they first act
            with warnings.catch_warnings():  # that the optimizer took no step
                warnings.simplefilter("ignore", UserWarning)
                if step > 0:
                    scheduler.step(0.0) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
            rates.append(float(group["lr"]))
            changed |= {name: None for name, value in before.items() if group[name] != value}
    except Exception as error:  # whatever torch, or a scheduler of the user's own, raises
        raise CommandError(f"scheduler {name}: {type(error).__name__}: {error}") from error
    wrong = [f"{rate} after {schedule.interval} {i}" for i, rate in enumerate(rates) if not 0 <= rate < math.inf]
    if wrong:
        raise CommandError(f"scheduler {name}: the learning rate is {wrong[0]}; it must be finite and not negative")
    return list(changed)


@contextmanager
def _lightnings_words() -> Iterator[None]:
    """Within this context what Lightning refuses is a CommandError."""
    try:
        yield
    except CommandError:
        raise
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise CommandError(f"trainer, callbacks or logger: {error}") from error


def _told(name: str, options: Mapping[str, Any]) -> str:
    return f"{name} ({', '.join(f'{key}={value}' for key, value in options.items())})"
