"""hydra/sweeper=jsc: every combination of the values on the command line, as Hydra's own sweeper `basic` launches them.

Why not that one: it composes each job before it launches them, to see whether it can, and the launcher does so again.
Here the launcher's composing, before it makes a folder, is the check.
"""

import itertools
from dataclasses import dataclass
from typing import Dict, Optional  # noqa: UP035  # OmegaConf does not read the new forms on every Python

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


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
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises CommandError on a setting out of its range."""
        from jsc.errors import CommandError

        if self.max_batch_size is not None and self.max_batch_size < 1:
            raise CommandError(f"hydra.sweeper.max_batch_size={self.max_batch_size}: give 1 or more, or null for all")
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[list[JobReturn]]:
        """Run the sweep. Raises CommandError, KeyboardInterrupt, and a failed job's error."""
        assert self.launcher is not None
        jobs = self.job_overrides(arguments)
        self._check(jobs)
        returns = []
        for first in range(0, len(jobs), self.max_batch_size or len(jobs)):
            batch = jobs[first : first + (self.max_batch_size or len(jobs))]
            returns.append(list(self.launcher.launch(batch, initial_job_idx=first)))
            for returned in returns[-1]:
                _ = returned.return_value  # raises a failed job's error
        return returns

    def job_overrides(self, arguments: list[str]) -> list[list[str]]:
        """The overrides of each job, `params` first. Raises CommandError and Hydra's errors."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        from jsc.errors import CommandError

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        values: dict[str, list[str]] = {}
        for override in parser.parse_overrides([*(f"{k}={v}" for k, v in self.params.items()), *arguments]):
            key = override.get_key_element()
            if not override.is_sweep_override():
                values[key] = [f"{key}={override.get_value_element_as_str()}"]
            elif override.is_discrete_sweep():
                values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            else:
                raise CommandError(
                    f"{override.input_line}: an interval is searched, not swept: add hparams_search=optuna"
                )
        return [list(job) for job in itertools.product(*values.values())]

    def _check(self, jobs: list[list[str]]) -> None:
        """Another launcher than jsc's makes folders before it looks at the jobs."""
        from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher

        assert self.config is not None
        assert self.hydra_context is not None
        if not isinstance(self.launcher, JscLauncher):
            from hydra_plugins.jsc_launcher._jobs import check_jobs

            check_jobs(self.config, self.hydra_context.config_loader, jobs)


ConfigStore.instance().store(group="hydra/sweeper", name="jsc", node=JscSweeperConf, provider="jsc")
