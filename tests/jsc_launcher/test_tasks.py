from pathlib import Path

import pytest

from hydra_plugins.jsc_launcher import _tasks
from hydra_plugins.jsc_launcher._tasks import Event, Task, TaskFolder
from jsc.errors import CommandError


@pytest.fixture
def files(tmp_path: Path) -> TaskFolder:
    (tmp_path / "tasks").mkdir()
    return TaskFolder(tmp_path / "tasks")


def test_a_task_may_run_while_it_is_named_and_nobody_stops_it(files: TaskFolder) -> None:
    tasks = [Task(files.new_num(), (0, 2), "Slurm", "7_0"), Task(files.new_num(), (1,), "Slurm")]
    files.write(tasks)
    assert files.tasks() == tasks
    assert [files.may_start_jobs(num) for num in (0, 1, 2)] == [True, True, False]
    files.stop()
    assert not files.may_start_jobs(0)
    files.take_over(tasks[:1])
    assert [files.may_start_jobs(num) for num in (0, 1)] == [True, False]


def test_numbers_do_not_come_again(files: TaskFolder) -> None:
    assert [files.new_num(), files.new_num()] == [0, 1]
    files.take_over([])  # neither ever ran: both may still wait in a queue
    assert files.new_num() == 2


def test_a_sweep_is_not_taken_from_tasks_that_run(files: TaskFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tasks, "PATIENCE_SECONDS", 0.1)
    tasks = [Task(files.new_num(), (num,), "Ray", f"jsc-{num}") for num in range(2)]
    files.write(tasks)
    files.tell(1, Event("begun", host="node7"))
    with files.lock(1):
        with pytest.raises(CommandError, match=r"still run its jobs: 1 on node7 "):
            files.take_over([])
        assert files.tasks() == tasks
        files.take_over(tasks[1:])
        assert files.tasks() == tasks[1:]
    files.take_over([])
    assert files.tasks() == []


def test_events_are_read_once_and_whole(files: TaskFolder) -> None:
    events = [Event("started", 3), Event("failed", 3, 'ValueError: "no"\nreally', 1.5)]
    assert files.events(0, 0) == ([], 0)
    files.tell(0, events[0])
    read, position = files.events(0, 0)
    assert read == events[:1]
    files.tell(0, events[1])
    path = files.path / "0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])  # the writer is at it
    assert files.events(0, position) == ([], position)
    path.write_bytes(whole)
    assert files.events(0, position) == (events[1:], len(whole))
