"""Proposals, and what the study's file remembers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hydra_plugins.jsc_search._study import Study, open_study
from jsc.errors import CommandError

SPACE = {
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "size": IntDistribution(16, 512),
    "scheduler": CategoricalDistribution(("none", "cosine")),
}


def loss(study: Study, number: int) -> float:
    """Least, 0, at lr = 0.01 with the cosine; NaN above 0.5."""
    params = study.trials[number].params
    if params["lr"] > 0.5:
        return math.nan
    return abs(math.log10(params["lr"]) + 2) + (params["scheduler"] == "none")


def run(study: Study, until: int) -> None:
    while len(study.trials) < until:
        study.propose()
        study.tell(len(study.trials) - 1, loss(study, len(study.trials) - 1))


def outcome(study: Study) -> list[Any]:
    return [(trial.number, trial.params, trial.state, trial.value) for trial in study.trials]


def test_it_finds_what_is_planted() -> None:
    with open_study(None, SPACE, seed=0, num_startup_trials=10) as study:
        run(study, 40)
        losses = [trial.value if trial.value is not None else 5.0 for trial in study.trials]
    assert sum(losses[30:]) < sum(losses[:10]) / 2
    assert min(losses) < 0.1


@pytest.mark.parametrize("stop", [0, 3, 12])
def test_a_search_that_was_interrupted_proposes_what_it_would_have(tmp_path: Path, stop: int) -> None:
    given: dict[str, Any] = {"space": SPACE, "seed": 3, "num_startup_trials": 5}
    with open_study(None, **given) as whole:
        run(whole, 15)
        expected = outcome(whole)
    with open_study(tmp_path / "optuna.db", **given) as study:
        run(study, stop)
    with open_study(tmp_path / "optuna.db", **given) as study:
        run(study, 15)
        assert outcome(study) == expected
    with open_study(None, **{**given, "seed": 4}) as other:
        run(other, 15)
        assert outcome(other) != expected


def test_trials_under_way_keep_others_off(tmp_path: Path) -> None:
    with open_study(tmp_path / "optuna.db", SPACE, seed=0, num_startup_trials=2) as study:
        run(study, 5)
        for _ in range(6):
            study.propose()
        proposed = [trial.params["lr"] for trial in study.trials[5:]]
        assert len(set(proposed)) == 6
        assert [study.is_told(number) for number in range(11)] == [True] * 5 + [False] * 6


def test_a_trial_is_told_once_and_no_number_prunes_it() -> None:
    with open_study(None, SPACE, seed=0, num_startup_trials=1) as study:
        for number, value in enumerate((0.5, math.nan, math.inf)):
            study.propose()
            study.tell(number, value)
        assert study.pruned() == {1, 2}
        with pytest.raises(ValueError, match="Cannot tell a COMPLETE trial"):
            study.tell(0, 0.4)


def test_overrides_are_words_of_hydras() -> None:
    with open_study(None, SPACE, seed=0, num_startup_trials=50) as study:
        for number in range(50):
            study.propose()
            words = dict(word.split("=") for word in study.overrides(number))
            assert list(words) == list(SPACE)
            assert len(words["lr"].lstrip("0.").partition("e")[0]) <= 5  # four digits, perhaps a point within
            assert 1e-5 <= float(words["lr"]) <= 1.0
            assert 16 <= int(words["size"]) <= 512


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda space: {**space, "size": IntDistribution(16, 64)}, r"size was .*512.*, is .*64"),
        (lambda space: {"lr": space["lr"], "size": space["size"]}, "scheduler was .*, is not searched"),
    ],
)
def test_another_space_is_refused(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    with open_study(tmp_path / "optuna.db", SPACE, seed=0, num_startup_trials=1) as study:
        study.propose()
    with (
        pytest.raises(CommandError, match=message),
        open_study(tmp_path / "optuna.db", change(SPACE), seed=0, num_startup_trials=1),
    ):
        pass


def test_a_stranger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    optuna.create_study(study_name="mine", storage=f"sqlite:///{path}")
    with pytest.raises(CommandError, match="holds other studies"), open_study(path, SPACE, 0, 1):
        pass
    assert optuna.get_all_study_names(f"sqlite:///{path}") == ["mine"]


def test_a_study_half_made_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "optuna.new").write_bytes(b"SQLite format 3\0 and then the power failed")
    with open_study(tmp_path / "optuna.db", SPACE, seed=0, num_startup_trials=1) as study:
        study.propose()
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.db"]
