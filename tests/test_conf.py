"""Every file of conf/ composes, checks and builds."""

import argparse
from pathlib import Path

import pytest
import yaml
from torch import nn

from jsc.cli.command import CONFIG_FOLDER, check, job_variants
from jsc.cli.construction import construct
from jsc.cli.settings import TrainSettings
from jsc.fit.engine import TorchEngine
from jsc.models import build_model, find_model
from jsc.run.assembly import build_schedule, build_trainer, choose_engine, prepare
from tests.conftest import settings_of

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
    optimizer = construct(settings, params=build_model("jsc-tiny", num_features=16, num_classes=5).parameters())
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
            settings_of().optimizer, params=build_model("jsc-tiny", num_features=2, num_classes=2).parameters()
        )
        schedule.start(optimizer, total_steps=10)


@pytest.mark.parametrize("choice", [c for c in choices("trainer") if c != "gpu"])
def test_trainers_build(choice: str, tmp_path: Path) -> None:
    settings = settings_of(f"trainer={choice}", "trainer.max_epochs=3")
    trainer = build_trainer(settings, TorchEngine(nn.Linear(16, 5)), tmp_path, [])
    assert trainer.max_epochs == 3
    assert (trainer.world_size == 2) == (choice == "ddp")


@pytest.mark.parametrize("group", ["callbacks", "logger"])
def test_callbacks_and_loggers_build(group: str, tmp_path: Path) -> None:
    for choice in choices(group):
        prepare(settings_of(f"{group}={choice}"), tmp_path)


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


EXPERIMENTS = {
    "batch_size": {"dataset.batch_size": [32, 64, 128, 256, 512, 1024]},
    "learning_rate": {"optimizer.lr": [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]},
    "max_epochs": {"trainer.max_epochs": [1, 5, 10, 20, 50, 100, 150, 200]},
    "lr_x_batch_size": {"optimizer.lr": [1e-1, 1e-2, 1e-3, 1e-4], "dataset.batch_size": [64, 128, 256, 512]},
    "ten_times": {"model.name": ["jsc-tiny", "jsc-my", "jsc-medium", "jsc-tiny-x10", "jsc-test"], "seed": [0, 1, 2]},
}


@pytest.mark.parametrize("choice", choices("experiment"))
def test_experiments_vary_what_they_say_and_nothing_else(choice: str) -> None:
    first_line, question = (CONFIG_FOLDER / "experiment" / f"{choice}.yaml").read_text().splitlines()[:2]
    assert first_line == "# @package _global_"
    assert f"python -m jsc.train -m experiment={choice}" in question
    arguments = argparse.Namespace(multirun=True, overrides=[f"experiment={choice}"], config_dir=None)
    jobs = list(job_variants("train", arguments))
    expected = EXPERIMENTS[choice]
    for job in jobs:
        check(job, TrainSettings)
        assert job.sweep.name == choice
    for key, values in expected.items():
        section, _, name = key.rpartition(".")
        assert sorted({(job[section] if section else job)[name] for job in jobs}) == sorted(values)
