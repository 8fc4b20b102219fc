"""A running Ray cluster as a sweep's cluster. Ray ends the tasks of a head that dies."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from hydra_plugins.jsc_launcher._task import COMPLETED
from jsc.errors import CommandError

log = logging.getLogger(__name__)


class RayCluster:
    """Raises CommandError where no Ray cluster answers."""

    name = "Ray"

    def __init__(self, address: str, cpus_per_task: int, gpus_per_task: int, mem_gb: float) -> None:
        # max_calls: a process of its own, for a task makes the head's surroundings its own.
        self._remote = ray.remote(
            max_calls=1, max_retries=0, num_cpus=cpus_per_task, num_gpus=gpus_per_task, memory=round(mem_gb * 2**30)
        )(_run_logged)
        self._tasks: dict[str, Any] = {}  # what Ray calls an ObjectRef, by our name for the task
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise CommandError(
                f"hydra.launcher.address={address}: no Ray cluster answers ({error}). Start one with "
                "ray start --head, or use hydra/launcher=jsc on this machine"
            ) from error
        nodes = ray.nodes()  # type: ignore[no-untyped-call]  # of Ray's own making
        largest = max((node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]), default=0)
        if largest < cpus_per_task:
            log.warning(
                "hydra.launcher.cpus_per_task=%d: the largest node of the Ray cluster has %d CPUs, so the tasks wait "
                "for one that is larger", cpus_per_task, largest,
            )  # fmt: skip

    def submit(self, tasks: Sequence[Callable[[], None]], folder: Path) -> dict[str, Path]:
        logs = {}
        for num, task in enumerate(tasks, start=len(self._tasks)):
            task_id = f"jsc-{os.getpid()}-{num}"
            logs[task_id] = folder / f"{task_id}.log"
            self._tasks[task_id] = self._remote.options(name=task_id).remote(task, logs[task_id])
        return logs

    def ended(self, ids: Sequence[str]) -> dict[str, str]:
        refs = [self._tasks[task_id] for task_id in ids]
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0) if refs else ([], [])
        return {task_id: _how(self._tasks[task_id]) for task_id in ids if self._tasks[task_id] in ready}

    def cancel(self, ids: Sequence[str]) -> None:
        for task_id in ids:
            ray.cancel(self._tasks[task_id], force=False)


def _how(ref: Any) -> str:
    try:
        ray.get(ref)
    except RayError as error:
        return f"{type(error).__name__} ({str(error).strip().splitlines()[-1]})"
    return COMPLETED


def _run_logged(task: Callable[[], None], log_file: Path) -> None:
    """Ray's own logs stay on the node."""
    if log_file.parent.is_dir():
        with log_file.open("a") as file:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(file.fileno(), stream.fileno())
    task()
