"""From settings to the objects of a run."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import hydra.utils
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import registry
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from jsc.cli.construction import construct
from jsc.cli.explanation import nearest
from jsc.cli.settings import (
    DatasetSettings,
    ModelSettings,
    OptimizerSettings,
    SchedulerSettings,
    TrainerSettings,
    TrainSettings,
)
from jsc.datasets import PreparedJets, load_jets
from jsc.engine import CannotLower, CrossEntropy, Plan, lower, lower_optimizer
from jsc.errors import CommandError
from jsc.fit.checkpoint import AtomicCheckpointIO, LastCheckpoint
from jsc.fit.fused_loop import FusedValidation, Unprofiled
from jsc.fit.lightning_noise import quieten_lightning
from jsc.fit.schedule import Schedule
from jsc.fit.task import JetClassifier
from jsc.models import build_model, find_model, is_traceable
from jsc.models.plugins import import_plugins

# For every Trainer Lightning would read what each installed package has to offer, which takes as long as an epoch.
registry.entry_points = cache(entry_points)  # type: ignore[attr-defined, assignment]


def jets_of(settings: DatasetSettings) -> PreparedJets:
    """A data set, ready to train on; read once a process, however many jobs train on it. Raises DatasetError."""
    key = settings.model_dump_json(by_alias=True, exclude={"batch_size"})
    if key not in _jets:
        _jets[key] = load_jets(construct(settings))
    return _jets[key]


_jets: dict[str, PreparedJets] = {}


def build_network(settings: ModelSettings, jets: PreparedJets) -> nn.Module:
    """A registered network with the data set's sizes. Raises ValueError if its options or its info are wrong."""
    model = build_model(
        settings.name, num_features=jets.num_features, num_classes=jets.num_classes, options=settings.options
    )
    key = settings.model_dump_json() + repr((jets.num_features, jets.num_classes))
    if key not in _checked_models and find_model(settings.name).info.is_fx_traceable and not is_traceable(model):
        raise CommandError(f"model {settings.name!r} is registered as fx-traceable, but torch.fx cannot trace it")
    _checked_models.add(key)
    return model


_checked_models: set[str] = set()  # that their registration tells the truth; once a process


def build_optimizer(settings: OptimizerSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Raises CommandError with the optimizer's own words."""
    try:
        optimizer: torch.optim.Optimizer = construct(settings, params=parameters)
    except LookupError as error:  # torch checks what betas are, not how many
        raise CommandError(f"optimizer {_told(settings.name, settings.arguments)}: {error}") from error
    return optimizer


def build_schedule(settings: SchedulerSettings) -> Schedule | None:
    """None for a constant learning rate."""
    if settings.target is None:
        return None
    return Schedule(
        make=partial(hydra.utils.get_object(settings.target), **(settings.model_extra or {})),
        interval=settings.interval,
        monitor=settings.monitor,
        needs_total_steps=settings.needs_total_steps,
    )


def choose_engine(settings: TrainSettings, network: nn.Module) -> tuple[Plan, None] | tuple[None, str]:
    """The fused engine's plan of the network, or why torch runs it.

    Raises CommandError if the fused engine was asked for by name and cannot act.
    """
    if settings.engine.name == "torch":
        return None, "engine=torch"
    try:
        return fused_plan(settings, network), None
    except CannotLower as error:
        if settings.engine.name == "fused":
            raise CommandError(f"engine=fused cannot act: {error}. Take engine=auto or engine=torch") from error
        return None, str(error)


def fused_plan(settings: TrainSettings, network: nn.Module) -> Plan:
    """Raises CannotLower with what a run has that the fused engine does not do."""
    trainer = settings.trainer
    needs_torch = {
        f"trainer.accelerator={trainer.accelerator}": trainer.accelerator == "gpu",
        f"trainer.devices={trainer.devices}": trainer.devices > 1,
        f"trainer.precision={trainer.precision}": trainer.precision not in ("32-true", "64-true"),
        f"trainer.gradient_clip_val={trainer.gradient_clip_val}": trainer.gradient_clip_val is not None,
        f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}": trainer.accumulate_grad_batches > 1,
        "trainer.detect_anomaly=true": trainer.detect_anomaly,
    }
    for setting, is_needed in needs_torch.items():
        if is_needed:
            raise CannotLower(f"{setting} is the torch engine's")
    plan = plan_of(settings.model, network)
    optimizer = build_optimizer(settings.optimizer, network.parameters())
    lower_optimizer(optimizer)
    changed = changed_by(build_schedule(settings.scheduler), optimizer)
    if changed:
        names = " and ".join(changed)
        raise CannotLower(f"scheduler {settings.scheduler.name} changes {names} besides the learning rate")
    return plan


