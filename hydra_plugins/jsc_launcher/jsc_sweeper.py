"""hydra/sweeper=jsc: every combination of the values on the command line, as Hydra's own sweeper `basic` launches them.

Why not that one: it makes a folder, and composes each job to see whether it can, which the launcher does once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Dict, Optional  # noqa: UP035  # OmegaConf does not read the new forms on every Python

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher


@dataclass
class JscSweeperConf:
    """`hydra.sweeper.*`, those of `basic`."""

    _target_: str = "hydra_plugins.jsc_launcher.jsc_sweeper.JscSweeper"
    # Jobs that are launched together; null: all.
    max_batch_size: Optional[int] = None  # noqa: UP045
    # Values by key, in Hydra's grammar of sweeps; an override on the command line takes a key's place.
    params: Optional[Dict[str, str]] = None  # noqa: UP006, UP045


class JscSweeper(Sweeper):
    """Launches every combination."""

    def __init__(self, max_batch_size: int | None, params: DictConfig | None) -> None:
        self.max_batch_size = max_batch_size
        self.params = {str(key): str(value) for key, value in (params or {}).items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises CommandError on a setting out of its range."""
        self.check_at_least(1, "max_batch_size")
        self.config: Any = config
        self.loader = hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def check_at_least(self, lowest: int, *names: str) -> None:
        from jsc.errors import CommandError

        for name in names:
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise CommandError(f"hydra.sweeper.{name}={value}: give {lowest} or more")

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the sweep. Raises CommandError, KeyboardInterrupt, and a failed job's error."""
        from hydra_plugins.jsc_launcher._jobs import save_multirun
        from jsc.cli.command import combinations

        jobs = combinations(arguments, self.params, self.loader)
        if not isinstance(self.launcher, JscLauncher):  # which looks at its jobs before it makes a folder
            self.check(jobs)
            save_multirun(self.config)
        size = self.max_batch_size or len(jobs)
        returns = []
        for first in range(0, len(jobs), size):
            returns.append(self.launch(jobs[first : first + size], first))
            for returned in returns[-1]:
                _ = returned.return_value  # raises a failed job's error
        return returns

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        assert self.launcher is not None
        return self.launcher.launch(jobs, initial_job_idx=first)

    def check(self, jobs: Sequence[Sequence[str]]) -> None:
        """Raises CommandError, or another error of the command, if one of them cannot be run."""
        from hydra_plugins.jsc_launcher._jobs import check_jobs

        if isinstance(self.launcher, JscLauncher):
            self.launcher.launches.maker.make(jobs)
        else:
            check_jobs(self.config, self.loader, jobs)


ConfigStore.instance().store(group="hydra/sweeper", name="jsc", node=JscSweeperConf, provider="jsc")
