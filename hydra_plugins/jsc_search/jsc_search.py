"""The search as Hydra sees it, hydra/sweeper=jsc_search; what it does is in `_search.py`, imported when one starts.

Why not hydra-optuna-sweeper: its release, 1.3.0, needs Optuna below 3, of 2022; 1.4.0 is a release candidate and needs
hydra-core 1.4, which is not released. Both tell Optuna that a failed trial FAILed, which TPE forgets and may propose
again; both count jobs and trials from 0 again in a storage that holds trials already, so a killed search cannot go on;
and both launch every batch anew, which here would start the workers again for every two trials.
"""

from dataclasses import dataclass
from typing import Dict, Optional  # noqa: UP035  # OmegaConf does not read the new forms on every Python

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


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
        from hydra_plugins.jsc_search._search import search

        search(self, arguments)


ConfigStore.instance().store(group="hydra/sweeper", name="jsc_search", node=JscSearchConf, provider="jsc")
