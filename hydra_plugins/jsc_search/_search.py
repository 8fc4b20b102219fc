"""A search, batch after batch: trials are proposed, launched as jobs, and told what came of them."""

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher
from hydra_plugins.jsc_search._space import Space, num_points, space_of
from hydra_plugins.jsc_search._study import STORAGE_FILE, Study, open_study
from jsc.cli.command import fixed_and_swept, quoted
from jsc.errors import CommandError, JobFailed
from jsc.results import PLAN_FILE

if TYPE_CHECKING:
    from hydra_plugins.jsc_search.jsc_search import JscSearch

log = logging.getLogger(__name__)


def search(sweeper: "JscSearch", words: Sequence[str]) -> None:
    """Raises what `JscSearch.sweep` does."""
    assert sweeper.config is not None
    assert sweeper.hydra_context is not None
    fixed, swept = fixed_and_swept(words, sweeper.params, sweeper.hydra_context.config_loader)
    space = space_of(swept)
    _check(sweeper, space)
    folder = Path(str(sweeper.config.hydra.sweep.dir)).absolute()
    path = folder / STORAGE_FILE
    if OmegaConf.select(sweeper.config, "sweep.dry_run"):
        _dry_run(sweeper, path, space, fixed)
        return
    launcher = sweeper.launcher
    with launcher.keep_crew(sweeper.num_trials) if isinstance(launcher, JscLauncher) else nullcontext() as shift:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / PLAN_FILE).is_file() and OmegaConf.select(sweeper.config, "sweep.resume") is None:
            raise CommandError(
                f"{folder} holds a sweep already. To go on with it give "
                f"sweep.resume={quoted(str(folder))}, else another hydra.sweep.dir"
            )
        with open_study(path, space, sweeper.seed, sweeper.num_startup_trials) as study:
            if shift is not None:
                shift.num_jobs = max(sweeper.num_trials, len(study.trials))
                shift.settled = study.pruned()
            _run(sweeper, study, fixed)
            num_pruned, num_trials = len(study.pruned()), len(study.trials)
    if num_pruned:
        log.warning(
            "%d of %d trials failed or diverged; the search avoids settings like theirs", num_pruned, num_trials
        )
    if num_pruned == num_trials:
        log.error("No trial came to a validation loss.")
        raise JobFailed


def _check(sweeper: "JscSearch", space: Space) -> None:
    """Raises CommandError where there is nothing to search, or a search is not what the user wants."""
    if not space:
        raise CommandError("hparams_search: nothing is searched; give optimizer.lr=interval(1e-4,1e-1) or a list")
    if num_points(space) <= sweeper.num_trials:
        raise CommandError(
            f"hparams_search: there are {num_points(space)} ways to choose {', '.join(space)}, and "
            f"hydra.sweeper.num_trials={sweeper.num_trials}: try them all, with -m and without hparams_search"
        )
    if isinstance(sweeper.launcher, JscLauncher) and sweeper.launcher.on_failure == "stop":
        raise CommandError(
            "hydra.launcher.on_failure=stop: a search goes on after a failed trial; give continue, retry"
        )


def _run(sweeper: "JscSearch", study: Study, fixed: Sequence[str]) -> None:
    """Until there are as many trials as asked for.

    Those that a killed search left come first, with the rest of the batch that they were in; the launcher answers for
    jobs that have ended, goes on with interrupted ones, and so nothing is told twice or lost.
    """
    assert sweeper.launcher is not None
    width = sweeper.num_at_once or (
        sweeper.launcher.num_side_by_side if isinstance(sweeper.launcher, JscLauncher) else 1
    )
    num_launched = 0
    while num_launched < max(sweeper.num_trials, len(study.trials)):
        while (n := len(study.trials)) < sweeper.num_trials and (n == num_launched or n % width != 0):
            study.propose()
        numbers = range(num_launched, len(study.trials))
        jobs = [[*study.overrides(number), *fixed] for number in numbers]
        returns = sweeper.launcher.launch(jobs, initial_job_idx=num_launched)
        for number, returned in zip(numbers, returns, strict=True):
            if not study.is_told(number):
                study.tell(number, loss_of(returned))
        num_launched = len(study.trials)


def loss_of(returned: JobReturn) -> float:
    """NaN for a job that failed, or returned no number."""
    value = returned._return_value if returned.status == JobStatus.COMPLETED else None
    return float(value) if isinstance(value, (int, float)) else math.nan


def _dry_run(sweeper: "JscSearch", path: Path, space: Space, fixed: Sequence[str]) -> None:
    """Show the trials that are known: those of a search that is to go on, or the first, which are drawn at random."""
    assert sweeper.launcher is not None
    is_new = not path.is_file()
    with open_study(None if is_new else path, space, sweeper.seed, sweeper.num_startup_trials) as study:
        while is_new and len(study.trials) < min(sweeper.num_startup_trials, sweeper.num_trials):
            study.propose()
        num_known = len(study.trials)
        sweeper.launcher.launch([[*study.overrides(n), *fixed] for n in range(num_known)], initial_job_idx=0)
    num_left = sweeper.num_trials - num_known
    if num_left > 0:
        log.info("These are the first %d trials; %d more will follow from their scores.", num_known, num_left)
