import pytest

from jsc.prefix import share_key
from tests.conftest import settings_of


@pytest.mark.parametrize("words", [[], ["model=jsc_trt"], ["scheduler=step"], ["scheduler=plateau"], ["engine=torch"]])
def test_runs_of_other_lengths_share(words: list[str]) -> None:
    keys = {share_key(settings_of(*words, f"trainer.max_epochs={n}")) for n in (1, 50)}
    assert len(keys) == 1
    assert None not in keys


@pytest.mark.parametrize("word", ["seed=1", "optimizer.lr=0.5", "model=jsc_s", "dataset.batch_size=64", "engine=torch"])
def test_runs_that_differ_in_anything_else_do_not(word: str) -> None:
    assert share_key(settings_of(word)) != share_key(settings_of())


def test_a_schedule_that_is_told_the_length_keeps_runs_apart() -> None:
    lengths = (share_key(settings_of("scheduler=cosine", f"trainer.max_epochs={n}")) for n in (1, 50))
    assert len(set(lengths)) == 2


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
    assert share_key(settings_of(*words)) is None
