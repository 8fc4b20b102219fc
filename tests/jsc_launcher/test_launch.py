"""Sweeps from the command to the table: workers that die, failure policies, resume, runs that share a beginning."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from jsc.fit.checkpoint import read_checkpoint
from jsc.results import read_metrics, read_result, read_test
from jsc.run.training import train
from tests.conftest import settings_of
from tests.jsc_launcher.conftest import QUICK, SweepCommand
from tests.processes import KILLED, PATIENCE, command_process

TRAP = """
import os, signal, time
from pathlib import Path
import torch
from torch import nn
from jsc.models import ModelInfo, register

class Trap(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how
    def forward(self, x):
        if isinstance(x, torch.fx.Proxy) or not self.training or not Path("armed").exists():
            return x
        if self.how == "once":
            Path("armed").unlink()
        if self.how in ("raise", "once"):
            raise ValueError("the trap was sprung")
        if self.how in ("SIGSEGV", "SIGKILL"):
            os.kill(os.getpid(), signal.Signals[self.how])
        if self.how == "slow":  # 0.6 s an epoch, and hardly any of it the processor's
            time.sleep(0.02)
        return x

@register(ModelInfo(name="trap", model_source="physical", task_type="physical",
                    physical_data_point_classification=True, is_fx_traceable=False))
def trap(*, num_features, num_classes, how="none"):
    return nn.Sequential(Trap(how), nn.Linear(num_features, num_classes))
"""


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words for a network that fails as `model.options.how` says, while a file `armed` is there."""
    from jsc.models import registry

    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS), raising=True)
    monkeypatch.delitem(sys.modules, "trap", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "trap.py").write_text(TRAP)
    (tmp_path / "armed").touch()
    return ["plugins=[trap]", "model.name=trap", "engine=torch", *QUICK, "trainer.max_epochs=1", "hydra.sweep.dir=s"]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(folder: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in table(folder)]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoints" / name).weights


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit, but for times and paths."""
    for name in ("best.ckpt", "last.ckpt"):
        a, b = weights(one, name), weights(other, name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    rows = [
        [(r.epoch, r.step, r.lr, r.train_loss, r.val_loss, r.val_acc) for r in read_metrics(f)] for f in (one, other)
    ]
    assert rows[0] == rows[1]
    results = [read_result(folder) for folder in (one, other)]
    names = ("status", "train_loss", "val_loss", "test_loss", "test_acc", "best_epoch", "epochs_run", "max_epochs")
    for name in names:
        assert getattr(results[0], name) == getattr(results[1], name), name
    assert (
        read_test(one / "checkpoints" / "test.json").confusion
        == read_test(other / "checkpoints" / "test.json").confusion
    )


def test_workers_have_the_environment_and_the_folder_of_their_sweep(
    sweep_command: SweepCommand, trap: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of the process that they are forks of, which an earlier test may have started."""
    monkeypatch.setenv("JSC_MARK", tmp_path.name)
    source = (tmp_path / "trap.py").read_text()
    noting = "    Path(f'seen_{os.getpid()}').write_text(os.environ['JSC_MARK'])\n"
    (tmp_path / "trap.py").write_text(source.replace("    return nn.Seq", f"{noting}    return nn.Seq"))
    (tmp_path / "armed").unlink()
    assert sweep_command("-m", *trap, "seed=0,1", "hydra.launcher.num_workers=2") == 0
    seen = {path.name: path.read_text() for path in tmp_path.glob("seen_*")}
    assert len(seen) == 3  # the sweep builds each network too, to check it
    assert set(seen.values()) == {tmp_path.name}


