"""What each setting of a run changes is marked, and what the marks say."""

from collections.abc import Callable, Iterator
from typing import Annotated

import pytest

from jsc.cli.settings import (
    MARKS,
    OUTCOME,
    Mark,
    Section,
    TrainSettings,
    changes_epoch_cost,
    changes_length,
    changes_outcome,
    flat,
    is_option,
    is_shown,
    mark_of,
    marks_in,
    values_where,
)
from tests.conftest import settings_of


def fields_of(section: type[Section], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields_of(field.annotation, f"{prefix}{field.alias or name}.")
        else:
            yield f"{prefix}{field.alias or name}"


def test_every_field_of_a_run_bears_a_mark() -> None:
    fields = list(fields_of(TrainSettings))
    assert len(fields) >= 40
    assert set(fields) <= MARKS.keys()


def test_a_field_without_a_mark_is_an_error() -> None:
    class Inner(Section):
        marked: Annotated[int, OUTCOME]
        forgotten: int

    class Outer(Section):
        inner: Inner

    with pytest.raises(TypeError, match=r"Inner\.forgotten bears no Mark"):
        list(marks_in(Outer))


@pytest.mark.parametrize(
    ("asked", "yes", "no"),
    [
        (
            changes_outcome,
            "model.options.width optimizer._target_ optimizer.eps scheduler.gamma dataset.features seed",
            "trainer.max_epochs trainer.devices engine.name dataset.path callbacks.mine.patience logger.csv plugins",
        ),
        (changes_length, "trainer.max_epochs trainer.max_steps", "seed callbacks.early_stopping.patience"),
        (
            changes_epoch_cost,
            "model.name dataset.batch_size dataset.path trainer.precision engine.name optimizer.name",
            "optimizer.lr optimizer.eps seed trainer.max_epochs scheduler.name loss.label_smoothing",
        ),
        (
            is_shown,
            "optimizer.lr optimizer.momentum trainer.devices seed callbacks.early_stopping.patience",
            "optimizer._target_ dataset.path dataset.url logger.tensorboard.name plugins sweep.name "
            "callbacks.mine.dirpath",
        ),
        (
            is_option,
            "optimizer.momentum model.options.width trainer.precision engine.name",
            "optimizer.lr model.name dataset.batch_size trainer.max_epochs seed dataset.md5",
        ),
    ],
)
def test_what_the_marks_say(asked: Callable[[str], bool], yes: str, no: str) -> None:
    assert [key for key in yes.split() if not asked(key)] == []
    assert [key for key in no.split() if asked(key)] == []


def test_a_key_has_the_mark_of_the_nearest_section_above_it() -> None:
    assert mark_of("callbacks.mine.deep.key") == mark_of("callbacks")
    assert mark_of("nothing.of.the.sort") == Mark(0)


def test_values_are_those_asked_for() -> None:
    settings = settings_of("trainer.max_epochs=7")
    assert values_where(changes_length, settings) == {"trainer.max_epochs": 7, "trainer.max_steps": -1}
    assert flat({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}
