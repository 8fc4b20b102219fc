"""A search, batch after batch: trials are proposed, launched as jobs, and told what came of them."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.jsc_search._space import Space, num_points, space_of
from hydra_plugins.jsc_search._study import STORAGE_FILE, Study, open_study
from jsc.cli.command import quoted
from jsc.errors import CommandError, JobFailed
from jsc.results import PLAN_FILE
from jsc.sweep.session import Session

log = logging.getLogger(__name__)

Jobs = list[list[str]]  # the overrides of each


@dataclass(frozen=True)
class Search:
    """`fixed` overrides are every trial's; `swept` ones are chosen from. `num_at_once`: trials proposed together.

    `check` raises CommandError for jobs that cannot be run, `open` makes a launcher's batches share workers, `launch`
    runs the jobs of a batch, whose first has the number given.
    """

    folder: Path
    fixed: Sequence[str]
    swept: Sequence[Override]
    num_trials: int
    num_startup_trials: int
    num_at_once: int
    seed: int
    resumes: bool
    check: Callable[[Jobs], object]
    open: Callable[[int], AbstractContextManager[Session | None]]
    launch: Callable[[Jobs, int], Sequence[JobReturn]]

    def run(self) -> None:
        """Raises CommandError, JobFailed if no trial came to a score, KeyboardInterrupt."""
        space = self._checked_space()
        with self.open(self.num_trials) as session:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / PLAN_FILE).is_file() and not self.resumes:
                raise CommandError(
                    f"{self.folder} holds a sweep already. To go on with it give "
                    f"sweep.resume={quoted(str(self.folder))}, else another hydra.sweep.dir"
                )
            with open_study(self.folder / STORAGE_FILE, space, self.seed, self.num_startup_trials) as study:
                if session is not None:
                    session.num_jobs = max(self.num_trials, len(study.trials))
                    session.settled = study.pruned()
                self._run_trials(study)
                num_pruned, num_trials = len(study.pruned()), len(study.trials)
        if num_pruned:
            log.warning(
                "%d of %d trials failed or diverged; the search avoids settings like theirs", num_pruned, num_trials
            )
        if num_pruned == num_trials:
            log.error("No trial came to a validation loss.")
            raise JobFailed

    def dry_run(self) -> None:
        """Show the trials that are known: of a search that is to go on, or the first, which are drawn at random."""
        space, path = self._checked_space(), self.folder / STORAGE_FILE
        is_new = not path.is_file()
        with open_study(None if is_new else path, space, self.seed, self.num_startup_trials) as study:
            while is_new and len(study.trials) < min(self.num_startup_trials, self.num_trials):
                study.propose()
            num_known = len(study.trials)
            self.launch([self._overrides(study, n) for n in range(num_known)], 0)
        num_left = self.num_trials - num_known
        if num_left > 0:
            log.info("These are the first %d trials; %d more will follow from their scores.", num_known, num_left)

    def _checked_space(self) -> Space:
        """Raises CommandError where there is nothing to search, or a search is not what the user wants."""
        space = space_of(self.swept)
        if not space:
            raise CommandError("hparams_search: nothing is searched; give optimizer.lr=interval(1e-4,1e-1) or a list")
        if num_points(space) <= self.num_trials:
            raise CommandError(
                f"hparams_search: there are {num_points(space)} ways to choose {', '.join(space)}, and "
                f"hydra.sweeper.num_trials={self.num_trials}: try them all, with -m and without hparams_search"
            )
        self.check(list(variants(self.fixed, self.swept)))
        return space

    def _run_trials(self, study: Study) -> None:
        """Until there are as many trials as asked for.

        Those that a killed search left come first, with the rest of the batch that they were in; the launcher answers
        for jobs that have ended, goes on with interrupted ones, and so nothing is told twice or lost.
        """
        num_launched, width = 0, self.num_at_once
        while num_launched < max(self.num_trials, len(study.trials)):
            while (n := len(study.trials)) < self.num_trials and (n == num_launched or n % width != 0):
                study.propose()
            numbers = range(num_launched, len(study.trials))
            returns = self.launch([self._overrides(study, number) for number in numbers], num_launched)
            for number, returned in zip(numbers, returns, strict=True):
                if not study.is_told(number):
                    study.tell(number, loss_of(returned))
            num_launched = len(study.trials)

    def _overrides(self, study: Study, number: int) -> list[str]:
        return [*study.overrides(number), *self.fixed]


def variants(fixed: Sequence[str], swept: Sequence[Override]) -> Iterator[list[str]]:
    """As many jobs as it takes to see every value that may be chosen once, each beside the others' first."""
    choices = [choices for override in swept if (choices := values_of(override))]
    first = [values[0] for values in choices]
    yield [*first, *fixed]
    for index, values in enumerate(choices):
        for value in values[1:]:
            yield [*first[:index], value, *first[index + 1 :], *fixed]


def values_of(override: Override) -> list[str]:
    """The single overrides that may be chosen from a list of values; an interval's ends."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    return [f"{key}={choice}" for choice in override.sweep_string_iterator()]


def loss_of(returned: JobReturn) -> float:
    """NaN for a job that failed, or returned no number."""
    value = returned.return_value if returned.status == JobStatus.COMPLETED else None
    return float(value) if isinstance(value, (int, float)) else math.nan
