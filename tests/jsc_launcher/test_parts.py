"""Several processes on one sweep: each runs its part, no two run one job, and the outcome is that of one process."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from filelock import FileLock

from jsc.results import read_result
from tests.jsc_launcher.conftest import QUICK, SweepCommand
from tests.jsc_launcher.test_launch import assert_same_run, table, without_times
from tests.processes import KILLED, PATIENCE, command_process

# Two lengths of each rate, which share their beginning and so a part.
JOBS = [*QUICK, "optimizer.lr=0.1,0.01,0.001", "trainer.max_epochs=1,3", "hydra.launcher.num_workers=1"]


@pytest.fixture
def planned(sweep_command: SweepCommand, tmp_path: Path) -> Path:
    """A sweep of which no job has begun, beside the same one, `whole`, that has ended."""
    assert sweep_command("-m", *JOBS, "hydra.sweep.dir=whole") == 0
    (tmp_path / "s").mkdir()
    shutil.copy(tmp_path / "whole" / "sweep.json", tmp_path / "s")
    return tmp_path / "s"


def leave_to_run(folder: Path, nums: list[int]) -> None:
    plan = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**plan, "to_run": nums}))


def ended(folder: Path) -> list[int]:
    return sorted(int(path.parent.name.partition("_")[0]) for path in folder.glob("*/result.json"))


def times_begun(folder: Path) -> list[int]:
    return [path.read_text().count("jets to train") for path in folder.glob("*/train.log")]


def test_parts_come_to_the_whole(
    sweep_command: SweepCommand, planned: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = (planned / "sweep.json").read_text()
    capfd.readouterr()
    assert sweep_command("sweep.resume=s", "sweep.part=2/2") == 0
    assert "Sweep of 6 jobs in s: 2 to run with 1 worker, part 2/2 of them" in capfd.readouterr().out
    assert ended(planned) == [1, 4]
    assert [row["status"] for row in table(planned)] == ["completed"] * 2 + ["missing"] * 4
    assert sweep_command("sweep.resume=s", "sweep.part=1/2") == 0
    assert ended(planned) == list(range(6))
    assert times_begun(planned) == [1] * 6
    assert (planned / "sweep.json").read_text() == plan
    whole = tmp_path / "whole"
    paths = {"checkpoint_best": ""}
    assert [{**row, **paths} for row in without_times(planned)] == [{**row, **paths} for row in without_times(whole)]
    for folder in whole.glob("[0-5]_*"):
        assert_same_run(folder, planned / folder.name)
    assert sweep_command("sweep.resume=s", "sweep.part=1/2") == 0  # nothing is left of it
    assert sweep_command("sweep.resume=s", "sweep.part=20/20") == 0  # there are fewer jobs than parts
    assert times_begun(planned) == [1] * 6


def test_a_part_is_of_what_was_left_to_run(sweep_command: SweepCommand, planned: Path) -> None:
    leave_to_run(planned, [1, 5])
    assert sweep_command("sweep.resume=s", "sweep.part=1/2") == 0
    assert ended(planned) == [1]
    assert sweep_command("sweep.resume=s", "sweep.part=2/2") == 0
    assert ended(planned) == [1, 5]


def test_a_job_that_another_process_has_is_left_to_it(planned: Path, tmp_path: Path) -> None:
    """And taken if that one gives it up unfinished."""
    leave_to_run(planned, [0, 1])
    taken, finished = (planned / name for name in sorted(path.name for path in (tmp_path / "whole").glob("[01]_*")))
    locks = [FileLock(folder / ".lock") for folder in (taken, finished)]
    for folder, lock in zip((taken, finished), locks, strict=True):
        folder.mkdir()
        lock.acquire()
    with command_process(tmp_path, "jsc.train", "sweep.resume=s", "sweep.part=1/1") as part:
        time.sleep(4)  # it has been told more than once that these are taken
        assert part.process.is_alive(), part.output()
        assert ended(planned) == []
        shutil.copy(tmp_path / "whole" / finished.name / "result.json", finished)
        for lock in locks:
            lock.release()
        assert part.end() == 0
    assert ended(planned) == [0, 1]
    assert read_result(taken).status == "completed"
    assert times_begun(planned) == [1]


@pytest.mark.slow
def test_two_processes_never_run_one_job(planned: Path, tmp_path: Path) -> None:
    words = ["jsc.train", "sweep.resume=s", "sweep.part=1/1"]
    with command_process(tmp_path, *words) as one, command_process(tmp_path, *words) as other:
        assert [one.end(), other.end()] == [0, 0]
    assert ended(planned) == list(range(6))
    assert times_begun(planned) == [1] * 6


@pytest.mark.slow
def test_a_killed_part_is_gone_on_with(sweep_command: SweepCommand, tmp_path: Path) -> None:
    """At once: what its worker, which dies with it, still holds is waited for."""
    long = [*QUICK, "seed=0,1", "trainer.max_epochs=60"]
    assert sweep_command("-m", *long, "hydra.sweep.dir=whole") == 0
    (tmp_path / "s").mkdir()
    shutil.copy(tmp_path / "whole" / "sweep.json", tmp_path / "s")
    with command_process(tmp_path, "jsc.train", "sweep.resume=s", "sweep.part=1/1") as part:
        deadline = time.monotonic() + PATIENCE
        while not list(tmp_path.glob("s/*/metrics.csv")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert part.stop(signal.SIGKILL) == KILLED
    assert sweep_command("sweep.resume=s", "sweep.part=1/1") == 0
    for folder in (tmp_path / "whole").glob("[01]_*"):
        assert_same_run(folder, tmp_path / "s" / folder.name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "seed=0,1", "sweep.part=1/2"], "of which sweep"),
        (["sweep.resume=s", "sweep.part=3/2"], "give 3/20 for the third of twenty parts"),
        (["-m", "sweep.resume=empty", "seed=0,1", "sweep.part=1/2"], "holds no plan of a sweep"),
        (["sweep.part=1/2"], "of a sweep: add -m"),
    ],
)
def test_a_part_of_nothing_is_refused(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.json").write_text('{"words": ["seed=0,1"], "settings": {}, "jobs": [], "to_run": []}')
    assert sweep_command(*words) == 2
    assert message in capfd.readouterr().err
    assert list((tmp_path / "empty").iterdir()) == []
