"""The head of a sweep on a cluster, without one: what its tasks would write is written by the tests."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from hydra_plugins.jsc_launcher._groups import Layout
from hydra_plugins.jsc_launcher._runner import End, PackedConfig, Work
from omegaconf import OmegaConf

from hydra_plugins.jsc_launcher import _cluster
from hydra_plugins.jsc_launcher._cluster import OnCluster
from hydra_plugins.jsc_launcher._node import NodeTask
from hydra_plugins.jsc_launcher._tasks import Event, Task, TaskFolder
from hydra_plugins.jsc_launcher.ray_launcher import RayLauncher
from hydra_plugins.jsc_launcher.slurm_launcher import SlurmLauncher
from jsc.cli.settings import TrainSettings
from jsc.errors import CommandError
from jsc.sweep.plan import Job
from jsc.train import main
from tests.conftest import settings_of
from tests.jsc_launcher.conftest import SweepCommand
from tests.reporting.conftest import write_run


@dataclass
class ScriptedCluster:
    """Each time that it is asked what has ended it goes one step on in `script`, which yields the answers."""

    script: Iterator[dict[str, str]]
    alive: tuple[str, ...] = ()
    returns: dict[int, JobReturn] = field(default_factory=dict)
    sent: list[NodeTask] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    name: str = "Fake"

    def submit(self, tasks: Sequence[NodeTask], folder: Path) -> list[str]:
        self.sent += tasks
        return [f"id-{task.num}" for task in tasks]

    def still_knows(self, task_id: str) -> bool:
        return task_id in self.alive

    def ended(self, ids: Sequence[str]) -> dict[str, str]:
        return next(self.script)

    def returned(self, task_id: str, folder: Path) -> dict[int, JobReturn]:
        return self.returns

    def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids

    def log_of(self, task: Task, folder: Path) -> Path:
        return folder / f"{task.num}.log"

    def close(self) -> None: ...


@dataclass
class Record:
    """A listener that remembers."""

    heard: list[tuple[int, str]] = field(default_factory=list)
    ends: dict[int, End] = field(default_factory=dict)

    def started(self, job: Job) -> None:
        self.heard.append((job.num, "started"))

    def ended(self, job: Job, end: End) -> None:
        self.heard.append((job.num, end.status))
        self.ends[job.num] = end

    def tick(self, running: Mapping[int, float]) -> None:
        self.heard.append((-1, f"{sorted(running)} run"))


@pytest.fixture(scope="module")
def settings() -> TrainSettings:
    return settings_of()


@pytest.fixture
def work(tmp_path: Path, settings: TrainSettings) -> Work:
    """Three runs."""
    return Work(
        jobs=[Job(num, (f"seed={num}",), tmp_path / f"{num}_seed={num}", {}, "") for num in range(3)],
        configs={num: PackedConfig("train", b"") for num in range(3)},
        settings=dict.fromkeys(range(3), settings),
        share_keys={},
        settled=frozenset(),
        setup=b"",
        num_workers=2,
        on_failure="continue",
        num_retries=1,
    )


@pytest.fixture
def files(tmp_path: Path) -> TaskFolder:
    return TaskFolder(tmp_path / "tasks")


def run(cluster: ScriptedCluster, work: Work, folder: Path, signals: Sequence[int] = (), num_tasks: int = 1) -> Record:
    record = Record()
    OnCluster(cluster, Layout(2, num_tasks), folder).run(work, record, list(signals))
    return record


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "POLL_SECONDS", 0.0)


def test_a_task_that_dies_loses_its_unfinished_jobs_alone(tmp_path: Path, work: Work, files: TaskFolder) -> None:
    def script() -> Iterator[dict[str, str]]:
        files.tell(0, Event("begun", host="node7"))
        files.tell(0, Event("started", 0))
        yield {}
        write_run(work.jobs[0].folder)
        files.tell(0, Event("completed", 0, seconds=2.5))
        files.tell(0, Event("started", 1))
        yield {}
        yield {"id-0": "NODE_FAIL"}

    record = run(ScriptedCluster(script()), work, tmp_path)
    jobs_heard = [(num, what) for num, what in record.heard if num >= 0]
    assert jobs_heard == [(0, "started"), (0, "completed"), (1, "started"), (1, "interrupted"), (2, "missing")]
    done, lost, missing = (record.ends[num] for num in range(3))
    assert done.job_return is not None
    assert done.seconds == 2.5
    assert done.job_return.return_value == pytest.approx(work.jobs[0].result().val_loss)  # type: ignore[union-attr]
    assert lost.error == missing.error == f"its Fake task id-0 ended as NODE_FAIL; its log: {files.path / '0.log'}"
    assert lost.job_return is not None
    assert lost.job_return.status == JobStatus.FAILED
    assert files.tasks() == []


def test_a_failed_job_is_told_of_and_the_task_goes_on(tmp_path: Path, work: Work, files: TaskFolder) -> None:
    def script() -> Iterator[dict[str, str]]:
        for num in range(3):
            files.tell(0, Event("started", num))
            status = "failed" if num == 1 else "completed"
            write_run(work.jobs[num].folder, status=status)  # type: ignore[arg-type]
            files.tell(0, Event(status, num, "ValueError: no" if num == 1 else None))
        yield {}

    record = run(ScriptedCluster(script()), work, tmp_path)
    assert [record.ends[num].status for num in range(3)] == ["completed", "failed", "completed"]
    assert record.ends[1].error == "ValueError: no"


def test_a_record_is_waited_for_that_the_file_system_does_not_show_yet(
    tmp_path: Path, work: Work, files: TaskFolder
) -> None:
    def script() -> Iterator[dict[str, str]]:
        files.tell(0, Event("completed", 0))
        files.tell(0, Event("completed", 2))
        write_run(work.jobs[2].folder)
        write_run(work.jobs[1].folder)  # its event is lost with the node
        yield {}
        yield {"id-0": "COMPLETED"}
        write_run(work.jobs[0].folder)
        yield {}

    record = run(ScriptedCluster(script()), work, tmp_path)
    assert [end for end in record.heard if end[0] >= 0] == [(0, "completed"), (2, "completed"), (1, "completed")]


def test_a_stopped_sweep_cancels_its_tasks_and_blames_none(tmp_path: Path, work: Work, files: TaskFolder) -> None:
    def script() -> Iterator[dict[str, str]]:
        files.tell(0, Event("started", 0))
        files.tell(0, Event("interrupted", 0))
        yield {}
        yield {"id-0": "CANCELLED", "id-1": "CANCELLED"}

    cluster = ScriptedCluster(script())
    record = run(cluster, work, tmp_path, signals=[2], num_tasks=2)
    assert cluster.cancelled == ["id-0", "id-1"]
    assert {num: (end.status, end.error) for num, end in record.ends.items()} == {
        0: ("interrupted", None), 1: ("missing", None), 2: ("missing", None),
    }  # fmt: skip


def test_on_failure_stop_blames_no_task_for_what_it_did_not_start(
    tmp_path: Path, work: Work, files: TaskFolder
) -> None:
    def script() -> Iterator[dict[str, str]]:
        files.stop()
        yield {"id-0": "COMPLETED"}

    assert [end.error for end in run(ScriptedCluster(script()), work, tmp_path).ends.values()] == [None] * 3


def test_tasks_of_a_killed_head_are_watched_on(tmp_path: Path, work: Work, files: TaskFolder) -> None:
    files.path.mkdir()
    known = [Task(files.new_num(), (0, 1), "Fake", "old-0"), Task(files.new_num(), (2,), "Fake", "old-1")]
    files.write(known)
    write_run(work.jobs[0].folder)
    files.tell(0, Event("completed", 0))

    def script() -> Iterator[dict[str, str]]:
        assert [task.id for task in files.tasks()] == ["old-0", "id-2"]
        for num, task in ((1, 0), (2, 2)):
            write_run(work.jobs[num].folder)
            files.tell(task, Event("completed", num))
        yield {}

    cluster = ScriptedCluster(script(), alive=("old-0",))
    record = run(cluster, work, tmp_path)
    assert [(task.num, [job.num for job in task.work.jobs]) for task in cluster.sent] == [(2, [2])]
    assert sorted(record.ends) == [1, 2]


def test_other_tasks_than_training_answer_at_their_end(tmp_path: Path, work: Work, files: TaskFolder) -> None:
    plain = replace(work, settings={})
    returns = {0: plain.job_return(work.jobs[0], JobStatus.COMPLETED, 100)}
    returns[1] = plain.job_return(work.jobs[1], JobStatus.FAILED, ValueError("no"))

    def script() -> Iterator[dict[str, str]]:
        files.tell(0, Event("completed", 0))
        yield {}
        yield {"id-0": "COMPLETED"}

    record = run(ScriptedCluster(script(), returns=returns), plain, tmp_path)
    assert {num: end.status for num, end in record.ends.items()} == {0: "completed", 1: "failed", 2: "missing"}
    assert record.ends[0].job_return is returns[0]


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
