"""What the launchers for clusters share: their settings, the ranges of these, and how they reach `OnCluster`."""

import importlib.util
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher, JscLauncherConf

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher._groups import Layout
    from hydra_plugins.jsc_launcher._runner import Place

    from hydra_plugins.jsc_launcher._cluster import Cluster


@dataclass
class ClusterConf(JscLauncherConf):
    """`num_workers`, `on_failure`, `num_retries` and `share_prefixes` are those of hydra/launcher=jsc, on each node."""

    # Groups that the jobs are split into; each goes to one node as one task and runs its jobs in warm workers there.
    num_tasks: int = 1
    # What a task asks for. num_workers=null makes one worker for each CPU.
    cpus_per_task: int = 1
    gpus_per_task: int = 0
    mem_gb: Optional[float] = None  # noqa: UP045  # as in JscLauncherConf


class ClusterLauncher(JscLauncher):
    """Runs a sweep's jobs in tasks of a cluster; its head waits for them."""

    max_running_tasks: int | None = None
    jobs_run_elsewhere = True

    @staticmethod
    def get_ready() -> "Callable[..., Any] | None":
        """The workers are elsewhere, and so is the process that has torch."""
        return None

    def __init__(self, conf: ClusterConf) -> None:
        super().__init__(conf.num_workers, conf.on_failure, conf.num_retries, conf.share_prefixes)
        self.conf = conf

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises CommandError on a setting out of its range."""
        self.check_at_least("num_tasks", 1)
        self.check_at_least("cpus_per_task", 1)
        self.check_at_least("gpus_per_task", 0)
        if self.conf.mem_gb is not None and not self.conf.mem_gb > 0:
            refuse("mem_gb", self.conf.mem_gb, "give a positive number, or null for the cluster's own default")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def check_at_least(self, name: str, least: int) -> None:
        value = getattr(self.conf, name)
        if value is not None and value < least:
            refuse(name, value, f"give {least} or more")

    def layout(self) -> "Layout":
        from hydra_plugins.jsc_launcher._groups import Layout

        conf = self.conf
        return Layout(
            num_workers=conf.num_workers or conf.cpus_per_task,
            num_tasks=conf.num_tasks,
            num_at_once=self.max_running_tasks or conf.num_tasks,
        )

    def connect(self) -> "Callable[[Path], Place]":
        from functools import partial

        from hydra_plugins.jsc_launcher._cluster import OnCluster

        return partial(OnCluster, self.cluster(), self.layout())

    @abstractmethod
    def cluster(self) -> "Cluster":
        """Raises CommandError if there is none."""


def refuse(name: str, value: object, what_to_do: str) -> None:
    from jsc.errors import CommandError

    raise CommandError(f"hydra.launcher.{name}={value}: {what_to_do}")


def require(package: str, launcher: str, extra: str) -> None:
    """Raises CommandError if a package that is no dependency of jsc's is not there."""
    from jsc.errors import CommandError

    if importlib.util.find_spec(package) is None:
        raise CommandError(f"hydra/launcher={launcher} needs {package}: pip install 'jsc[{extra}]'")
