"""The head of a sweep on a cluster, without one: what its tasks would write is written by the tests."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hydra.types import HydraContext
from omegaconf import OmegaConf

from hydra_plugins.jsc_launcher import _cluster
from hydra_plugins.jsc_launcher._cluster import OnCluster
from hydra_plugins.jsc_launcher._task import COMPLETED
from hydra_plugins.jsc_launcher.launchers_for_clusters import RayLauncher, SlurmLauncher
from jsc.cli.command import compose
from jsc.cli.settings import TrainSettings
from jsc.errors import CommandError
from jsc.results import Status
from jsc.sweep.place import End, Work
from jsc.sweep.plan import Job
from jsc.sweep.split import Layout
from jsc.train import main
from tests.conftest import settings_of
from tests.jsc_launcher.conftest import SweepCommand
from tests.reporting.conftest import write_run


@dataclass
class ScriptedCluster:
    """Each time that it is asked what has ended it goes one step on in `script`, which yields the answers."""

    script: Iterator[dict[str, str]]
    num_submitted: int = 0
    cancelled: list[str] = field(default_factory=list)
    name: str = "Fake"

    def submit(self, tasks: Sequence[Callable[[], None]], folder: Path) -> dict[str, Path]:
        self.num_submitted += len(tasks)
        return {f"id-{num}": folder / f"id-{num}.log" for num in range(len(tasks))}

    def ended(self, ids: Sequence[str]) -> dict[str, str]:
        return next(self.script)

    def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids


@dataclass
class Record:
    """A listener that remembers."""

    heard: list[tuple[int, str]] = field(default_factory=list)
    ends: dict[int, End] = field(default_factory=dict)

    def started(self, job: Job) -> None:
        self.heard.append((job.num, "started"))

    def ended(self, job: Job, end: End) -> None:
        assert job.num not in self.ends
        self.heard.append((job.num, end.status))
        self.ends[job.num] = end

    def tick(self, running: Mapping[int, float]) -> None:
        assert set(running) == {num for num, what in self.heard if what == "started"} - set(self.ends)


@pytest.fixture(scope="module")
def settings() -> TrainSettings:
    return settings_of()


@pytest.fixture
def work(tmp_path: Path, settings: TrainSettings) -> Work:
    """Three runs."""
    (tmp_path / "sweep.json").write_text(json.dumps({"words": ["plugins=[mine]", "sweep.dry_run=false"]}))
    return Work(
        folder=tmp_path,
        jobs=[Job(num, (f"seed={num}",), tmp_path / f"{num}_seed={num}", "", settings) for num in range(3)],
        to_run=frozenset(range(3)),
        varied=["seed"],
        hydra=b"",
        num_workers=2,
        on_failure="continue",
        num_retries=1,
    )


def begin(job: Job) -> None:
    job.folder.mkdir(exist_ok=True)
    with job.log_file.open("a") as file:
        file.write("...")


def end(job: Job, status: Status = "completed") -> None:
    begin(job)
    write_run(job.folder, status=status, total_seconds=2.5)


def run(cluster: ScriptedCluster, work: Work, signals: list[int] | None = None, num_tasks: int = 1) -> Record:
    record = Record()
    OnCluster(cluster, Layout(2, num_tasks)).run(work, record, [] if signals is None else signals)
    assert sorted(record.ends) == sorted(work.to_run)
    return record


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(_cluster, "LAG_SECONDS", 0.3)


def test_a_task_that_dies_loses_its_unfinished_jobs_alone(
    tmp_path: Path, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = work.jobs

    def script() -> Iterator[dict[str, str]]:
        begin(jobs[0])
        yield {}
        end(jobs[0])
        begin(jobs[1])
        yield {}
        yield {"id-0": "NODE_FAIL"}

    record = run(ScriptedCluster(script()), work)
    assert record.heard == [(0, "started"), (0, "completed"), (1, "started"), (1, "interrupted"), (2, "missing")]
    assert record.ends[0] == End("completed", None, 2.5)
    task_log = tmp_path / "tasks" / "id-0.log"
    assert record.ends[1].error == record.ends[2].error == f"its Fake task id-0 ended as NODE_FAIL; its log: {task_log}"
    assert f"Task id-0 ended as NODE_FAIL with 2 of its 3 jobs unfinished; its log: {task_log}" in caplog.text


def test_a_failed_job_is_told_of_and_the_task_goes_on(tmp_path: Path, work: Work) -> None:
    def script() -> Iterator[dict[str, str]]:
        for job in work.jobs:
            end(job, "failed" if job.num == 1 else "completed")
            yield {}

    record = run(ScriptedCluster(script()), work)
    assert [record.ends[num].status for num in range(3)] == ["completed", "failed", "completed"]
    assert record.ends[1].error == "RuntimeError: out of memory"


def test_a_failure_that_is_to_be_tried_again_is_no_end(tmp_path: Path, work: Work) -> None:
    def script() -> Iterator[dict[str, str]]:
        for job in work.jobs:
            end(job, "failed")
        yield {}
        end(work.jobs[1])
        yield {}
        yield {"id-0": COMPLETED}

    record = run(ScriptedCluster(script()), replace(work, on_failure="retry"))
    assert [record.ends[num].status for num in range(3)] == ["failed", "completed", "failed"]


def test_what_an_earlier_launch_left_is_not_taken_for_an_end(tmp_path: Path, work: Work) -> None:
    """One job failed then, one was interrupted: neither has ended before it is run again."""
    end(work.jobs[0], "failed")
    end(work.jobs[1], "interrupted")

    def script() -> Iterator[dict[str, str]]:
        yield {}
        begin(work.jobs[1])
        yield {}
        end(work.jobs[1], "interrupted")  # Slurm puts its task back into the queue
        yield {}
        for job in work.jobs:
            end(job)
        yield {}

    record = run(ScriptedCluster(script()), work)
    assert record.heard[0] == (1, "started")
    assert {end.status for end in record.ends.values()} == {"completed"}


def test_a_job_that_a_task_of_a_killed_head_has_finished_meanwhile_is_done(work: Work) -> None:
    for job in work.jobs:
        end(job)
    record = run(ScriptedCluster(iter([{"id-0": COMPLETED}])), work)
    assert {end.status for end in record.ends.values()} == {"completed"}


def test_a_record_is_waited_for_that_the_file_system_does_not_show_yet(tmp_path: Path, work: Work) -> None:
    """A task that ended well has run its jobs."""

    def script() -> Iterator[dict[str, str]]:
        end(work.jobs[0])
        yield {"id-0": COMPLETED}
        yield {}
        end(work.jobs[2])
        while True:
            yield {}

    record = run(ScriptedCluster(script()), work)
    assert [end for end in record.heard if end[1] != "started"] == [(0, "completed"), (2, "completed"), (1, "missing")]
    assert "its Fake task id-0 ended as COMPLETED" in (record.ends[1].error or "")


@pytest.mark.parametrize("num_signals", [1, 2])
def test_a_stopped_sweep_cancels_its_tasks_and_blames_none(tmp_path: Path, work: Work, num_signals: int) -> None:
    signals = [2]

    def script() -> Iterator[dict[str, str]]:
        begin(work.jobs[0])
        if num_signals == 2:
            signals.append(2)
        yield {}
        end(work.jobs[0], "interrupted")
        yield {"id-0": "CANCELLED", "id-1": "CANCELLED"}

    cluster = ScriptedCluster(script())
    record = run(cluster, work, signals, num_tasks=2)
    assert cluster.cancelled == ["id-0", "id-1"]
    assert {num: (end.status, end.error) for num, end in record.ends.items()} == {
        0: ("interrupted", None), 1: ("missing", None), 2: ("missing", None),
    }  # fmt: skip


def test_on_failure_stop_blames_no_task_for_what_it_did_not_start(tmp_path: Path, work: Work) -> None:
    def script() -> Iterator[dict[str, str]]:
        end(work.jobs[0], "failed")
        yield {"id-0": COMPLETED}

    record = run(ScriptedCluster(script()), replace(work, on_failure="stop"))
    assert [record.ends[num].status for num in range(3)] == ["failed", "missing", "missing"]
    assert [record.ends[num].error for num in (1, 2)] == [None, None]


def test_there_are_no_more_tasks_than_parts_with_jobs_to_run(tmp_path: Path, work: Work) -> None:
    def script() -> Iterator[dict[str, str]]:
        end(work.jobs[2])
        yield {}

    cluster = ScriptedCluster(script())
    run(cluster, replace(work, to_run=frozenset({2})), num_tasks=5)
    run(cluster, replace(work, to_run=frozenset()), num_tasks=5)
    assert cluster.num_submitted == 1


@pytest.mark.parametrize(
    ("launcher", "setting", "message"),
    [
        (SlurmLauncher, {"num_tasks": 0}, "hydra.launcher.num_tasks=0: give 1 or more"),
        (SlurmLauncher, {"timeout_min": 0}, "hydra.launcher.timeout_min=0: give 1 or more"),
        (SlurmLauncher, {"array_parallelism": 0}, "give 1 or more"),
        (SlurmLauncher, {"mem_gb": -1.0}, "give a positive number"),
        (SlurmLauncher, {"on_failure": "panic"}, "allowed: continue, stop, retry"),
        (RayLauncher, {"cpus_per_task": 0}, "hydra.launcher.cpus_per_task=0: give 1 or more"),
        (RayLauncher, {"gpus_per_task": -1}, "give 0 or more"),
    ],
)
def test_settings_have_their_ranges(
    launcher: type[SlurmLauncher | RayLauncher], setting: dict[str, Any], message: str
) -> None:
    built = launcher(**setting)
    with pytest.raises(CommandError, match=message):
        built.setup(hydra_context=HydraContext(None, None), task_function=main, config=OmegaConf.create())  # type: ignore[arg-type]


def test_any_option_of_sbatch_may_be_given() -> None:
    """Without a `+` before it, as docs/sweeps.md has it."""
    launcher = compose("train", [SLURM, "hydra.launcher.additional_parameters={mail-user: me@lab.org}"]).hydra.launcher
    assert launcher.additional_parameters == {"mail-user": "me@lab.org"}


SLURM, RAY = "hydra/launcher=submitit_slurm", "hydra/launcher=ray"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([SLURM, "hydra.launcher.cpus_per_task=two"], "could not be converted to Integer"),
        ([SLURM, "hydra.launcher.walltime=3"], "walltime"),
        ([SLURM], "needs submitit: pip install 'jsc[slurm]'"),
        ([RAY], "needs ray: pip install 'jsc[ray]'"),
    ],
)
def test_wrong_commands_leave_nothing(
    sweep_command: SweepCommand,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    for package in ("submitit", "ray"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert sweep_command("-m", "seed=0,1", "hydra.sweep.dir=s", *words) == 2
    assert message in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_there_is_a_word_on_where_to_start(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sweep_command("-m", "seed=0,1", SLURM) == 2
    assert "there is no sbatch here" in capfd.readouterr().err


def test_without_ray_there_is_a_word_on_how_to_start_one(
    sweep_command: SweepCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")

    def refuse(address: str, **_: object) -> None:
        raise ConnectionError(f"nobody at {address}")

    monkeypatch.setattr(ray, "init", refuse)  # Ray itself tries for half a minute
    assert sweep_command("-m", "seed=0,1", RAY, "hydra.launcher.address=nowhere:1", "hydra.sweep.dir=s") == 2
    message = capfd.readouterr().err
    assert "hydra.launcher.address=nowhere:1: no Ray cluster answers (nobody at nowhere:1)" in message
    assert "ray start --head" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_documentations_thousand_runs_are_20_tasks_of_50(
    sweep_command: SweepCommand, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    section = text.partition("### A thousand runs on 20 nodes\n")[2]
    command = section.partition("    python -m jsc.train ")[2].partition("\n\n")[0]
    assert sweep_command(*shlex.split(command.replace("\\\n", " ")), "trainer.limit_train_batches=30") == 0
    output = capfd.readouterr().out
    assert "1000 jobs" in output
    assert "in 20 tasks of 50 jobs, 20 at once with 25 workers each" in output
    rows = [line.split("│") for line in output.splitlines() if line.startswith("│")]
    of_task_7 = [row[2] for row in rows if row[4].strip() == "7"]
    assert sum("batch_size=64" in folder for folder in of_task_7) == 10
