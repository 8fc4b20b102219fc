"""The launcher as Hydra sees it; what it does is in `_launch.py`, imported when a sweep starts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher._groups import Layout
    from hydra_plugins.jsc_launcher._runner import Place
    from hydra_plugins.jsc_launcher._shift import Shift
    from jsc.cli.composer import JobComposer
    from jsc.sweep.plan import Sweep

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
        self.composer: JobComposer | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self.sweep: Sweep | None = None  # a sweeper may launch its jobs in several batches
        self.shift: Shift | None = None  # and keep the workers from one to the next

    @staticmethod
    def get_ready() -> "Callable[..., Any] | None":
        """Called before a sweep's jobs are checked, which takes as long as getting ready to run them.

        Returns what calls a function that imports torch, so that the sweep's own process need not; None if it must.
        """
        from hydra_plugins.jsc_launcher._server import ask_early, may_have_gpus, start_fork_server

        if may_have_gpus():
            return None
        start_fork_server()
        return ask_early

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises CommandError on a setting out of its range."""
        from jsc.cli.composer import job_composer
        from jsc.errors import CommandError

        if self.num_workers is not None and self.num_workers < 1:
            raise CommandError(f"hydra.launcher.num_workers={self.num_workers}: give 1 or more, or null for every core")
        if self.on_failure not in ON_FAILURE:
            raise CommandError(f"hydra.launcher.on_failure={self.on_failure}: allowed: {', '.join(ON_FAILURE)}")
        if self.num_retries < 1:
            raise CommandError(f"hydra.launcher.num_retries={self.num_retries}: give 1 or more")
        self.config = config
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.composer = job_composer(hydra_context.config_loader)

    def layout(self) -> "Layout":
        """How many jobs run side by side, and where."""
        from hydra_plugins.jsc_launcher._groups import Layout, num_cores

        return Layout(num_workers=self.num_workers or num_cores())

    @property
    def num_side_by_side(self) -> int:
        """Jobs that run at a time."""
        return self.layout().num_side_by_side

    def connect(self) -> "Callable[[Path], Place]":
        """Find what runs jobs; with a sweep's folder that becomes a place. Raises CommandError."""
        from functools import partial

        from hydra_plugins.jsc_launcher._runner import here

        return partial(here, self.layout())

    def keep_crew(self, num_jobs: int) -> AbstractContextManager["Shift"]:
        """Launches within this context share workers, one progress line over `num_jobs` and, at its end, a summary."""
        from hydra_plugins.jsc_launcher._shift import open_shift

        return open_shift(self, num_jobs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """One JobReturn a job, in order."""
        from hydra_plugins.jsc_launcher._launch import launch

        return launch(self, job_overrides, initial_job_idx)


ConfigStore.instance().store(group="hydra/launcher", name="jsc", node=JscLauncherConf, provider="jsc")
