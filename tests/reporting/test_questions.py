import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from jsc.cli.settings import is_option
from jsc.reporting.questions import Question, find_configurations, find_questions, group_by_data
from jsc.reporting.runs import read_runs

RunWriter = Callable[..., Path]
Ask = Callable[..., list[Question]]


@pytest.fixture
def ask(tmp_path: Path, run_writer: RunWriter) -> Ask:
    """Write a run for each dict of settings and find the questions."""

    def questions(*runs: dict[str, object]) -> list[Question]:
        folders = [run_writer(tmp_path / f"{i}", **{"max_epochs": 2, **run}) for i, run in enumerate(runs)]
        groups = group_by_data(read_runs(folders, is_option))
        return [q for data, members in groups.items() for q in find_questions(find_configurations(members), data)]

    return questions


def varied(questions: list[Question]) -> list[tuple[str, ...]]:
    return [question.varied for question in questions]


def grid(**values: list[object]) -> list[dict[str, object]]:
    return [dict(zip(values, choice, strict=True)) for choice in itertools.product(*values.values())]


def test_one_setting_with_seeds(ask: Ask) -> None:
    (question,) = ask(*grid(batch_size=[256, 64, 1024], seed=[1, 2, 3]))
    assert question.varied == ("batch_size",)
    assert question.title == "Batch size"
    assert question.names == ["batch size 64", "batch size 256", "batch size 1024"]
    assert [len(c.runs) for c in question.configurations] == [3, 3, 3]
    assert question.fixed["lr"] == 1e-3
    assert question.say([0, 2], ["(a)", ""]) == "batch size 64 (a) and 1024"


def test_a_grid_asks_for_each_setting_and_for_both(ask: Ask) -> None:
    questions = ask(*grid(lr=[0.1, 0.01, 0.001], batch_size=[64, 256]))
    assert varied(questions) == [("batch_size",), ("lr",), ("lr", "batch_size")]
    assert [len(q.configurations) for q in questions] == [2, 3, 6]
    assert [q.others for q in questions] == [2, 1, 0]
    shown = questions[1].configurations[0].settings["batch_size"]
    best = min(questions[2].configurations, key=lambda c: c.val_loss)
    assert shown == best.settings["batch_size"], "of lines of equal length, the one with the lowest validation loss"


def test_a_cross_is_two_lines_and_no_grid(ask: Ask) -> None:
    questions = ask(
        *({"lr": lr} for lr in (0.1, 0.01, 0.001)), *({"batch_size": b} for b in (64, 1024)), {"model": "jsc-mlp"}
    )
    assert varied(questions) == [("batch_size",), ("lr",), ("model",)]
    assert [len(q.configurations) for q in questions] == [3, 3, 2]


def test_lines_that_cross_a_grid_are_no_part_of_it(ask: Ask) -> None:
    plane = grid(lr=[0.1, 0.01, 0.001], batch_size=[64, 256])
    lines = [*({"lr": lr} for lr in (1e-4, 1e-5)), *({"batch_size": b} for b in (32, 512, 1024))]
    questions = ask(*plane, *lines)
    assert varied(questions) == [("batch_size",), ("lr",), ("lr", "batch_size")]
    assert [len(q.configurations) for q in questions] == [5, 5, 6]


def test_networks_are_sorted_by_size(ask: Ask) -> None:
    (question,) = ask(*({"model": model} for model in ("jsc-mlp", "jsc-tiny", "jsc-medium")))
    assert question.names == ["jsc-tiny", "jsc-medium", "jsc-mlp"]


def test_a_configuration_key_that_varies_is_found(ask: Ask) -> None:
    (question,) = ask(*({"options": {"loss.label_smoothing": s}} for s in (0.0, 0.1)))
    assert question.varied == ("loss.label_smoothing",)
    assert question.names == ["loss.label_smoothing 0", "loss.label_smoothing 0.1"]


def test_a_key_that_comes_with_a_choice_is_no_setting_of_its_own(ask: Ask) -> None:
    (question,) = ask({}, {"optimizer": "sgd", "options": {"optimizer.momentum": 0.9}})
    assert question.varied == ("optimizer",)


def test_a_key_that_only_some_runs_have_is_found_among_equals(ask: Ask) -> None:
    questions = ask({}, *({"optimizer": "sgd", "options": {"optimizer.momentum": m}} for m in (0.0, 0.9)))
    assert ("optimizer.momentum",) in varied(questions)


def test_epochs_and_network_together_are_confounded(ask: Ask) -> None:
    (question,) = ask({"model": "jsc-tiny", "max_epochs": 2}, {"model": "jsc-tiny-x10", "max_epochs": 5})
    assert question.confounded
    assert question.title == "Epochs and model, varied together"


def test_one_run_with_other_epochs_joins_the_table_under_its_own_name(ask: Ask) -> None:
    (question,) = ask({"lr": 0.1}, {"lr": 0.01}, {"lr": 0.001, "max_epochs": 5})
    assert not question.confounded
    assert question.budget == 2
    assert question.names[0] == "learning rate 0.001, 5 epochs"


def test_epochs_as_the_question_have_no_budget(ask: Ask) -> None:
    (question,) = ask(*({"max_epochs": epochs} for epochs in (1, 5, 10)))
    assert (question.varied, question.budget) == (("max_epochs",), None)


def test_data_variants_and_splits_are_kept_apart(ask: Ask) -> None:
    questions = ask(*grid(lr=[0.1, 0.01], variant=["pythia8", "openml"]), {"lr": 0.001, "num_train": 10})
    assert varied(questions) == [("lr",), ("lr",), ()]
    assert len({question.data for question in questions}) == 3


def test_a_repeated_seed_counts_once_and_the_later_finished_one(ask: Ask) -> None:
    (question,) = ask(
        {"seed": 1, "started_at": "2026-01-01T00:00:00"},
        {"seed": 1, "started_at": "2026-01-02T00:00:00", "test_acc": 0.5},
        {"seed": 1, "started_at": "2026-01-03T00:00:00", "status": "failed"},
        {"seed": 2},
    )
    (configuration,) = question.configurations
    assert [run.result.seed for run in configuration.runs if run.result] == [1, 2]
    assert configuration.scores("test_acc").values[0] == 0.5
    assert len(configuration.repeats) == 2


def test_of_repeats_the_one_of_the_sweep_with_most_of_the_line_stands(tmp_path: Path, run_writer: RunWriter) -> None:
    for batch_size in (64, 256, 1024):
        run_writer(tmp_path / f"line/{batch_size}", batch_size=batch_size, max_epochs=2)
    for model in ("jsc-tiny", "jsc-mlp"):
        run_writer(tmp_path / f"later/{model}", model=model, max_epochs=2, started_at="2026-01-02T00:00:00")
    runs = read_runs(sorted(tmp_path.glob("*/*")), is_option)
    line, models = find_questions(find_configurations(runs))
    assert {run.folder.parent.name for c in line.configurations for run in c.runs} == {"line"}
    assert {run.folder.parent.name for c in models.configurations for run in c.runs} == {"later"}
    assert [len(c.repeats) for c in line.configurations] == [0, 1, 0]


def test_a_lone_run_asks_nothing(ask: Ask) -> None:
    (question,) = ask({})
    assert (question.varied, question.title) == ((), "One configuration: jsc-tiny")
