"""Searches from the command to the table: what fails, what is killed, what is refused."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="the extra jsc[optuna] is not installed")

import optuna

from hydra_plugins.jsc_search._study import Study
from tests.jsc_launcher.conftest import QUICK, SweepCommand

MOODY = """
import torch
from torch import nn
from jsc.models import ModelInfo, register

class Moody(nn.Module):
    def __init__(self, mood):
        super().__init__()
        self.mood = mood
    def forward(self, x):
        if self.mood == "bad" and self.training and not isinstance(x, torch.fx.Proxy):
            raise ValueError("not today")
        return x

@register(ModelInfo(name="moody", model_source="physical", task_type="physical",
                    physical_data_point_classification=True, is_fx_traceable=False))
def moody(*, num_features, num_classes, mood="good"):
    return nn.Sequential(Moody(mood), nn.Linear(num_features, num_classes))
"""


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words for a network that fails in a bad mood."""
    from jsc.models import registry

    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS), raising=True)
    monkeypatch.delitem(sys.modules, "moody", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "moody.py").write_text(MOODY)
    return ["plugins=[moody]", "model.name=moody", "engine=torch", *QUICK, "trainer.max_epochs=1", "scheduler=none"]


def table(folder: Path) -> dict[int, dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return {int(row["job"]): row for row in csv.DictReader(file)}


def trials(folder: Path) -> list[tuple[str, dict[str, Any], float | None]]:
    study = optuna.load_study(study_name="jsc", storage=f"sqlite:///{folder}/optuna.db")
    return [(trial.state.name, trial.params, trial.value) for trial in study.trials]


def test_what_fails_or_diverges_is_pruned_and_the_search_goes_on(
    sweep_command: SweepCommand, moody: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = ["+model.options.mood=good,bad", "optimizer.lr=tag(log,interval(1e-3,1e35))", "dataset.batch_size=64"]
    numbers = [
        "optimizer=sgd",
        "hydra.sweeper.num_trials=8",
        "hydra.sweeper.num_startup_trials=8",
        "hydra.launcher.num_workers=2",
    ]
    assert sweep_command("-m", "hparams_search=optuna", *moody, *space, *numbers, "hydra.sweep.dir=s") == 0
    output = capfd.readouterr().out
    rows, told = table(tmp_path / "s"), trials(tmp_path / "s")
    assert {row["status"] for row in rows.values()} == {"completed", "failed", "diverged"}
    assert len(told) == len(rows) == 8
    for number, (state, params, value) in enumerate(told):
        row = rows[number]
        assert row["+model.options.mood"] == params["+model.options.mood"]
        assert float(row["optimizer.lr"]) == params["optimizer.lr"]
        assert state == ("COMPLETE" if row["status"] == "completed" else "PRUNED")
        assert value == (float(row["val_loss"]) if row["status"] == "completed" else None)
        assert (row["status"] == "failed") == (params["+model.options.mood"] == "bad")
    assert output.count("Sweep of 8 jobs in s: 8 to run with 2 workers") == 1
    assert output.count("One row a job") == 1
    processes = {path.name.split(".")[-2] for path in (tmp_path / "s").glob("*/events.out.tfevents.*")}
    assert len(processes) == 2


SEARCH = [
    *("-m", "hparams_search=optuna", *QUICK, "trainer.max_epochs=30", "dataset.batch_size=64,128"),
    *("hydra.sweeper.num_trials=7", "hydra.sweeper.num_startup_trials=3", "hydra.launcher.num_workers=2"),
]


@pytest.mark.slow
def test_a_killed_search_ends_as_an_undisturbed_one(
    sweep_command: SweepCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of trials, then between the end of some and the moment that they are told."""
    assert sweep_command(*SEARCH, "hydra.sweep.dir=whole") == 0
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "jsc.train", *SEARCH, "hydra.sweep.dir=killed"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while len(list((tmp_path / "killed").glob("[23]_*/metrics.csv"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert [state for state, _, _ in trials(tmp_path / "killed")] == ["COMPLETE"] * 2 + ["RUNNING"] * 2
    time.sleep(0.5)  # its workers notice

    tell, told = Study.tell, list[int]()

    def die_at_the_fifth(self: Study, number: int, loss: float) -> None:
        if number == 5:
            raise SystemError
        told.append(number)
        tell(self, number, loss)

    monkeypatch.setattr(Study, "tell", die_at_the_fifth)
    assert sweep_command("sweep.resume=killed") == 1
    monkeypatch.setattr(Study, "tell", lambda self, number, loss: (told.append(number), tell(self, number, loss)))
    ended = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*/result.json")}
    assert len(ended) == 6
    assert sweep_command("sweep.resume=killed") == 0
    assert told == [2, 3, 4, 5, 6]
    assert all(path.stat().st_mtime_ns == written for path, written in ended.items())
    assert trials(tmp_path / "killed") == trials(tmp_path / "whole")
    whole, killed = table(tmp_path / "whole"), table(tmp_path / "killed")
    assert list(whole) == list(killed)
    for name in ("status", "val_loss", "test_loss", "epochs_run", "folder", "command"):
        assert [row[name] for row in whole.values()] == [row[name] for row in killed.values()], name


@pytest.mark.slow
def test_a_search_without_a_score_fails_and_may_be_extended(
    sweep_command: SweepCommand, moody: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A failed trial was told: it is not run again."""
    space = ["+model.options.mood=bad", "optimizer.lr=interval(0.01,0.1)", "dataset.batch_size=64,128"]
    assert (
        sweep_command("-m", "hparams_search=optuna", *moody, *space, "hydra.sweeper.num_trials=1", "hydra.sweep.dir=s")
        == 1
    )
    assert "No trial came to a validation loss" in capfd.readouterr().out
    [first] = (tmp_path / "s").glob("0_*/result.json")
    written = first.stat().st_mtime_ns
    assert sweep_command("-m", "hparams_search=optuna", *moody, *space, "hydra.sweep.dir=s") == 2
    assert "holds a search already" in capfd.readouterr().err
    assert sweep_command("sweep.resume=s", "optimizer.lr=interval(0.01,0.2)") == 2
    assert "the search space has changed: optimizer.lr was" in capfd.readouterr().err
    assert sweep_command("sweep.resume=s", "hydra.sweeper.num_trials=2") == 1
    assert [state for state, _, _ in trials(tmp_path / "s")] == ["PRUNED"] * 2
    assert first.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweeper.num_trials=0"], "hydra.sweeper.num_trials=0: give 1 or more"),
        (["hydra.sweeper.num_startup_trials=0"], "num_startup_trials=0: give 1 or more"),
        (["hydra.sweeper.num_at_once=0"], "num_at_once=0: give 1 or more"),
        (["hydra.sweeper.seed=-1"], "hydra.sweeper.seed=-1: give 0 or more"),
        (["hydra.sweeper.num_trials=ten"], "Value 'ten' of type 'str' could not be converted to Integer"),
        (["hydra.launcher.on_failure=stop"], "a search goes on after a failed trial"),
        (["optimizer.lr=0.1", "scheduler=none"], "there are 4 ways to choose dataset.batch_size"),
        (["optimizer.lr=0.1", "scheduler=none", "dataset.batch_size=64"], "nothing is searched"),
        (["optimizer.lr=interval(-1,1)"], "optimizer.lr=-1.0: must be greater than 0"),
        (["optimizer.lr=interval(0.1,inf)"], "optimizer.lr=inf: must be a finite number"),
        (["dataset.batch_size=interval(8,64)"], "give dataset.batch_size=int(interval(8,64))"),
    ],
)
def test_wrong_words_are_answered_before_a_folder_is_made(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert sweep_command("-m", "hparams_search=optuna", *words) == 2
    assert message in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_run_cannot_search(sweep_command: SweepCommand, capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep_command("hparams_search=optuna", "scheduler=none") == 2
    assert "one run cannot choose optimizer.lr, dataset.batch_size: add -m to search" in capfd.readouterr().err


def test_an_interval_needs_a_search(sweep_command: SweepCommand, capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep_command("-m", "optimizer.lr=interval(1e-4,1e-1)") == 2
    assert "optimizer.lr=interval(1e-4,1e-1): an interval is searched, not swept" in capfd.readouterr().err


def test_without_optuna_the_extra_is_named(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert sweep_command("-m", "hparams_search=optuna") == 2
    assert "pip install 'jsc[optuna]'" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_the_trials_drawn_at_random(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK, "scheduler=none", "hydra.sweeper.num_trials=5", "hydra.sweeper.num_startup_trials=3"]
    assert sweep_command("-m", "hparams_search=optuna", *words, "sweep.dry_run=true") == 0
    output = capfd.readouterr().out
    assert "2_lr=" in output
    assert "3_lr=" not in output
    assert "These are the first 3 trials; 2 more will follow from their scores." in output
    assert list(tmp_path.iterdir()) == []