@pytest.mark.slow
def test_workers_that_die_fail_their_own_job_and_resume_runs_these_alone(
    sweep_command: SweepCommand, trap: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    how = ["none", "raise", "SIGSEGV", "SIGKILL", "other"]
    words = ["-m", *trap, f"+model.options.how={','.join(how)}", "hydra.launcher.num_workers=2"]
    assert sweep_command(*words) == 1
    output = capfd.readouterr().out
    folders = {kind: next((tmp_path / "s").glob(f"{i}_*")) for i, kind in enumerate(how)}
    results = {kind: read_result(folder) for kind, folder in folders.items()}
    assert {kind: r.status for kind, r in results.items()} == {
        "none": "completed", "raise": "failed", "SIGSEGV": "failed", "SIGKILL": "failed", "other": "completed",
    }  # fmt: skip
    assert results["raise"].error == "ValueError: the trap was sprung"
    assert results["SIGSEGV"].error == "its process was killed by SIGSEGV"
    assert results["SIGKILL"].error == "its process was killed by SIGKILL (out of memory?)"
    logs = {kind: (folder / "train.log").read_text() for kind, folder in folders.items()}
    assert logs["raise"].count("ValueError: the trap was sprung") == 1
    assert "Fatal Python error: Segmentation fault" in logs["SIGSEGV"]
    assert "killed by SIGKILL" in logs["SIGKILL"]
    assert all("Error" not in logs[kind] for kind in ("none", "other"))
    for kind in ("raise", "SIGSEGV", "SIGKILL"):
        assert f"Failed: {folders[kind]}: {results[kind].error}" in output
    assert "3 of 5 jobs failed" in output
    assert [row["status"] for row in table(tmp_path / "s")] == ["completed"] * 2 + ["failed"] * 3

    written = {kind: (folders[kind] / "result.json").stat().st_mtime_ns for kind in how}
    (tmp_path / "armed").unlink()
    assert sweep_command("sweep.resume=s") == 2
    assert "to allow it give plugins=[trap] yourself" in capfd.readouterr().err
    assert sweep_command("sweep.resume=s", "plugins=[trap]") == 0
    assert {row["status"] for row in table(tmp_path / "s")} == {"completed"}
    again = {kind for kind in how if (folders[kind] / "result.json").stat().st_mtime_ns != written[kind]}
    assert again == {"raise", "SIGSEGV", "SIGKILL"}

    capfd.readouterr()
    assert sweep_command("sweep.resume=s", "plugins=[trap]", "optimizer.lr=0.5") == 2
    assert "job 0 (" in (message := capfd.readouterr().err)
    assert "optimizer.lr was 0.001, is 0.5" in message
    assert sweep_command(*words) == 2
    assert "holds a run already" in capfd.readouterr().err


@pytest.mark.slow
def test_stop_starts_no_further_job(sweep_command: SweepCommand, trap: list[str], tmp_path: Path) -> None:
    words = ["+model.options.how=raise,none", "hydra.launcher.num_workers=1", "hydra.launcher.on_failure=stop"]
    assert sweep_command("-m", *trap, *words) == 1
    assert [row["status"] for row in table(tmp_path / "s")] == ["failed", "missing"]


def test_retry_tries_again(sweep_command: SweepCommand, trap: list[str], tmp_path: Path) -> None:
    words = ["+model.options.how=once", "hydra.launcher.on_failure=retry"]
    assert sweep_command("-m", *trap, *words) == 0
    row = table(tmp_path / "s")[0]
    assert row["status"] == "completed"
    log = (tmp_path / "s" / row["folder"] / "train.log").read_text()
    assert log.count("ValueError: the trap was sprung") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.launcher.on_failure=panic"], "allowed: continue, stop, retry"),
        (["hydra.launcher.num_workers=0"], "give 1 or more"),
        (["hydra.launcher.num_retries=0"], "give 1 or more"),
        (["hydra/launcher=basic", "sweep.dry_run=true"], "use hydra/launcher=jsc"),
        (["sweep.resume=nowhere"], "there is no such folder"),
    ],
)
def test_wrong_settings_are_answered_before_a_folder_is_made(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert sweep_command("-m", "seed=0,1", *words) == 2
    assert message in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    pass

if __name__ == "__main__":
    main()
"""


def test_another_task_than_jscs_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    words = ["-m", "hydra/launcher=jsc", "+x=1,2", "hydra.sweep.dir=out"]
    done = subprocess.run(
        [sys.executable, "script.py", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("hydra/launcher=jsc runs jobs of jsc.train alone, not main of __main__: take")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_shows_the_jobs_and_leaves_nothing(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep_command("-m", *QUICK, "trainer.max_epochs=2,500", "sweep.dry_run=true", "hydra.sweep.dir=a/s") == 0
    output = capfd.readouterr().out
    assert "0_max_epochs=2,limit_train_batches=30,batch_size=64" in output
    assert "1_max_epochs=500,limit_train_batches=30,batch_size=64" in output
    assert "Nothing was trained" in output
    assert not (tmp_path / "a").exists()
    assert sweep_command("sweep.dry_run=true") == 2


@pytest.mark.parametrize(("words", "code"), [(["sweep.dry_run=true"], 0), (["loss.class_weights=[1]"], 2)])
def test_hydras_own_sweeper_leaves_no_folder_either(
    sweep_command: SweepCommand, tmp_path: Path, words: list[str], code: int
) -> None:
    """Which makes it, and writes there, before it asks the launcher."""
    assert sweep_command("-m", *QUICK, "seed=0,1", "hydra/sweeper=basic", "hydra.sweep.dir=s", *words) == code
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("engine", ["fused", pytest.param("torch", marks=pytest.mark.slow)])
def test_runs_that_begin_alike_are_trained_once(sweep_command: SweepCommand, tmp_path: Path, engine: str) -> None:
    """Two dropouts, a plateau schedule, a best epoch that is not the last: all of it goes on as if alone."""
    words = [
        *QUICK,
        f"engine={engine}",
        "model=jsc_trt",
        "scheduler=plateau",
        "scheduler.patience=0",
        "optimizer.lr=0.1",
    ]
    words = [word for word in words if not word.startswith("trainer.max_epochs=")]
    assert sweep_command("-m", *words, "trainer.max_epochs=5,1,3", "hydra.sweep.dir=shared") == 0
    shared = [next((tmp_path / "shared").glob(f"{i}_*")) for i in range(3)]
    alone = [tmp_path / f"alone{epochs}" for epochs in (5, 1, 3)]
    for folder, epochs in zip(alone, (5, 1, 3), strict=True):
        folder.mkdir()
        settings = settings_of(*words, f"trainer.max_epochs={epochs}")
        train(settings, folder=folder, command="")
    for one, other in zip(shared, alone, strict=True):
        assert_same_run(one, other)
        assert one.name in (read_result(one).checkpoint_best or "")
        stored = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (one, other)]
        assert stored[0]["hyper_parameters"] == stored[1]["hyper_parameters"]
        assert stored[0]["callbacks"].keys() == stored[1]["callbacks"].keys()
        assert scalars(one) == scalars(other)
    taken_over = ["Epochs 1 to" in (folder / "train.log").read_text() for folder in shared]
    assert taken_over == [True, False, True]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag != "jets_per_second"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


STOPPABLE = [*QUICK, "optimizer.lr=0.1,0.01,0.001", "trainer.max_epochs=200"]


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_to_the_table_of_an_undisturbed_one(
    sweep_command: SweepCommand, tmp_path: Path
) -> None:
    """Stopped three times, and killed in the end."""
    words = ["-m", *STOPPABLE, "hydra.sweep.dir=stopped"]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, KILLED)):
        before = rows_written(tmp_path / "stopped")
        with command_process(tmp_path, "jsc.train", *words) as process:
            deadline = time.monotonic() + PATIENCE
            while rows_written(tmp_path / "stopped") < before + 20 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert process.stop(number) == code
        if code == 130:
            states = {row["status"] for row in table(tmp_path / "stopped")}
            assert "interrupted" in states
            assert states <= {"interrupted", "missing", "completed"}
        words = ["sweep.resume=stopped"]
    time.sleep(0.5)  # a killed sweep's workers notice
    assert sweep_command("sweep.resume=stopped") == 0
    assert sweep_command("-m", *STOPPABLE, "hydra.sweep.dir=whole") == 0
    whole, stopped = without_times(tmp_path / "whole"), without_times(tmp_path / "stopped")
    assert [{**row, "checkpoint_best": ""} for row in whole] == [{**row, "checkpoint_best": ""} for row in stopped]
    for row in whole:
        assert_same_run(tmp_path / "whole" / row["folder"], tmp_path / "stopped" / row["folder"])


def rows_written(sweep: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in sweep.glob("*/metrics.csv"))


@pytest.mark.slow
def test_a_plan_holds_every_jobs_settings(sweep_command: SweepCommand, tmp_path: Path) -> None:
    assert sweep_command("-m", *QUICK, "seed=0,1", "optimizer.lr=0.1", "sweep.name=x", "hydra.sweep.dir=s") == 0
    plan: dict[str, Any] = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert [job["settings"] for job in plan["jobs"]] == [{"seed": 0}, {"seed": 1}]
    assert plan["settings"]["optimizer.lr"] == 0.1
    assert all("name=x" not in job["folder"] for job in plan["jobs"])
    rows = table(tmp_path / "s")
    assert {row["group_n"] for row in rows} == {"2"}
    losses = [float(row["val_loss"]) for row in rows]
    assert losses == sorted(losses)
    assert float(rows[0]["group_val_loss_mean"]) == pytest.approx(sum(losses) / 2)
    assert all(row["command"].startswith("python -m jsc.train ") for row in rows)
    assert all("sweep.name" not in row["command"] for row in rows)


COLD = """
import sys
if __name__ == "__main__":
    from jsc import train
    try:
        train.entry()
    finally:
        print("imported:", *sorted({"torch", "pytorch_lightning", "jsc.run.training"} & sys.modules.keys()))
"""


def test_a_sweeps_own_process_does_without_torch(trap: list[str], tmp_path: Path) -> None:
    """Its jobs are checked, what they share is found out, and a dead worker's record is written elsewhere."""
    (tmp_path / "cold.py").write_text(COLD)

    def sweep(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "cold.py", "-m", *trap, *words, "hydra.launcher.num_workers=1"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)

    refused = sweep("loss.class_weights=null,[1]", "hydra.sweep.dir=refused")
    assert refused.returncode == 2
    said = [line for line in refused.stderr.splitlines() if not line.endswith("checked")]  # on a busy machine
    assert said[0].startswith("loss.class_weights=[1.0]: give 5 weights")
    assert not (tmp_path / "refused").exists()
    ended = sweep("trainer.max_epochs=1,2", "+model.options.how=none,SIGKILL", "hydra.sweep.dir=s")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    results = [read_result(next((tmp_path / "s").glob(f"{i}_*"))) for i in range(4)]
    assert [result.status for result in results] == ["completed", "failed", "completed", "failed"]
    assert results[1].error == "its process was killed by SIGKILL (out of memory?)"
    for process in (refused, ended):
        assert "imported:\n" in process.stdout