def plan_of(settings: ModelSettings, network: nn.Module) -> Plan:
    """What `lower` says, which a process asks once for all networks of the same settings and shapes."""
    shapes = [(name, tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()]
    key = settings.model_dump_json() + repr(shapes)
    if key not in _plans:
        _plans[key] = lower(network)
    return _plans[key]


_plans: dict[str, Plan] = {}


def changed_by(schedule: Schedule | None, optimizer: torch.optim.Optimizer) -> list[str]:
    """Options of an optimizer, besides its learning rate, that a schedule changes; found out by starting it."""
    group = optimizer.param_groups[0]
    before = {name: value for name, value in group.items() if name not in ("params", "lr")}
    if schedule is not None:
        schedule.start(optimizer, total_steps=100)
    return [name for name, value in before.items() if group[name] != value]


def build_task(settings: TrainSettings, jets: PreparedJets) -> tuple[JetClassifier, str | None]:
    """The network with its optimizer and schedule; and why it is not the fused engine's, if it is not.

    Weights are drawn from torch's global generator.
    """
    network = build_network(settings.model, jets)
    if settings.trainer.precision == "64-true":
        network.double()  # Lightning would do so only after it had read a checkpoint's weights into float32
    plan, why_torch = choose_engine(settings, network)
    task = JetClassifier(
        network,
        make_optimizer=partial(build_optimizer, settings.optimizer),
        schedule=build_schedule(settings.scheduler),
        loss=CrossEntropy(settings.loss.label_smoothing, settings.loss.class_weights),
        plan=plan,
        seed=settings.seed,
        hyper_parameters={
            "settings": settings.model_dump(by_alias=True),
            "num_features": jets.num_features,
            "num_classes": jets.num_classes,
            "feature_names": list(jets.feature_names),
            "class_names": list(jets.class_names),
            "feature_mean": jets.mean_F.tolist(),
            "feature_std": jets.std_F.tolist(),
            "dataset_variant": jets.variant,
            "dataset_sha256": jets.sha256,
        },
    )
    return task, why_torch


def build_trainer(
    settings: TrainSettings, *, uses_torch: bool, folder: Path, callbacks: Sequence[Callback]
) -> pl.Trainer:
    """A Lightning trainer that writes into `folder`; `callbacks` come before the configured ones."""
    quieten_lightning()
    arguments = settings.trainer.model_dump(exclude={"num_threads"})
    configured: list[Callback] = [construct(c) for c in settings.callbacks.values() if c is not None]
    if settings.trainer.accelerator == "auto" and not uses_torch:
        arguments["accelerator"] = "cpu"
    trainer = pl.Trainer(
        **arguments,
        default_root_dir=folder,
        callbacks=[*callbacks, *configured],
        logger=[construct(section, save_dir=folder) for section in settings.logger.values() if section is not None],
        plugins=[AtomicCheckpointIO(best_waits=any(isinstance(c, LastCheckpoint) for c in configured))],
        profiler=None if uses_torch else Unprofiled(),
        enable_progress_bar=False,  # callbacks.progress draws ours
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    if not uses_torch:
        FusedValidation.replace(trainer)
    return trainer


def rehearse(settings: TrainSettings) -> None:
    """Build everything that a run needs, and throw it away: what cannot be built is said before a folder is made.

    Raises CommandError, DatasetError or ValueError.
    """
    import_plugins(settings.plugins)
    check_machine(settings.trainer)
    check_monitors(settings)
    rehearse_schedule(settings)
    jets = jets_of(settings.dataset)
    weights = settings.loss.class_weights
    if weights is not None and len(weights) != jets.num_classes:
        classes = ", ".join(jets.class_names)
        raise CommandError(f"loss.class_weights={weights}: give {jets.num_classes} weights, one for each of {classes}")
    task, _ = build_task(settings, jets)
    task.make_optimizer(task.model.parameters())
    try:
        key = repr((settings.trainer, settings.callbacks, settings.logger, task.automatic_optimization))
        if key not in _built_trainers:  # of a thousand jobs most have the same
            build_trainer(settings, uses_torch=task.automatic_optimization, folder=Path(), callbacks=[])
            _built_trainers.add(key)
    except CommandError:
        raise
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise CommandError(f"trainer, callbacks or logger: {error}") from error


_built_trainers: set[str] = set()


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


def rehearse_schedule(settings: TrainSettings) -> None:
    """Raises CommandError with the scheduler's own words, or if the learning rate becomes negative or no number."""
    schedule = build_schedule(settings.scheduler)
    if schedule is None:
        return
    optimizer = build_optimizer(settings.optimizer, [nn.Parameter(torch.zeros(1))])
    optimizer._opt_called = True  # type: ignore[attr-defined]  # schedulers warn unless step() was called
    name = _told(settings.scheduler.name, settings.scheduler.model_extra or {})
    num_steps = min(99, settings.trainer.max_epochs) if schedule.interval == "epoch" else 99
    rates: list[float] = []
    try:
        scheduler = schedule.start(optimizer, total_steps=100)
        for _ in range(num_steps):  # some fail, or go wrong, when they first act
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(0.0)
            else:
                scheduler.step()
            rates.append(float(optimizer.param_groups[0]["lr"]))
    except Exception as error:  # whatever torch, or a scheduler of the user's own, raises
        raise CommandError(f"scheduler {name}: {type(error).__name__}: {error}") from error
    wrong = [
        f"{rate} after {schedule.interval} {i}" for i, rate in enumerate(rates, start=1) if not 0 <= rate < math.inf
    ]
    if wrong:
        raise CommandError(f"scheduler {name}: the learning rate is {wrong[0]}; it must be finite and not negative")


def _told(name: str, options: Mapping[str, Any]) -> str:
    return f"{name} ({', '.join(f'{key}={value}' for key, value in options.items())})"
