"""Sweeps on a real Slurm: `bash .ci/slurm start FOLDER` makes one of this machine."""

import signal
import subprocess
from pathlib import Path

import pytest

from jsc.results import read_result
from jsc.run.training import train
from tests.conftest import settings_of
from tests.jsc_launcher.clusters import require_slurm, wait_for_epochs
from tests.jsc_launcher.conftest import QUICK, SweepCommand
from tests.jsc_launcher.test_launch import assert_same_run, table, trap, without_times
from tests.processes import KILLED, command_process

pytestmark = pytest.mark.slow

__all__ = ["trap"]  # a fixture
SLURM = "hydra/launcher=submitit_slurm"


@pytest.fixture(autouse=True)
def _slurm() -> None:
    require_slurm()


def queue(folder: Path) -> list[str]:
    """Ids of this sweep's tasks that wait or run."""
    command = ["squeue", "--noheader", "--array", "--format=%i %Z"]  # an id and its working folder
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split()[0] for line in lines if line.split()[1] == str(folder)]


def test_a_sweep_has_the_folders_and_the_table_of_a_local_one(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two pairs that begin alike, on two tasks."""
    words = ["-m", *QUICK, "trainer.max_epochs=1,3", "optimizer.lr=0.1,0.01"]
    asked = [
        "num_tasks=2",
        "cpus_per_task=2",
        "mem_gb=0.5",
        "setup=['echo here']",
        "additional_parameters={comment: mine}",
    ]
    on_slurm = [SLURM, *(f"hydra.launcher.{setting}" for setting in asked), "hydra.sweep.dir=slurm"]
    assert sweep_command(*words, *on_slurm) == 0
    assert "Submitted 4 jobs in 2 tasks" in capfd.readouterr().out
    assert sweep_command(*words, "hydra.launcher.num_workers=1", "hydra.sweep.dir=local") == 0
    local, slurm = without_times(tmp_path / "local"), without_times(tmp_path / "slurm")
    assert [{**row, "checkpoint_best": ""} for row in local] == [{**row, "checkpoint_best": ""} for row in slurm]
    for row in local:
        assert_same_run(tmp_path / "local" / row["folder"], tmp_path / "slurm" / row["folder"])
    (script,) = (tmp_path / "slurm" / "tasks").glob("*_submission.sh")
    lines = script.read_text().splitlines()
    asked = ["array=0-1%2", "cpus-per-task=2", "mem=512MB", "time=60", "comment=mine"]
    assert {*(f"#SBATCH --{option}" for option in asked), "echo here"} <= set(lines)
    shared = (tmp_path / "slurm").glob("*max_epochs=3*")
    assert ["Epochs 1 to 1 are those of" in (folder / "train.log").read_text() for folder in shared] == [True] * 2


def test_a_failed_job_is_named_and_stops_the_other_tasks_too_where_that_is_wanted(
    sweep_command: SweepCommand, trap: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Jobs 0 and 3 are one task, 1 and 2 the other."""
    words = ["trainer.max_epochs=20", "+model.options.how=SIGKILL,slow,none,other", "hydra.launcher.on_failure=stop"]
    assert sweep_command("-m", *trap, *words, SLURM, "hydra.launcher.num_tasks=2") == 1
    rows = {row["job"]: row for row in table(tmp_path / "s")}
    assert [rows[job]["status"] for job in "023"] == ["failed", "missing", "missing"]
    assert rows["1"]["status"] in ("completed", "missing")  # its task may begin after that failure
    assert rows["0"]["error"] == "its process was killed by SIGKILL (out of memory?)"
    output = capfd.readouterr().out
    assert "1 of 4 jobs failed" in output
    assert "ended as" not in output


def test_a_search_submits_batch_after_batch(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna", reason="the extra [optuna] is not installed")
    search = ["hparams_search=optuna", "hydra.sweeper.num_trials=4", "hydra.sweeper.num_at_once=2", "hydra.sweep.dir=s"]
    assert sweep_command("-m", *search, *QUICK, SLURM, "hydra.launcher.num_tasks=2") == 0
    assert capfd.readouterr().out.count("Submitted 2 jobs in 2 tasks") == 2
    rows = table(tmp_path / "s")
    assert sorted(row["job"] for row in rows) == list("0123")
    assert {row["status"] for row in rows} == {"completed"}


def test_what_slurm_refuses_leaves_nothing(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep_command("-m", "seed=0,1", SLURM, "hydra.launcher.partition=none", "hydra.sweep.dir=s") == 2
    message = capfd.readouterr().err
    assert "Slurm did not take the tasks" in message
    assert "invalid partition" in message
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_goes_on_whatever_is_stopped_or_killed(
    sweep_command: SweepCommand,
    trap: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its head with Ctrl-C, its task with scancel, its head with kill -9."""
    sweep = tmp_path / "s"
    settings = [*trap[:-1], "trainer.max_epochs=20", "+model.options.how=slow"]
    words = ["-m", *settings, "optimizer.lr=0.1,0.01", SLURM, "hydra.sweep.dir=s"]
    with command_process(tmp_path, "jsc.train", *words) as head:
        wait_for_epochs(sweep, 2)
        assert head.stop(signal.SIGINT) == 130, head.output()
    assert queue(tmp_path) == []
    assert [row["status"] for row in table(sweep)] == ["interrupted", "missing"]
    assert len(list(sweep.glob("*/checkpoints/last.ckpt"))) == 1

    with command_process(tmp_path, "jsc.train", "sweep.resume=s", trap[0]) as head:
        wait_for_epochs(sweep, 2)
        (task,) = queue(tmp_path)
        subprocess.run(["scancel", task], check=True)
        assert head.end() == 1
    log = sweep / "tasks" / f"{task}_0_log.out"
    assert f"Task {task} ended as CANCELLED with 2 of its 2 jobs unfinished; its log: {log}" in head.output()
    assert f"STEP {task}.0 ON" in log.read_text()
    rows = table(sweep)
    assert [row["status"] for row in rows] == ["interrupted", "missing"]
    assert read_result(sweep / rows[0]["folder"]).status == "interrupted"  # it had the time to save
    assert all(row["error"] == f"its Slurm task {task} ended as CANCELLED; its log: {log}" for row in rows)

    with command_process(tmp_path, "jsc.train", "sweep.resume=s", trap[0]) as head:
        wait_for_epochs(sweep, 2)
        assert head.stop(signal.SIGKILL) == KILLED
    (task,) = queue(tmp_path)
    capfd.readouterr()
    assert sweep_command("sweep.resume=s", trap[0]) == 0  # beside that task
    assert "Submitted 2 jobs in 1 tasks" in capfd.readouterr().out
    rows = table(sweep)
    assert [row["status"] for row in rows] == ["completed"] * 2
    logs = [next(sweep.glob(f"{job}_*/train.log")).read_text() for job in (0, 1)]
    assert [log.count("to validate") for log in logs] == [3, 1]  # starts: neither job was run by both
    (tmp_path / "alone").mkdir()
    (tmp_path / "armed").unlink()
    train(settings_of(*settings, "optimizer.lr=0.1"), folder=tmp_path / "alone", command="")
    assert_same_run(tmp_path / "alone", next(sweep.glob("0_*")))
