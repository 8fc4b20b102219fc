"""What is wrong with a run is found before there is a folder; a network that kills its process kills another one."""

import os
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from jsc.cli.command import compose
from jsc.errors import CommandError, JobFailed
from jsc.results import read_result
from jsc.sweep.checks import advice_on_sweeping, check_sweep, kind_of, prepare_run, rehearse_kinds
from jsc.sweep.fork_server import Death
from tests.conftest import QUICK, Command, settings_of

DEADLY = """
import ctypes, os, signal
from pathlib import Path
import torch
from torch import nn
from jsc.models import ModelInfo, register

WAYS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "none": lambda: None,
}

class Deadly(nn.Module):
    def __init__(self, built, run):
        super().__init__()
        self.run = run
        with open("built", "a") as file:
            print(os.getpid(), file=file)
        WAYS[built]()
    def forward(self, x):
        WAYS[self.run]()
        return x

@register(ModelInfo(name="deadly", model_source="physical", task_type="physical",
                    physical_data_point_classification=True, is_fx_traceable=True))
def deadly(*, num_features, num_classes, built="none", run="none"):
    return nn.Sequential(Deadly(built, run), nn.Linear(num_features, num_classes))
"""
DEATHS = {
    "SIGKILL": "its process was killed by SIGKILL (out of memory?)",
    "exit": "its process ended with exit code 3",
    "segfault": "its process was killed by SIGSEGV",
}


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides for a network that ends its process when it is built or run, as its options say."""
    from jsc.models import registry

    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    monkeypatch.delitem(sys.modules, "deadly", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "deadly.py").write_text(DEADLY)
    return ["plugins=[deadly]", "model.name=deadly", *QUICK, "trainer.max_epochs=1"]


@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.parametrize("when", ["built", "run"])
def test_a_single_run_says_of_what_its_network_died(
    command: Command, deadly: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], when: str, how: str
) -> None:
    """`run`: fx traces the network while it is checked."""
    assert command("jsc.train", *deadly, f"+model.options.{when}={how}") == 1
    message = capfd.readouterr().err
    assert f"The network cannot be built: model 'deadly' of deadly: {DEATHS[how]}" in message
    assert "Traceback" not in message
    assert not (tmp_path / "outputs").exists()


def test_a_network_that_lives_is_trained(command: Command, deadly: list[str], tmp_path: Path) -> None:
    assert command("jsc.train", *deadly) == 0
    assert len(list(tmp_path.glob("outputs/runs/deadly/*/result.json"))) == 1
    built = (tmp_path / "built").read_text().split()
    assert built[0] != built[-1] == str(os.getpid())  # elsewhere before here


def test_deadly_networks_fail_their_own_jobs(
    command: Command, deadly: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ways = ["none", "SIGKILL", "exit", "segfault"]
    overrides = [f"+model.options.built={','.join(ways)}", "hydra.sweep.dir=s", "hydra.launcher.num_workers=2"]
    assert command("jsc.train", "-m", *deadly, *overrides) == 1
    assert str(os.getpid()) not in (tmp_path / "built").read_text().split()
    results = {way: read_result(next(tmp_path.glob(f"s/{i}_*"))) for i, way in enumerate(ways)}
    assert {way: result.status for way, result in results.items()} == {
        "none": "completed", "SIGKILL": "failed", "exit": "failed", "segfault": "failed",
    }  # fmt: skip
    assert {way: results[way].error for way in DEATHS} == DEATHS
    output = capfd.readouterr().out
    assert all(how in output for how in DEATHS.values())
    assert "3 of 4 jobs failed" in output


def test_where_jobs_run_in_the_sweeps_own_process_a_deadly_network_is_refused(
    command: Command, deadly: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = ["+model.options.built=none,SIGKILL", "hydra.sweep.dir=s", "hydra/launcher=basic"]
    assert command("jsc.train", "-m", *deadly, *overrides) == 1
    assert f"Job 1 cannot be built: model 'deadly' of deadly: {DEATHS['SIGKILL']}" in capfd.readouterr().err
    assert not (tmp_path / "s").exists()


def test_one_of_each_kind_is_rehearsed(deadly: list[str], tmp_path: Path) -> None:
    """Kinds that are known are not rehearsed again."""
    known: dict[str, bool | Death] = {}
    jobs = [[f"optimizer.lr={rate}", f"seed={seed}"] for rate in (0.1, 0.01) for seed in range(3)]
    settings = [settings_of(*deadly, *job) for job in [*jobs, ["+model.options.built=exit"]]]
    assert rehearse_kinds(settings, known) == [True] * 6 + [Death(DEATHS["exit"])]
    built = (tmp_path / "built").read_text()
    assert len(built.split()) == 2
    assert rehearse_kinds(settings, known)[6] == Death(DEATHS["exit"])
    assert (tmp_path / "built").read_text() == built


@pytest.mark.parametrize(
    ("override", "is_same"),
    [
        ("seed=3", True), ("optimizer.weight_decay=0.1", True), ("optimizer.lr=0.5", True), ("model=jsc_s", False),
        ("+optimizer.betas=[2,2]", False), ("engine=torch", False), ("loss.class_weights=[1,1,1,1,2]", False),
    ],
)  # fmt: skip
def test_kinds_differ_where_one_may_be_built_and_the_other_not(override: str, is_same: bool) -> None:
    assert (kind_of(settings_of()) == kind_of(settings_of(override))) == is_same


def test_a_rate_that_a_schedule_changes_makes_a_kind() -> None:
    rates = [settings_of("scheduler=cosine", f"optimizer.lr={rate}") for rate in (0.1, 0.2)]
    assert kind_of(rates[0]) != kind_of(rates[1])


@pytest.mark.parametrize("name", ["result.json", "metrics.csv"])
def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path: Path, name: str) -> None:
    config = compose("train", [f"hydra.run.dir={tmp_path}"])
    prepare_run(config)
    (tmp_path / name).touch()
    with pytest.raises(CommandError, match="it holds a run already"):
        prepare_run(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweep.dry_run=true"], "sweep.dry_run=True is of a sweep: add -m"),
        (["sweep.part='1/2'"], "sweep.part=1/2 is of a sweep: add -m"),
        (["hparams_search=optuna", "scheduler=none"], "one run cannot choose optimizer.lr, dataset.batch_size: add -m"),
        (["+sed=3"], "there is no setting 'sed'. Did you mean seed"),
    ],
)
def test_what_one_run_cannot_do_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        prepare_run(compose_unchecked(*overrides))


def compose_unchecked(*overrides: str) -> DictConfig:
    config = compose("train", [override for override in overrides if not override.startswith("+")])
    config.hydra.overrides.task = list(overrides)
    return config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hydra/launcher=basic", "sweep.resume=x"], "does not know it; use hydra/launcher=jsc"),
        (["hydra/launcher=basic", "sweep.dry_run=true"], "does not know it; use hydra/launcher=jsc"),
        (["sweep.part='1/2'"], "of which sweep"),
    ],
)
def test_what_a_sweep_cannot_do_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        check_sweep(compose("train", overrides))


def test_one_run_of_an_experiment_says_how_to_sweep(command: Command, tmp_path: Path) -> None:
    assert command("jsc.train", "experiment=batch_size", "hydra.run.dir=run", *QUICK[:2]) == 0
    said = (tmp_path / "run" / "train.log").read_text()
    assert (
        "This is one run, at the default dataset.batch_size. To sweep over dataset.batch_size=32,64,128,256,512,1024: "
        "python -m jsc.train -m experiment=batch_size trainer.max_epochs=2 trainer.limit_train_batches=30"
    ) in said
    assert said.index("This is one run") < said.index("parameters on cpu")  # before it trains


@pytest.mark.parametrize(
    ("overrides", "is_advised"),
    [
        ([], False),
        (["experiment=batch_size", "dataset.batch_size=64"], False),
        (["experiment=lr_x_batch_size", "dataset.batch_size=64"], True),
    ],
)
def test_who_names_the_values_needs_no_advice(overrides: list[str], is_advised: bool) -> None:
    assert (advice_on_sweeping(compose("train", overrides).hydra) is not None) == is_advised


def test_a_wrong_network_is_refused_by_the_process_that_builds_it(deadly: list[str]) -> None:
    overrides = [*deadly, "+model.options.width=3", "hydra.run.dir=run"]
    with pytest.raises(CommandError, match=r"(?s)deadly.*width"):
        prepare_run(compose("train", overrides))
    with pytest.raises(JobFailed):
        prepare_run(compose("train", [*deadly, "+model.options.run=exit"]))
