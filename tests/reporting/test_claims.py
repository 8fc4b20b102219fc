from collections.abc import Callable
from pathlib import Path

import pytest

from jsc.cli.settings import is_option
from jsc.reporting import claims
from jsc.reporting.curves import Tolerances, curve_table, findings, read_curves
from jsc.reporting.questions import Question, find_configurations, find_questions
from jsc.reporting.runs import read_runs

RunWriter = Callable[..., Path]
TOLERANCES = Tolerances(confidence=0.95, stagnation=0.001, stagnation_epochs=5, overfitting=0.005)


@pytest.fixture
def ask(tmp_path: Path, run_writer: RunWriter) -> Callable[..., Question]:
    """Write a run for each dict of settings; they must make one question."""

    def question(*runs: dict[str, object]) -> Question:
        folders = [run_writer(tmp_path / f"{i}", **{"max_epochs": 2, **run}) for i, run in enumerate(runs)]
        (only,) = find_questions(find_configurations(read_runs(folders, is_option)))
        return only

    return question


def scored(lr: float, *accuracies: float, **more: object) -> list[dict[str, object]]:
    return [{"lr": lr, "seed": seed, "test_acc": acc, **more} for seed, acc in enumerate(accuracies)]


def test_a_difference_is_claimed_only_where_intervals_do_not_overlap(ask) -> None:
    told = claims.comparison(
        ask(*scored(0.1, 0.30, 0.31, 0.32), *scored(0.01, 0.70, 0.71, 0.72), *scored(0.001, 0.69, 0.71, 0.70)), 0.95
    )
    assert told == [
        # 0.71 +- 4.3027 * 0.01 / sqrt(3)
        "The highest mean test accuracy is that of learning rate 0.01: 0.7100 (95 % interval 0.6852 to 0.7348, n = 3).",
        "Lower than it, with 95 % Student t intervals that do not overlap (n = 3 each): learning rate 0.1 by 0.4000.",
        "Not distinguishable from it with n = 3: learning rate 0.001.",
    ]


def test_intervals_that_touch_overlap(ask) -> None:
    told = claims.comparison(ask(*scored(0.1, 0.5, 0.5), *scored(0.01, 0.5, 0.5)), 0.95)
    assert told[-1] == "Not distinguishable from it with n = 2: learning rate 0.1."


def test_two_seeds_are_too_few_for_the_same_difference(ask) -> None:
    told = claims.comparison(ask(*scored(0.1, 0.69, 0.70), *scored(0.01, 0.71, 0.72)), 0.95)
    assert told[-1] == "Not distinguishable from it with n = 2: learning rate 0.1."


def test_one_seed_claims_nothing(ask) -> None:
    (told,) = claims.comparison(ask(*scored(0.1, 0.2), *scored(0.01, 0.7)), 0.95)
    seen = "The test accuracy seen goes from 0.2000 (learning rate 0.1) to 0.7000 (learning rate 0.01)"
    assert told.startswith(f"{seen}, with one seed each.")
    assert "not distinguishable with n = 1" in told
    assert "Lower" not in told


def test_one_seed_beside_several_is_left_out_of_the_claim(ask) -> None:
    told = claims.comparison(ask(*scored(0.1, 0.30, 0.31), *scored(0.01, 0.70, 0.71, 0.72), *scored(0.001, 0.9)), 0.95)
    assert told[0].startswith("The highest mean test accuracy is that of learning rate 0.01")
    assert told[-1] == "With one seed there is no interval, so nothing is claimed of learning rate 0.001."


def test_unequal_numbers_of_seeds_are_said(ask) -> None:
    told = claims.comparison(ask(*scored(0.1, 0.70, 0.71), *scored(0.01, 0.70, 0.71, 0.72)), 0.95)
    assert told[-1] == "Not distinguishable from it with n = 3 and 2: learning rate 0.1."


def test_other_epochs_are_in_no_claim(ask) -> None:
    told = claims.comparison(
        ask(
            *scored(0.1, 0.30, 0.31, 0.32),
            *scored(0.01, 0.70, 0.71, 0.72),
            *scored(0.001, 0.90, 0.91, 0.92, max_epochs=3),
        ),
        0.95,
    )
    assert told[0].startswith("Unequal epochs: these runs were given 2, but not learning rate 0.001, 3 epochs. No c")
    assert not any("learning rate 0.001" in sentence for sentence in told[1:])


def test_networks_with_other_epochs_are_not_compared(ask) -> None:
    told = claims.comparison(ask({"model": "jsc-tiny"}, {"model": "jsc-tiny-x10", "max_epochs": 5}), 0.95)
    assert "no difference between them can be put down to one of these settings, and none is claimed" in told[0]
    assert told[1].startswith("Unequal epochs: 2 epochs, jsc-tiny; 5 epochs, jsc-tiny-x10. Part")


