"""The search, hydra/sweeper=jsc_search: trials are proposed, launched as jobs, and told what came of them.

Why not hydra-optuna-sweeper: its release, 1.3.0, needs Optuna below 3, of 2022; 1.4.0 is a release candidate and needs
hydra-core 1.4, which is not released. Both tell Optuna that a failed trial FAILed, which TPE forgets and may propose
again; both count jobs and trials from 0 again in a storage that holds trials already, so a killed search cannot go on;
and both launch every batch anew, which here would start the workers again for every two trials.
"""

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional  # noqa: UP035  # OmegaConf does not read the new forms everywhere

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.jsc_launcher.jsc_sweeper import JscSweeper

if TYPE_CHECKING:
    from hydra_plugins.jsc_search._space import Space
    from hydra_plugins.jsc_search._study import Study

log = logging.getLogger(__name__)


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


class JscSearch(JscSweeper):
    """Proposes settings by TPE and launches them, for the lowest validation loss."""

    def __init__(
        self,
        num_trials: int,
        num_startup_trials: int,
        num_at_once: int | None,
        seed: int,
        params: DictConfig | None,
    ) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.num_trials = num_trials
        self.num_startup_trials = num_startup_trials
        self.num_at_once = num_at_once
        self.seed = seed

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises CommandError on a setting out of its range, and where Optuna is not installed."""
        from jsc.errors import CommandError

        try:
            import optuna  # noqa: F401  # only to know whether it is there
        except ImportError as error:
            raise CommandError(
                f"a search needs Optuna ({error}): pip install 'jsc[optuna]', in a checkout pip install -e '.[optuna]'"
            ) from error
        self.check_at_least(1, "num_trials", "num_startup_trials", "num_at_once")
        self.check_at_least(0, "seed")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the search. Raises CommandError, JobFailed if no trial came to a score, KeyboardInterrupt."""
        from hydra_plugins.jsc_search._study import STORAGE_FILE, open_study
        from jsc.cli.command import fixed_and_swept, quoted
        from jsc.errors import CommandError, JobFailed
        from jsc.results import PLAN_FILE

        if self.config.sweep.part is not None:  # its jobs are those of the plan
            return [self.launch([], 0)]
        fixed, swept = fixed_and_swept(arguments, self.params, self.loader)
        space = self._checked_space(fixed, swept)
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        path = folder / STORAGE_FILE
        if self.config.sweep.dry_run:
            with open_study(path if path.is_file() else None, space, self.seed, self.num_startup_trials) as study:
                self._dry_run(study, fixed, is_new=not path.is_file())
            return []
        with self.launches.open(self.num_trials) if self.launches is not None else nullcontext() as session:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / PLAN_FILE).is_file() and self.config.sweep.resume is None:
                raise CommandError(
                    f"{folder} holds a sweep already. To go on with it give "
                    f"sweep.resume={quoted(str(folder))}, else another hydra.sweep.dir"
                )
            with open_study(path, space, self.seed, self.num_startup_trials) as study:
                if session is not None:
                    session.num_jobs = max(self.num_trials, len(study.trials))
                    session.settled = study.pruned()
                returns = self._run_trials(study, fixed)
                num_pruned, num_trials = len(study.pruned()), len(study.trials)
        if num_pruned:
            log.warning(
                "%d of %d trials failed or diverged; the search avoids settings like theirs", num_pruned, num_trials
            )
        if num_pruned == num_trials:
            log.error("No trial came to a validation loss.")
            raise JobFailed
        return returns

    def _checked_space(self, fixed: Sequence[str], swept: Sequence[Override]) -> "Space":
        """Raises CommandError where there is nothing to search, or a search is not what the user wants."""
        from hydra_plugins.jsc_search._space import num_points, space_of, variants
        from jsc.errors import CommandError

        space = space_of(swept)
        if not space:
            raise CommandError("hparams_search: nothing is searched; give optimizer.lr=interval(1e-4,1e-1) or a list")
        if num_points(space) <= self.num_trials:
            raise CommandError(
                f"hparams_search: there are {num_points(space)} ways to choose {', '.join(space)}, and "
                f"hydra.sweeper.num_trials={self.num_trials}: try them all, with -m and without hparams_search"
            )
        if self.launches is not None and self.launches.on_failure == "stop":
            raise CommandError(
                "hydra.launcher.on_failure=stop: a search goes on after a failed trial; give continue, retry"
            )
        self.check([[*variant, *fixed] for variant in variants(swept)])
        return space

    def _run_trials(self, study: "Study", fixed: Sequence[str]) -> list[Sequence[JobReturn]]:
        """Until there are as many trials as asked for.

        Those that a killed search left come first, with the rest of the batch that they were in; the launcher answers
        for jobs that have ended, goes on with interrupted ones, and so nothing is told twice or lost.
        """
        side_by_side = self.launches.layout.num_side_by_side if self.launches is not None else 1
        width, num_launched, returns = self.num_at_once or side_by_side, 0, []
        while num_launched < max(self.num_trials, len(study.trials)):
            while (n := len(study.trials)) < self.num_trials and (n == num_launched or n % width != 0):
                study.propose()
            numbers = range(num_launched, len(study.trials))
            jobs = [[*study.overrides(number), *fixed] for number in numbers]
            returns.append(self.launch(jobs, num_launched))
            for number, returned in zip(numbers, returns[-1], strict=True):
                if not study.is_told(number):
                    study.tell(number, loss_of(returned))
            num_launched = len(study.trials)
        return returns

    def _dry_run(self, study: "Study", fixed: Sequence[str], *, is_new: bool) -> None:
        """Show the trials that are known: of a search that is to go on, or the first, which are drawn at random."""
        while is_new and len(study.trials) < min(self.num_startup_trials, self.num_trials):
            study.propose()
        num_known = len(study.trials)
        self.launch([[*study.overrides(n), *fixed] for n in range(num_known)], 0)
        if self.num_trials > num_known:
            log.info(
                "These are the first %d trials; %d more will follow from their scores.",
                num_known, self.num_trials - num_known,
            )  # fmt: skip


def loss_of(returned: JobReturn) -> float:
    """NaN for a job that failed, or returned no number."""
    value = returned.return_value if returned.status == JobStatus.COMPLETED else None
    return float(value) if isinstance(value, (int, float)) else math.nan


ConfigStore.instance().store(group="hydra/sweeper", name="jsc_search", node=JscSearchConf, provider="jsc")
