"""The search as Hydra sees it, hydra/sweeper=jsc_search; what it does is in `_search.py`, imported when one starts.

Why not hydra-optuna-sweeper: its release, 1.3.0, needs Optuna below 3, of 2022; 1.4.0 is a release candidate and needs
hydra-core 1.4, which is not released. Both tell Optuna that a failed trial FAILed, which TPE forgets and may propose
again; both count jobs and trials from 0 again in a storage that holds trials already, so a killed search cannot go on;
and both launch every batch anew, which here would start the workers again for every two trials.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Dict, Optional  # noqa: UP035  # OmegaConf does not read the new forms on every Python

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher


@dataclass
class JscSearchConf:
    """`hydra.sweeper.*`."""

    _target_: str = "hydra_plugins.jsc_search.jsc_search.JscSearch"
    # Jobs of the whole search; a resumed one may be given more.
    num_trials: int = 30
    # The first so many are drawn at random, before TPE has something to go by.
    num_startup_trials: int = 10
    # Trials that are proposed together; null: as many as the launcher runs side by side.
    num_at_once: Optional[int] = None  # noqa: UP045
    # Fixes the proposals.
    seed: int = 0
    # What is searched, by key, in Hydra's grammar of sweeps.
    params: Optional[Dict[str, str]] = None  # noqa: UP006, UP045


class JscSearch(Sweeper):
    """Proposes settings by TPE and launches them, for the lowest validation loss."""

    def __init__(
        self,
        num_trials: int,
        num_startup_trials: int,
        num_at_once: int | None,
        seed: int,
        params: DictConfig | None,
    ) -> None:
        self.num_trials = num_trials
        self.num_startup_trials = num_startup_trials
        self.num_at_once = num_at_once
        self.seed = seed
        self.params = {str(key): str(value) for key, value in (params or {}).items()}
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises CommandError on a setting out of its range, and where Optuna is not installed."""
        from jsc.errors import CommandError

        try:
            import optuna  # noqa: F401  # only to know whether it is there
        except ImportError as error:
            raise CommandError(
                f"a search needs Optuna ({error}): pip install 'jsc[optuna]', in a checkout pip install -e '.[optuna]'"
            ) from error
        for name, lowest in (("num_trials", 1), ("num_startup_trials", 1), ("num_at_once", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise CommandError(f"hydra.sweeper.{name}={value}: give {lowest} or more")
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the search. Raises CommandError, JobFailed if no trial came to a score, KeyboardInterrupt."""
        from hydra_plugins.jsc_launcher._jobs import check_jobs
        from hydra_plugins.jsc_search._search import Jobs, Search
        from jsc.cli.command import fixed_and_swept
        from jsc.errors import CommandError
        from jsc.sweep.session import Session

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        config, loader = self.config, self.hydra_context.config_loader
        if config.sweep.part is not None:  # its jobs are those of the plan
            self.launcher.launch([], initial_job_idx=0)
            return
        num_at_once: int = 1
        check: Callable[[Jobs], object] = partial(check_jobs, config, loader)
        share_workers: Callable[[int], AbstractContextManager[Session | None]] = _alone
        if isinstance(self.launcher, JscLauncher):
            if self.launcher.on_failure == "stop":
                raise CommandError(
                    "hydra.launcher.on_failure=stop: a search goes on after a failed trial; give continue, retry"
                )
            launches = self.launcher.launches
            num_at_once, check, share_workers = launches.layout.num_side_by_side, launches.maker.make, launches.open
        fixed, swept = fixed_and_swept(arguments, self.params, loader)
        search = Search(
            folder=Path(str(config.hydra.sweep.dir)).absolute(),
            fixed=fixed,
            swept=swept,
            num_trials=self.num_trials,
            num_startup_trials=self.num_startup_trials,
            num_at_once=self.num_at_once or num_at_once,
            seed=self.seed,
            resumes=config.sweep.resume is not None,
            check=check,
            open=share_workers,
            launch=self.launcher.launch,
        )
        search.dry_run() if config.sweep.dry_run else search.run()


def _alone(num_jobs: int) -> AbstractContextManager[None]:
    """Another launcher than jsc's has nothing for batches to share."""
    return nullcontext()


ConfigStore.instance().store(group="hydra/sweeper", name="jsc_search", node=JscSearchConf, provider="jsc")