def test_early_stopping_is_said(ask) -> None:
    told = claims.comparison(
        ask(*scored(0.1, 0.3, 0.3), *scored(0.01, 0.7, 0.7, status="stopped_early", max_epochs=2, epochs_run=1)), 0.95
    )
    assert told[0] == "Some runs ended before their last epoch: learning rate 0.01 (1 of 2 epochs)."


def test_nothing_finished_is_said(ask) -> None:
    told = claims.comparison(ask({"lr": 0.1, "status": "diverged"}, {"lr": 0.01, "status": "failed"}), 0.95)
    assert told == ["Fewer than two of these configurations finished a run, so there is nothing to compare."]


def test_validation_accuracy_stands_in_where_a_run_was_not_tested(ask) -> None:
    question = ask(*scored(0.1, 0.3, 0.3), {"lr": 0.01, "tested": False})
    assert claims.score_of(question) == "val_acc"
    assert "validation accuracy" in claims.comparison(question, 0.95)[0]


def test_batch_sizes_differ_in_steps_and_time(ask) -> None:
    steps, time = claims.cost(ask({"batch_size": 64}, {"batch_size": 1024}))
    assert steps.startswith(
        "At equal epochs the optimizer makes 2,250 steps with batch size 64 and 142 with batch size 1024"
    )
    assert time.endswith("on reference, cpu, engine fused.")


def test_times_of_different_engines_are_not_compared(ask) -> None:
    told = claims.cost(ask({"batch_size": 64}, {"batch_size": 1024, "engine": "torch"}))
    assert told[-1] == (
        "Training times are of different machines or engines (reference, cpu, engine fused and reference, cpu, engine "
        "torch) and are not compared."
    )


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1, 0.5), (2, 0.4), (3, 0.6)], [0, 2]),
        ([(2, 0.5), (2, 0.6), (1, 0.6)], [2]),
    ],
)
def test_pareto(points: list[tuple[float, float]], front: list[int]) -> None:
    assert claims.pareto(points) == front


def test_the_pareto_front_names_networks(ask) -> None:
    accuracies = {"jsc-tiny": 0.70, "jsc-medium": 0.69, "jsc-mlp": 0.73}
    (told,) = claims.cost(ask(*({"model": model, "test_acc": acc} for model, acc in accuracies.items())))
    assert told.endswith("as high a mean test accuracy: jsc-tiny and jsc-mlp.")


def test_a_class_that_is_never_predicted_is_named(ask) -> None:
    question = ask({"lr": 0.1}, *({"lr": 0.01, "seed": seed, "never_predicted": ["z"]} for seed in (3, 4)))
    assert claims.dead_classes(question) == ["Class Z is never predicted with learning rate 0.01, seeds 3 and 4."]


def test_overfitting_and_stagnation_are_said_with_their_epochs(ask) -> None:
    question = ask(*({"max_epochs": 40, "seed": seed, "overfit_from": 20} for seed in (1, 2)))
    curves = read_curves(question, TOLERANCES)
    told = findings(question, curves, TOLERANCES)
    assert told[0].startswith("Overfitting, in 2 of 2 runs: the validation loss rises while the training")
    assert "would have saved" in told[1]
    assert "`min_delta=0.001`" in told[1]
    table = curve_table(question, curves, TOLERANCES)
    assert table is not None
    over, stale = (table.header.index(title) for title in ("overfits from epoch", "stagnates after epoch"))
    assert [row[table.header.index("seed")] for row in table.rows] == ["1", "2"]
    for row in table.rows:
        assert 10 <= int(row[over]) <= 22
        assert int(row[stale]) <= int(row[over])


def test_a_run_cut_short_is_said_to_improve(ask) -> None:
    question = ask({"lr": 1e-4, "max_epochs": 5})
    curves = read_curves(question, TOLERANCES)
    assert curve_table(question, curves, TOLERANCES) is None
    told = findings(question, curves, TOLERANCES)
    assert told[-1] == "Still improving when their last epoch ended, so that more epochs may help: jsc-tiny."


def test_curves_of_runs_that_do_not_count_say_nothing(ask) -> None:
    question = ask({"status": "interrupted", "max_epochs": 9, "epochs_run": 4})
    curves = read_curves(question, TOLERANCES)
    assert (curves, findings(question, curves, TOLERANCES)) == ([], [])


def test_a_higher_confidence_takes_a_claim_back(ask) -> None:
    question = ask(*scored(0.1, 0.60, 0.61, 0.62), *scored(0.01, 0.70, 0.71, 0.72))
    assert "Lower than it" in claims.comparison(question, 0.95)[1]
    assert claims.comparison(question, 0.999)[1].startswith("Not distinguishable")
