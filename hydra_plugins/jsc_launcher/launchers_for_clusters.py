"""`hydra/launcher=submitit_slurm` and `hydra/launcher=ray`: sweeps on a Slurm cluster and on a Ray cluster that runs.

Why not hydra-submitit-launcher, whose names of settings these are, and hydra-ray-launcher: their current releases
(1.2.0 of 2022, 1.2.2) make one task of each job, so that a run of four seconds pays for a place in the queue and for
importing torch. They raise at the first job that failed, and know neither resuming nor a table. The latter wants
cloudpickle below 3 and boto3. Submitit itself, which is kept up, does its part here: it writes the batch script, packs
the tasks, submits them as an array, keeps their logs.
"""

import importlib.util
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher, JscLauncherConf
from jsc.errors import CommandError

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher._cluster import Cluster
    from jsc.sweep.place import Place
    from jsc.sweep.split import Layout


@dataclass
class ClusterConf(JscLauncherConf):
    """`num_workers`, `on_failure`, `num_retries` and `share_prefixes` are those of hydra/launcher=jsc, on each node."""

    # Parts that the sweep's jobs are split into; each goes to one node as one task and runs in warm workers there.
    num_tasks: int = 1
    # What a task asks for. num_workers=null makes one worker for each CPU.
    cpus_per_task: int = 1
    gpus_per_task: int = 0
    mem_gb: Optional[float] = None  # noqa: UP045  # as in JscLauncherConf


@dataclass
class SlurmConf(ClusterConf):
    """`hydra.launcher.*` with hydra/launcher=submitit_slurm; `man sbatch` explains Slurm's part."""

    _target_: str = "hydra_plugins.jsc_launcher.launchers_for_clusters.SlurmLauncher"
    # A task's time limit; jobs that it cuts short go on with sweep.resume.
    timeout_min: int = 60
    # Tasks that run at once, at most; null: as many as Slurm lets.
    array_parallelism: Optional[int] = None  # noqa: UP045
    partition: Optional[str] = None  # noqa: UP045
    account: Optional[str] = None  # noqa: UP045
    qos: Optional[str] = None  # noqa: UP045
    constraint: Optional[str] = None  # noqa: UP045
    # Lines of shell that run before the task: module load ..., source venv/bin/activate
    setup: list[str] = field(default_factory=list)
    # Any other option of sbatch by its long name: {mail-user: me@lab.org}
    additional_parameters: dict[str, Any] = field(default_factory=dict)


@dataclass
class RayConf(ClusterConf):
    """`hydra.launcher.*` with hydra/launcher=ray."""

    _target_: str = "hydra_plugins.jsc_launcher.launchers_for_clusters.RayLauncher"
    # Of the cluster's head (host:port); auto: the cluster that this machine belongs to.
    address: str = "auto"


AT_LEAST = {"num_tasks": 1, "cpus_per_task": 1, "gpus_per_task": 0, "timeout_min": 1, "array_parallelism": 1}


class ClusterLauncher(JscLauncher):
    """Runs a sweep's jobs in tasks of a cluster; within such a task, told `sweep.part`, it runs that part of them."""

    jobs_run_elsewhere = True
    conf_type: type[ClusterConf]
    conf: ClusterConf
    package: str  # which is no dependency of jsc's, but of its `extra`
    extra: str

    def __init__(self, **settings: Any) -> None:
        plain: dict[str, Any] = {
            k: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for k, v in settings.items()
        }
        self.conf = conf = self.conf_type(**plain)
        super().__init__(conf.num_workers, conf.on_failure, conf.num_retries, conf.share_prefixes)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises CommandError on a setting out of its range."""
        for name, least in AT_LEAST.items():
            value = getattr(self.conf, name, None)
            if value is not None and value < least:
                raise CommandError(f"hydra.launcher.{name}={value}: give {least} or more")
        if self.conf.mem_gb is not None and not self.conf.mem_gb > 0:
            raise CommandError(f"hydra.launcher.mem_gb={self.conf.mem_gb}: give a positive number, or null")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def layout(self) -> "Layout":
        from jsc.sweep.split import Layout

        conf = self.conf
        num_at_once = getattr(conf, "array_parallelism", None) or conf.num_tasks
        return Layout(conf.num_workers or conf.cpus_per_task, conf.num_tasks, num_at_once)

    def connect(self) -> "Place":
        from hydra_plugins.jsc_launcher._cluster import OnCluster

        assert self.config is not None
        if self.config.sweep.part is not None:
            return super().connect()
        if importlib.util.find_spec(self.package) is None:
            launcher = self.config.hydra.runtime.choices["hydra/launcher"]
            raise CommandError(f"hydra/launcher={launcher} needs {self.package}: pip install 'jsc[{self.extra}]'")
        return OnCluster(self.cluster(), self.layout())

    @abstractmethod
    def cluster(self) -> "Cluster":
        """Raises CommandError if there is none."""


class SlurmLauncher(ClusterLauncher):
    """Its tasks go on without it."""

    conf: SlurmConf
    conf_type, package, extra = SlurmConf, "submitit", "slurm"

    def cluster(self) -> "Cluster":
        from hydra_plugins.jsc_launcher._slurm import SlurmCluster

        conf = self.conf
        of_slurm = ("partition", "account", "qos", "constraint", "setup", "additional_parameters")
        parameters = {f"slurm_{name}": getattr(conf, name) for name in of_slurm} | {
            "slurm_array_parallelism": conf.array_parallelism or conf.num_tasks,
            "slurm_srun_args": [f"--cpus-per-task={conf.cpus_per_task}"],  # a step does not inherit it
            "cpus_per_task": conf.cpus_per_task,
            "gpus_per_node": conf.gpus_per_task,
            "mem_gb": conf.mem_gb,
            "timeout_min": conf.timeout_min,
        }
        return SlurmCluster({name: value for name, value in parameters.items() if value})


class RayLauncher(ClusterLauncher):
    """Ray ends its tasks with it."""

    conf: RayConf
    conf_type, package, extra = RayConf, "ray", "ray"

    def cluster(self) -> "Cluster":
        from hydra_plugins.jsc_launcher._ray import RayCluster

        conf = self.conf
        return RayCluster(conf.address, conf.cpus_per_task, conf.gpus_per_task, conf.mem_gb or 0.0)


_slurm = OmegaConf.structured(SlurmConf)
OmegaConf.set_struct(_slurm.additional_parameters, False)  # it may be given any key
for _name, _conf in (("submitit_slurm", _slurm), ("ray", RayConf)):
    ConfigStore.instance().store(group="hydra/launcher", name=_name, node=_conf, provider="jsc")
