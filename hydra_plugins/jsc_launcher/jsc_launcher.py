"""The launcher as Hydra sees it; what it does is in `_launches.py`, imported when a sweep starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher._launches import Launches
    from jsc.sweep.place import Place
    from jsc.sweep.split import Layout

ON_FAILURE = ("continue", "stop", "retry")


@dataclass
class JscLauncherConf:
    """`hydra.launcher.*`."""

    _target_: str = "hydra_plugins.jsc_launcher.jsc_launcher.JscLauncher"
    # Processes that run jobs side by side, each on one core; null: one for each core that there is.
    num_workers: Optional[int] = None  # noqa: UP045  # OmegaConf does not read `int | None` on every Python
    # After a job has failed: continue with the others, stop (start no further job), or retry it.
    on_failure: str = "continue"
    # How often a failed job is tried again with on_failure=retry.
    num_retries: int = 1
    # Train once what several jobs share: jobs that differ in trainer.max_epochs alone go on from each other.
    share_prefixes: bool = True


class JscLauncher(Launcher):
    """Runs a sweep's jobs in warm worker processes."""

    jobs_run_elsewhere = False  # on machines that may have other processors than this one

    def __init__(self, num_workers: int | None, on_failure: str, num_retries: int, share_prefixes: bool) -> None:
        self.num_workers = num_workers
        self.on_failure = on_failure
        self.num_retries = num_retries
        self.share_prefixes = share_prefixes
        self.config: DictConfig | None = None
        self.launches: Launches | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises CommandError on a setting out of its range, and for another task than jsc.train's."""
        from hydra_plugins.jsc_launcher._launches import Launches
        from jsc.errors import CommandError

        if self.num_workers is not None and self.num_workers < 1:
            raise CommandError(f"hydra.launcher.num_workers={self.num_workers}: give 1 or more, or null for every core")
        if self.on_failure not in ON_FAILURE:
            raise CommandError(f"hydra.launcher.on_failure={self.on_failure}: allowed: {', '.join(ON_FAILURE)}")
        if self.num_retries < 1:
            raise CommandError(f"hydra.launcher.num_retries={self.num_retries}: give 1 or more")
        self.config = config
        self.launches = Launches(
            config=config,
            hydra_context=hydra_context,
            task_function=task_function,
            layout=self.layout(),
            connect=self.connect,
            jobs_run_elsewhere=self.jobs_run_elsewhere,
            on_failure=self.on_failure,
            num_retries=self.num_retries,
            share_prefixes=self.share_prefixes,
        )

    def layout(self) -> "Layout":
        """How many jobs run side by side, and where."""
        from jsc.sweep.split import Layout, num_cores

        return Layout(num_workers=self.num_workers or num_cores())

    def connect(self) -> "Place":
        """Find what runs jobs. Raises CommandError."""
        from jsc.sweep.runner import Here

        return Here(self.layout().num_workers)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """One JobReturn a job, in order."""
        assert self.launches is not None
        return self.launches.launch(job_overrides, initial_job_idx)


ConfigStore.instance().store(group="hydra/launcher", name="jsc", node=JscLauncherConf, provider="jsc")
