"""Searches from the command to the table: what fails, what is killed, what is refused."""

import csv
import signal
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from hydra_plugins.jsc_search._study import Study
from jsc.results import read_result
from tests.jsc_launcher.conftest import QUICK, SweepCommand
from tests.processes import KILLED, PATIENCE, command_process

MOODY = """
import torch
from torch import nn
from jsc.models import ModelInfo, register

class Moody(nn.Module):
    def __init__(self, mood):
        super().__init__()
        self.mood = mood
    def forward(self, x):
        if self.training and not isinstance(x, torch.fx.Proxy):
            if self.mood == "bad":
                raise ValueError("not today")
            if self.mood == "wild":
                return x * torch.inf
        return x

@register(ModelInfo(name="moody", model_source="physical", task_type="physical",
                    physical_data_point_classification=True, is_fx_traceable=False))
def moody(*, num_features, num_classes, mood="good"):
    return nn.Sequential(Moody(mood), nn.Linear(num_features, num_classes))
"""


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words for a network that fails in a bad mood, and diverges in a wild one."""
    from jsc.models import registry

    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS), raising=True)
    monkeypatch.delitem(sys.modules, "moody", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "moody.py").write_text(MOODY)
    words = ["plugins=[moody]", "model.name=moody", "engine=torch", *QUICK, "trainer.max_epochs=1", "scheduler=none"]
    return ["-m", "hparams_search=optuna", *words, "optimizer.lr=interval(0.01,0.1)", "hydra.sweep.dir=s"]


def table(folder: Path) -> dict[int, dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return {int(row["job"]): row for row in csv.DictReader(file)}


def trials(folder: Path) -> list[tuple[str, dict[str, Any], float | None]]:
    study = optuna.load_study(study_name="jsc", storage=f"sqlite:///{folder}/optuna.db")
    return [(trial.state.name, trial.params, trial.value) for trial in study.trials]


def test_what_fails_or_diverges_is_pruned(
    sweep_command: SweepCommand, moody: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With Hydra's own launcher, one trial at a time."""
    words = [*moody, "hydra/launcher=basic", "hydra.sweeper.seed=8"]
    assert sweep_command(*words, "+model.options.mood=good,bad,wild", "hydra.sweeper.num_trials=4") == 0
    assert "trials failed or diverged" in capfd.readouterr().out
    states = {"good": "COMPLETE", "bad": "PRUNED", "wild": "PRUNED"}
    told = trials(tmp_path / "s")
    assert [state for state, _, _ in told] == [states[params["+model.options.mood"]] for _, params, _ in told]
    assert {params["+model.options.mood"] for _, params, _ in told} == set(states)
    for number, (state, params, value) in enumerate(told):
        [folder] = (tmp_path / "s").glob(f"{number}_*")
        result = read_result(folder)
        assert result.lr == params["optimizer.lr"]
        assert value == (result.val_loss if state == "COMPLETE" else None)


def test_a_search_without_a_score_fails(
    sweep_command: SweepCommand, moody: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*moody, "hydra/launcher=basic", "hydra.sweeper.num_trials=1"]
    assert sweep_command(*words, "+model.options.mood=bad") == 1
    assert "No trial came to a validation loss" in capfd.readouterr().out


@pytest.mark.slow
def test_batches_share_a_worker_a_table_and_a_summary(
    sweep_command: SweepCommand, moody: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*moody, "+model.options.mood=good,bad", "hydra.launcher.num_workers=1", "hydra.sweeper.num_at_once=2"]
    assert sweep_command(*words, "hydra.sweeper.num_trials=6") == 0
    output = capfd.readouterr().out
    assert output.count("Sweep of 6 jobs in s: 6 to run with 1 worker") == 1
    assert output.count("One row a job") == 1
    processes = {path.name.split(".")[-2] for path in (tmp_path / "s").glob("*/events.out.tfevents.*")}
    assert len(processes) == 1
    rows, told = table(tmp_path / "s"), trials(tmp_path / "s")
    assert sorted(rows) == list(range(6))
    for number, (state, params, value) in enumerate(told):
        row = rows[number]
        assert (row["optimizer.lr"], row["model.options.mood"]) == (
            str(params["optimizer.lr"]),
            params["+model.options.mood"],
        )
        assert row["status"] == {"COMPLETE": "completed", "PRUNED": "failed"}[state]
        assert value == (float(row["val_loss"]) if row["val_loss"] else None)
    losses = [float(row["val_loss"]) for row in rows.values() if row["val_loss"]]
    assert losses == sorted(losses)
    assert 2 <= len(losses) < 6

    assert sweep_command(*words) == 2
    assert "holds a sweep already" in capfd.readouterr().err
    assert sweep_command("sweep.resume=s", "plugins=[moody]", "optimizer.lr=interval(0.01,0.2)") == 2
    assert "the search space has changed: optimizer.lr was" in capfd.readouterr().err
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("*/result.json")}
    assert sweep_command("sweep.resume=s", "plugins=[moody]", "hydra.sweeper.num_trials=7") == 0
    assert "Sweep of 7 jobs in s: 1 to run" in capfd.readouterr().out
    assert trials(tmp_path / "s")[:6] == told
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())  # failed ones too: they were told


SEARCH = [
    *("-m", "hparams_search=optuna", *QUICK, "trainer.max_epochs=30", "dataset.batch_size=64,128"),
    *("hydra.sweeper.num_trials=7", "hydra.sweeper.num_startup_trials=3", "hydra.sweeper.num_at_once=2"),
]


@pytest.mark.slow
def test_a_killed_search_ends_as_an_undisturbed_one(
    sweep_command: SweepCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when one trial of a batch has ended and is not told yet, and the other is under way."""
    assert sweep_command(*SEARCH, "hydra/launcher=basic", "hydra.sweep.dir=whole") == 0
    killed = tmp_path / "killed"
    words = [*SEARCH, "hydra.launcher.num_workers=1", "hydra.sweep.dir=killed"]
    with command_process(tmp_path, "jsc.train", *words) as process:
        deadline = time.monotonic() + PATIENCE
        while not list(killed.glob("3_*/metrics.csv")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.stop(signal.SIGKILL) == KILLED
    time.sleep(0.5)  # its worker notices
    assert [state for state, _, _ in trials(killed)] == ["COMPLETE"] * 2 + ["RUNNING"] * 2
    ended = {path: path.stat().st_mtime_ns for path in killed.glob("*/result.json")}
    assert sorted(path.parent.name[0] for path in ended) == ["0", "1", "2"]

    tell, told = Study.tell, list[int]()
    monkeypatch.setattr(Study, "tell", lambda self, number, loss: (told.append(number), tell(self, number, loss)))
    assert sweep_command("sweep.resume=killed") == 0
    assert told == [2, 3, 4, 5, 6]
    assert all(path.stat().st_mtime_ns == when for path, when in ended.items())
    assert trials(killed) == trials(tmp_path / "whole")
    for folder in (tmp_path / "whole").glob("[0-6]_*"):
        one, other = read_result(folder), read_result(killed / folder.name)
        for name in ("status", "train_loss", "val_loss", "test_loss", "test_acc", "best_epoch", "epochs_run"):
            assert getattr(one, name) == getattr(other, name), (folder.name, name)
    assert [row["status"] for row in table(killed).values()] == ["completed"] * 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweeper.num_trials=0"], "hydra.sweeper.num_trials=0: give 1 or more"),
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
