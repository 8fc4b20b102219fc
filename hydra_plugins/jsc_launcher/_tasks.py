"""What a sweep's head and its tasks on a cluster tell each other, through files that every node sees.

    <sweep>/tasks/tasks.json     the tasks whose turn it is: number, jobs, the cluster's id
    <sweep>/tasks/<num>.jsonl    what has become of a task's jobs so far, a line each
    <sweep>/tasks/<num>.lock     held while the task runs
    <sweep>/tasks/stop           no task starts a further job

A head that was killed, a task that waited in a queue for a day, a second head: two processes never run one job, for a
task that gets its turn takes its lock and then looks whether tasks.json names it, while a head that takes the sweep
over writes tasks.json and then looks whether any other task's lock is held.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jsc.errors import CommandError
from jsc.results import write_atomically

TASK_FOLDER = "tasks"
PATIENCE_SECONDS = 10.0  # that tasks have to end after their head was killed (Ray ends them)
_RECORD_FILE, _STOP_FILE = "tasks.json", "stop"


@dataclass(frozen=True)
class Task:
    """A group of jobs that goes to one node. `cluster`: whose `id` it is; None: not yet submitted."""

    num: int
    jobs: tuple[int, ...]
    cluster: str
    id: str | None = None


@dataclass(frozen=True)
class Event:
    """`begun` (a task, on `host`), `started` (a job) or how a job ended; `seconds` that it took."""

    what: str
    job: int | None = None
    error: str | None = None
    seconds: float = 0.0
    host: str | None = None


@dataclass(frozen=True)
class TaskFolder:
    """<sweep>/tasks."""

    path: Path

    def tasks(self) -> list[Task]:
        """Those whose turn it is."""
        try:
            record = json.loads((self.path / _RECORD_FILE).read_text())
        except FileNotFoundError:
            return []
        return [Task(task["num"], tuple(task["jobs"]), task["cluster"], task["id"]) for task in record]

    def write(self, tasks: Sequence[Task]) -> None:
        record = [dataclasses.asdict(task) for task in tasks]
        write_atomically(self.path / _RECORD_FILE, json.dumps(record, indent=1) + "\n")

    def take_over(self, keep: Sequence[Task]) -> None:
        """From now on it is the turn of these tasks alone. Raises CommandError while others still run."""
        kept = {task.num for task in keep}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (others := self._running() - kept) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not others:
            self.write(keep)
            others = self._running() - kept  # one that got its turn meanwhile
        if others:
            hosts = ", ".join(f"{num} on {self._host(num)}" for num in sorted(others))
            raise CommandError(
                f"{self.path.parent}: tasks of an earlier launch still run its jobs: {hosts} "
                f"({self.path} holds their logs). Wait for them or cancel them on their cluster, then resume the sweep"
            )
        (self.path / _STOP_FILE).unlink(missing_ok=True)

    def new_num(self) -> int:
        """A number that no task of this sweep has had, even if it never got its turn."""
        num = max(self._nums(), default=-1) + 1
        (self.path / f"{num}.jsonl").touch()
        return num

    def _nums(self) -> set[int]:
        return {int(path.stem) for path in self.path.glob("*.jsonl")}

    def lock(self, num: int) -> FileLock:
        return FileLock(self.path / f"{num}.lock", timeout=0)

    def _running(self) -> set[int]:
        return {num for num in self._nums() if self._is_locked(num)}

    def _is_locked(self, num: int) -> bool:
        try:
            with self.lock(num):
                return False
        except Timeout:
            return True

    def _host(self, num: int) -> str:
        hosts = [event.host for event in self.events(num, 0)[0] if event.host is not None]
        return hosts[-1] if hosts else "a node"

    def may_start_jobs(self, num: int) -> bool:
        """Whether it is this task's turn, and nobody has stopped the sweep."""
        return any(task.num == num for task in self.tasks()) and not self.is_stopped()

    def stop(self) -> None:
        (self.path / _STOP_FILE).touch()

    def is_stopped(self) -> bool:
        return (self.path / _STOP_FILE).exists()

    def tell(self, num: int, event: Event) -> None:
        """Opened for each event: closing is what shows it to the other machines of a network file system."""
        with (self.path / f"{num}.jsonl").open("a") as file:
            file.write(json.dumps(dataclasses.asdict(event)) + "\n")

    def events(self, num: int, position: int) -> tuple[list[Event], int]:
        """Those behind this position in the file, and the position behind them."""
        content = b""
        with suppress(FileNotFoundError), (self.path / f"{num}.jsonl").open("rb") as file:
            file.seek(position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        return [Event(**json.loads(line)) for line in whole.splitlines()], position + len(whole)
