"""A running Ray cluster as a sweep's cluster. Ray ends the tasks of a head that dies."""

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from hydra.core.utils import JobReturn
from ray.exceptions import RayError

from hydra_plugins.jsc_launcher._node import NodeTask, run_task
from hydra_plugins.jsc_launcher._tasks import Task
from hydra_plugins.jsc_launcher.ray_launcher import RayConf
from jsc.errors import CommandError

log = logging.getLogger(__name__)


class RayCluster:
    """Raises CommandError where no Ray cluster answers."""

    name = "Ray"

    def __init__(self, conf: RayConf) -> None:
        self._conf = conf
        self._tasks: dict[str, Any] = {}  # what Ray calls an ObjectRef, by our name for the task
        try:
            ray.init(address=conf.address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise CommandError(
                f"hydra.launcher.address={conf.address}: no Ray cluster answers ({error}). Start one with "
                "ray start --head, or use hydra/launcher=jsc on this machine"
            ) from error
        nodes = ray.nodes()  # type: ignore[no-untyped-call]  # of Ray's own making
        largest = max((node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]), default=0)
        if largest < conf.cpus_per_task:
            log.warning(
                "hydra.launcher.cpus_per_task=%d: the largest node of the Ray cluster has %d CPUs, so the tasks wait "
                "for one that is larger",
                conf.cpus_per_task, largest,
            )  # fmt: skip

    def submit(self, tasks: Sequence[NodeTask], folder: Path) -> list[str]:
        # max_calls: a process of its own, for a task makes the head's surroundings its own.
        remote = ray.remote(
            max_calls=1,
            max_retries=0,
            num_cpus=self._conf.cpus_per_task,
            num_gpus=self._conf.gpus_per_task,
            memory=round((self._conf.mem_gb or 0) * 2**30),
        )(_run_logged)
        sent = {f"jsc-{task.num}": remote.options(name=f"jsc-{task.num}").remote(task) for task in tasks}
        self._tasks |= sent
        return list(sent)

    def still_knows(self, task_id: str) -> bool:
        return task_id in self._tasks

    def ended(self, ids: Sequence[str]) -> dict[str, str]:
        refs = [self._tasks[task_id] for task_id in ids]
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0) if refs else ([], [])
        return {task_id: _how(self._tasks[task_id]) for task_id in ids if self._tasks[task_id] in ready}

    def returned(self, task_id: str, folder: Path) -> dict[int, JobReturn]:
        returns: dict[int, JobReturn] = {}
        with contextlib.suppress(RayError):
            returns = ray.get(self._tasks[task_id])
        return returns

    def cancel(self, ids: Sequence[str]) -> None:
        for task_id in ids:
            ray.cancel(self._tasks[task_id], force=False)

    def log_of(self, task: Task, folder: Path) -> Path:
        return _log_file(folder, task.num)

    def close(self) -> None:
        ray.shutdown()


def _how(ref: Any) -> str:
    try:
        ray.get(ref)
    except RayError as error:
        return f"{type(error).__name__} ({str(error).strip().splitlines()[-1]})"
    return "completed"


def _log_file(folder: Path, num: int) -> Path:
    return folder / f"{num}.log"


def _run_logged(task: NodeTask) -> dict[int, JobReturn]:
    """Ray's own logs stay on the node."""
    if task.folder.path.is_dir():
        with _log_file(task.folder.path, task.num).open("a") as file:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(file.fileno(), stream.fileno())
    return run_task(task)
