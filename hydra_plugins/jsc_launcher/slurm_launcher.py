"""`hydra/launcher=submitit_slurm`: sweeps on a Slurm cluster, submitted with submitit.

Why not hydra-submitit-launcher, whose names of settings these are: its current release (1.2.0, 2022) makes one Slurm
task of each job, so that a run of four seconds pays for a place in the queue and for importing torch; it raises at the
first job that failed, and knows neither resuming nor a table. Submitit itself, which is kept up, does its part here: it
writes the batch script, packs the tasks, submits them as an array, keeps their logs.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.jsc_launcher._cluster_launcher import ClusterConf, ClusterLauncher, require

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher._cluster import Cluster


@dataclass
class SlurmConf(ClusterConf):
    """`hydra.launcher.*` with hydra/launcher=submitit_slurm; `man sbatch` explains Slurm's part."""

    _target_: str = "hydra_plugins.jsc_launcher.slurm_launcher.SlurmLauncher"
    # A task's time limit; jobs that it cuts short go on with sweep.resume.
    timeout_min: int = 60
    # Tasks that run at once, at most; null: as many as Slurm lets.
    array_parallelism: Optional[int] = None  # noqa: UP045  # as in JscLauncherConf
    partition: Optional[str] = None  # noqa: UP045
    account: Optional[str] = None  # noqa: UP045
    qos: Optional[str] = None  # noqa: UP045
    constraint: Optional[str] = None  # noqa: UP045
    # Lines of shell that run before the task: module load ..., source venv/bin/activate
    setup: list[str] = field(default_factory=list)
    # Any other option of sbatch by its long name: {mail-user: me@lab.org}
    additional_parameters: dict[str, Any] = field(default_factory=dict)


class SlurmLauncher(ClusterLauncher):
    """Its tasks go on without it; a resumed sweep finds them again."""

    conf: SlurmConf

    def __init__(self, **conf: Any) -> None:
        plain: dict[str, Any] = {
            name: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for name, v in conf.items()
        }
        super().__init__(SlurmConf(**plain))
        self.max_running_tasks = self.conf.array_parallelism

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.check_at_least("timeout_min", 1)
        self.check_at_least("array_parallelism", 1)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def cluster(self) -> "Cluster":
        require("submitit", "submitit_slurm", "slurm")
        from hydra_plugins.jsc_launcher._slurm import SlurmCluster

        return SlurmCluster(self.conf)


ConfigStore.instance().store(group="hydra/launcher", name="submitit_slurm", node=SlurmConf, provider="jsc")
