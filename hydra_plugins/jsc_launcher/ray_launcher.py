"""`hydra/launcher=ray`: sweeps on a Ray cluster that is running.

Why not hydra-ray-launcher: its current release (1.2.2) wants cloudpickle below 3 and boto3, makes one Ray task of each
job, each with an import of torch, and knows neither failure policies, resuming nor a table.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.jsc_launcher._cluster_launcher import ClusterConf, ClusterLauncher, require

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher._cluster import Cluster


@dataclass
class RayConf(ClusterConf):
    """`hydra.launcher.*` with hydra/launcher=ray."""

    _target_: str = "hydra_plugins.jsc_launcher.ray_launcher.RayLauncher"
    # Of the cluster's head (host:port); auto: the cluster that this machine belongs to.
    address: str = "auto"


class RayLauncher(ClusterLauncher):
    """Ray ends its tasks with it."""

    conf: RayConf

    def __init__(self, **conf: Any) -> None:
        super().__init__(RayConf(**conf))

    def cluster(self) -> "Cluster":
        require("ray", "ray", "ray")
        from hydra_plugins.jsc_launcher._ray import RayCluster

        return RayCluster(self.conf)


ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayConf, provider="jsc")
