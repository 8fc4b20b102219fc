"""A search's memory: an Optuna study in the sweep's folder, whose trials bear the numbers of the jobs."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hydra_plugins.jsc_search._space import Space
from jsc.errors import CommandError

STORAGE_FILE = "optuna.db"

_NAME = "jsc"
_SPACE = "space"
_DIGITS = 4  # of a proposed real number, which stands in folders' names and in tables


@dataclass(frozen=True)
class Study:
    """Trials in order: proposed, then told once what came of them."""

    stored: optuna.Study
    space: Space
    seed: int
    num_startup_trials: int

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.stored.get_trials(deepcopy=False)

    def propose(self) -> None:
        """Add a trial.

        It follows from the seed, its number and the trials so far alone: a killed search goes on as if it had not been.
        """
        trials = self.trials
        seed = np.random.SeedSequence([self.seed, len(trials)]).generate_state(1)[0]
        sampler = TPESampler(seed=int(seed), n_startup_trials=self.num_startup_trials, constant_liar=True)
        scratch = optuna.create_study(sampler=sampler)  # Optuna writes a trial piece by piece; these stay in memory
        scratch.add_trials(trials)
        drawn = scratch.ask(self.space).params
        params = {key: _rounded(value, self.space[key]) for key, value in drawn.items()}
        self.stored.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=self.space))

    def overrides(self, number: int) -> list[str]:
        """What a trial chose, in Hydra's words."""
        params = self.trials[number].params
        for key, distribution in self.space.items():  # the storage may be a stranger's
            if key not in params or not _contains(distribution, params[key]):
                raise CommandError(
                    f"{STORAGE_FILE}: trial {number} chose {key}={params.get(key)}, which is not in the space"
                )
        return [f"{key}={params[key]}" for key in self.space]

    def is_told(self, number: int) -> bool:
        return self.trials[number].state.is_finished()

    def tell(self, number: int, loss: float) -> None:
        """A loss that is no number prunes the trial: TPE then avoids such settings, where it would forget a failure."""
        if math.isfinite(loss):
            self.stored.tell(number, loss)
        else:
            self.stored.tell(number, state=TrialState.PRUNED)

    def pruned(self) -> frozenset[int]:
        return frozenset(trial.number for trial in self.trials if trial.state == TrialState.PRUNED)


@contextmanager
def open_study(path: Path | None, space: Space, seed: int, num_startup_trials: int) -> Iterator[Study]:
    """The study in `path`, begun if there is none; None: one in memory.

    Raises CommandError if the study began with another space, or is none of jsc's.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if path is None:
        yield Study(_begin(InMemoryStorage(), space), space, seed, num_startup_trials)
        return
    if not path.is_file():
        draft = path.with_suffix(".new")  # a search that is killed here leaves no half-made file to go on from
        draft.unlink(missing_ok=True)
        with _sqlite(draft) as storage:
            _begin(storage, space)
        draft.replace(path)
    with _sqlite(path) as storage:
        try:
            stored = optuna.load_study(study_name=_NAME, storage=storage)
        except KeyError:
            raise CommandError(f"{path} holds other studies: give another hydra.sweep.dir") from None
        _check_space(path, stored.user_attrs[_SPACE], _described(space))
        yield Study(stored, space, seed, num_startup_trials)


@contextmanager
def _sqlite(path: Path) -> Iterator[BaseStorage]:
    storage = RDBStorage(f"sqlite:///{path}")
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _begin(storage: BaseStorage, space: Space) -> optuna.Study:
    study = optuna.create_study(study_name=_NAME, storage=storage, direction="minimize")
    study.set_user_attr(_SPACE, _described(space))
    return study


def _described(space: Space) -> dict[str, str]:
    return {key: distribution_to_json(distribution) for key, distribution in space.items()}


def _check_space(path: Path, before: dict[str, str], now: dict[str, str]) -> None:
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    changes = [f"{key} was {before.get(key, 'not searched')}, is {now.get(key, 'not searched')}" for key in keys]
    if changes:
        raise CommandError(
            f"sweep.resume={path.parent}: the search space has changed: {'; '.join(changes)}. "
            "Give the one that the search began with, or start another search"
        )


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return isinstance(value, (int, float)) and distribution.low <= value <= distribution.high


def _rounded(value: Any, distribution: BaseDistribution) -> Any:
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), distribution.low), distribution.high)
