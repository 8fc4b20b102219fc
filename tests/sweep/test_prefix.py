import pytest
from torch import nn

from jsc.models import build_model
from jsc.sweep.prefix import draws_nothing, share_keys
from tests.conftest import settings_of


def keys_of(*runs: list[str]) -> list[str | None]:
    return share_keys([settings_of(*overrides) for overrides in runs])


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


def test_runs_alone_have_no_key() -> None:
    assert keys_of([], ["seed=1", "trainer.max_epochs=50"]) == [None, None]


def test_a_layer_that_the_engine_does_not_know_may_draw_numbers() -> None:
    assert not draws_nothing(nn.Sequential(nn.RReLU(), nn.Linear(16, 5)))
    assert draws_nothing(build_model("jsc-trt", num_features=16, num_classes=5))


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
