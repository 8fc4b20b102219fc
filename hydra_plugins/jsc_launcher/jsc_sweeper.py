"""hydra/sweeper=jsc: every combination of the values on the command line, as Hydra's own sweeper `basic` launches them.

Why not that one: it makes a folder, and composes each job to see whether it can, which the launcher does once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Optional  # noqa: UP035  # OmegaConf does not read the new forms everywhere

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher._launches import Launches


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
        size, returns = self.max_batch_size or max(1, len(jobs)), []
        if self.launches is None or len(jobs) > size:  # jsc's launcher checks the jobs that it launches together
            self.check(jobs)
        if self.launches is None:
            save_multirun(self.config)
        for first in range(0, len(jobs), size):
            returns.append(self.launch(jobs[first : first + size], first))
            for returned in returns[-1]:
                _ = returned.return_value  # raises a failed job's error
        return returns

    @property
    def launches(self) -> "Launches | None":
        """Those of jsc's launcher, which looks at jobs before it makes a folder; None with another launcher."""
        return getattr(self.launcher, "launches", None)

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        assert self.launcher is not None
        return self.launcher.launch(jobs, initial_job_idx=first)

    def check(self, jobs: Sequence[Sequence[str]]) -> None:
        """Raises CommandError, or another error of the command, if one of them cannot be run.

        And JobFailed for a network that would kill this process, where another launcher runs it here.
        """
        from hydra_plugins.jsc_launcher._jobs import JobMaker

        if self.launches is not None:
            self.launches.maker.make(jobs)
        else:
            JobMaker(self.config, self.loader, elsewhere=False, shares=False).make(jobs, may_die=False)


ConfigStore.instance().store(group="hydra/sweeper", name="jsc", node=JscSweeperConf, provider="jsc")
