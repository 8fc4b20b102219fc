"""Every file of conf/ composes, checks and builds."""

import pkgutil
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from jsc.cli.command import CONFIG_FOLDER, check, combinations, compose
from jsc.cli.construction import construct
from jsc.cli.settings import TrainSettings, flat
from jsc.fit.engine import TorchEngine
from jsc.models import build_model, find_model
from jsc.run.assembly import build_schedule, build_trainer, choose_engine, prepare
from tests.conftest import composer, settings_of

FILES = sorted(CONFIG_FOLDER.rglob("*.yaml"))
NAMES = [str(f.relative_to(CONFIG_FOLDER)) for f in FILES]


def choices(group: str) -> list[str]:
    return sorted(f.stem for f in (CONFIG_FOLDER / group).glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_are_valid_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text()) is not None


@pytest.mark.parametrize("choice", choices("model"))
def test_models_are_in_the_registry(choice: str) -> None:
    settings = settings_of(f"model={choice}").model
    assert settings.name == find_model(settings.name).info.name == choice.replace("_", "-")


@pytest.mark.parametrize("choice", choices("optimizer"))
def test_optimizers_build(choice: str) -> None:
    settings = settings_of(f"optimizer={choice}", "optimizer.lr=0.25", "optimizer.weight_decay=0.125").optimizer
    optimizer = construct(
        settings, torch.optim.Optimizer, params=build_model("jsc-tiny", num_features=16, num_classes=5).parameters()
    )
    assert settings.name == choice
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.25, 0.125)


@pytest.mark.parametrize("choice", choices("scheduler"))
def test_schedulers_build(choice: str) -> None:
    settings = settings_of(f"scheduler={choice}", "trainer.max_epochs=7").scheduler
    schedule = build_schedule(settings)
    assert settings.name == choice
    assert (schedule is None) == (choice == "none")
    if schedule is not None:
        optimizer = construct(
            settings_of().optimizer,
            torch.optim.Optimizer,
            params=build_model("jsc-tiny", num_features=2, num_classes=2).parameters(),
        )
        schedule.start(optimizer, total_steps=10)


@pytest.mark.parametrize("choice", [c for c in choices("trainer") if c != "gpu"])
def test_trainers_build(choice: str, tmp_path: Path) -> None:
    settings = settings_of(f"trainer={choice}", "trainer.max_epochs=3")
    trainer = build_trainer(settings, TorchEngine(nn.Linear(16, 5)), tmp_path, [])
    assert trainer.max_epochs == 3
    assert (trainer.world_size == 2) == (choice == "ddp")


@pytest.mark.parametrize("choice", choices("callbacks"))
def test_callbacks_are_built_and_told_what_the_file_says(choice: str, tmp_path: Path) -> None:
    settings = settings_of(f"callbacks={choice}")
    trainer = prepare(settings, tmp_path).trainer
    built = {f"{type(c).__module__}.{type(c).__qualname__}": c for c in trainer.callbacks}  # type: ignore[attr-defined]
    for section in filter(None, settings.callbacks.values()):
        callback = built[whole_name(section.target)]
        told = {name: value for name, value in section.arguments.items() if hasattr(callback, name)}
        assert {name: getattr(callback, name) for name in told} == told


@pytest.mark.parametrize("choice", choices("logger"))
def test_loggers_are_built_and_write_into_the_runs_folder(choice: str, tmp_path: Path) -> None:
    settings = settings_of(f"logger={choice}")
    trainer = prepare(settings, tmp_path).trainer
    assert [whole_name(section.target) for section in settings.logger.values() if section] == [
        f"{type(logger).__module__}.{type(logger).__qualname__}" for logger in trainer.loggers
    ]
    assert [Path(str(logger.log_dir)) for logger in trainer.loggers] == [tmp_path] * len(settings.logger)


def whole_name(target: str) -> str:
    """Of a class, where it is defined."""
    found = pkgutil.resolve_name(target)
    return f"{found.__module__}.{found.__qualname__}"


@pytest.mark.parametrize(
    ("override", "engine", "reason"),
    [
        ("engine=torch", "torch", "engine=torch"),
        ("engine=fused", "fused", None),
        ("engine=auto", "fused", None),
        ("trainer.gradient_clip_val=1", "torch", "trainer.gradient_clip_val=1.0 is the torch engine's"),
        ("trainer.devices=2", "torch", "trainer.devices=2 is the torch engine's"),
        ("scheduler=onecycle", "fused", None),
        (
            "scheduler=onecycle scheduler.cycle_momentum=true",
            "torch",
            "scheduler onecycle changes betas besides the learning rate",
        ),
        ("trainer.precision=bf16-mixed", "torch", "trainer.precision=bf16-mixed is the torch engine's"),
    ],
)
def test_the_engine_is_chosen_and_said(override: str, engine: str, reason: str | None) -> None:
    network = build_model("jsc-tiny", num_features=16, num_classes=5)
    settings = settings_of(*override.split())
    chosen = choose_engine(settings, network, build_schedule(settings.scheduler), [])
    assert (chosen.name, chosen.reason) == (engine, reason)


def test_an_engine_that_cannot_act_is_an_error() -> None:
    network = build_model("jsc-tiny", num_features=16, num_classes=5)
    with pytest.raises(ValueError, match=r"engine=fused cannot act: trainer\.devices=2 is the torch engine's"):
        choose_engine(settings_of("engine=fused", "trainer.devices=2"), network, None, [])


VARIED = {
    "batch_size": {"dataset.batch_size"},
    "learning_rate": {"optimizer.lr"},
    "max_epochs": {"trainer.max_epochs"},
    "lr_x_batch_size": {"optimizer.lr", "dataset.batch_size"},
    "ten_times": {"model.name", "seed"},
}


@pytest.mark.parametrize("choice", choices("experiment"))
def test_an_experiment_varies_what_it_asks_for_around_the_defaults_and_nothing_else(choice: str) -> None:
    first_line, question = (CONFIG_FOLDER / "experiment" / f"{choice}.yaml").read_text().splitlines()[:2]
    assert first_line == "# @package _global_"
    assert f"python -m jsc.train -m experiment={choice}" in question
    experiment = [f"experiment={choice}"]
    params = compose("train", experiment).hydra.sweeper.params
    jobs = [composer()(overrides) for overrides in combinations(experiment, params)]
    assert {job.sweep.name for job in jobs} == {choice}
    default, *others = (flat(s.model_dump()) for s in (settings_of(), *(check(j, TrainSettings) for j in jobs)))
    values = {key: {repr(job[key]) for job in others} for key in default}
    assert {key for key in default if values[key] != {repr(default[key])}} == VARIED[choice]
    assert all(repr(default[key]) in values[key] and len(values[key]) > 2 for key in VARIED[choice])
