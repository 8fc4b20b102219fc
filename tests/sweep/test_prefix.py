from collections.abc import Callable
from typing import TypeVar

import pytest

import jsc.engine
from jsc.engine import CannotLower
from jsc.sweep import prefix
from jsc.sweep.prefix import networks_that_draw_nothing, remember, share_keys
from tests.conftest import settings_of

Answer = TypeVar("Answer")


def call(function: Callable[..., Answer], *arguments: object) -> Answer:
    return function(*arguments)


def keys_of(*runs: list[str]) -> list[str | None]:
    return list(share_keys({num: settings_of(*words) for num, words in enumerate(runs)}, call).values())


def of_two_lengths(*words: str) -> list[str | None]:
    return keys_of([*words, "trainer.max_epochs=1"], [*words, "trainer.max_epochs=50"])


@pytest.mark.parametrize("words", [[], ["model=jsc_trt"], ["scheduler=step"], ["scheduler=plateau"], ["engine=torch"]])
def test_runs_of_other_lengths_share(words: list[str]) -> None:
    keys = of_two_lengths(*words)
    assert len(set(keys)) == 1
    assert None not in keys


@pytest.mark.parametrize("word", ["seed=1", "optimizer.lr=0.5", "model=jsc_s", "dataset.batch_size=64", "engine=torch"])
def test_runs_that_differ_in_anything_else_do_not(word: str) -> None:
    lengths = [f"trainer.max_epochs={n}" for n in (1, 50)]
    keys = keys_of(*([length] for length in lengths), *([word, length] for length in lengths))
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert None not in keys


def test_runs_alone_have_no_key_and_nothing_is_asked() -> None:
    settings = {3: settings_of(), 5: settings_of("seed=1", "trainer.max_epochs=50")}
    assert share_keys(settings, lambda *_: pytest.fail("asked")) == {3: None, 5: None}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "_draws_nothing", {})


def test_what_is_known_is_not_asked() -> None:
    runs = {n: settings_of(f"trainer.max_epochs={n}") for n in (1, 50)}
    remember(networks_that_draw_nothing(list(runs.values())))
    assert None not in share_keys(runs, lambda *_: pytest.fail("asked")).values()


def test_layers_that_draw_their_own_numbers_keep_runs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> None:
        raise CannotLower("RReLU")

    monkeypatch.setattr(jsc.engine, "lower", cannot)
    assert of_two_lengths() == [None, None]


def test_a_schedule_that_is_told_the_length_keeps_runs_apart() -> None:
    assert of_two_lengths("scheduler=cosine") == [None, None]


@pytest.mark.parametrize(
    "words",
    [
        ["callbacks=early_stopping"],
        ["scheduler=onecycle"],
        ["trainer.max_steps=100"],
        ["trainer=ddp"],
        ["trainer.accumulate_grad_batches=2"],
        ["callbacks.last_checkpoint=null"],
        ["callbacks.last_checkpoint._target_=pytorch_lightning.callbacks.ModelCheckpoint"],
        [
            "+callbacks.mine._target_=pytorch_lightning.callbacks.StochasticWeightAveraging",
            "+callbacks.mine.swa_lrs=0.1",
        ],
    ],
)
def test_where_it_is_not_certain_nothing_is_shared(words: list[str]) -> None:
    assert of_two_lengths(*words) == [None, None]
