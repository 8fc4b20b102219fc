import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from jsc.cli.settings import TrainSettings
from jsc.errors import CommandError
from jsc.sweep.dry_run import makespan
from jsc.sweep.plan import Job
from jsc.sweep.split import Part, epoch_kind, epochs_to_train, read_part, split
from tests.conftest import settings_of


@pytest.fixture(scope="module")
def default() -> TrainSettings:
    return settings_of()


def of(default: TrainSettings, epochs: int, batch_size: int = 256) -> TrainSettings:
    trainer = default.trainer.model_copy(update={"max_epochs": epochs})
    dataset = default.dataset.model_copy(update={"batch_size": batch_size})
    return default.model_copy(update={"trainer": trainer, "dataset": dataset})


def jobs_of(settings: Iterable[TrainSettings], share_keys: Sequence[str | None] = ()) -> list[Job]:
    keys = itertools.chain(share_keys, itertools.repeat(None))
    told = enumerate(zip(settings, keys, strict=False))
    return [Job(num, (), Path(), "", one, share_key=key) for num, (one, key) in told]


def test_every_job_is_in_one_group(default: TrainSettings) -> None:
    lengths = [5, 50, 7, 5, 30, 12, 1]
    groups = split(jobs_of(of(default, epochs) for epochs in lengths), 3)
    assert sorted(itertools.chain(*groups)) == list(range(7))
    assert all(list(group) == sorted(group) for group in groups)
    assert max(sum(lengths[num] for num in group) for group in groups) == 50


def test_there_are_no_empty_groups(default: TrainSettings) -> None:
    jobs = jobs_of([default] * 9)
    assert split([jobs[3], jobs[8]], 20) == [(3,), (8,)]
    assert split([], 20) == []
    assert split(jobs[:4], 2) == [(0, 2), (1, 3)]


def test_jobs_that_begin_alike_stay_together_and_cost_the_longest_alone(default: TrainSettings) -> None:
    jobs = jobs_of((of(default, epochs) for epochs in [10, 100, 50, 95, 5]), ["a", "a", "a"])
    assert epochs_to_train(jobs) == {0: 10, 2: 40, 1: 50, 3: 95, 4: 5}
    assert split(jobs, 2) == [(0, 1, 2), (3, 4)]


def test_each_group_gets_as_many_slow_jobs(default: TrainSettings) -> None:
    """Ten batch sizes within each learning rate: dealing jobs out in their order would give one group all the small."""
    sizes = [2**n for n in range(3, 13)]
    jobs = jobs_of(of(default, 20, sizes[num % 10]) for num in range(100))
    for group in split(jobs, 10):
        assert sorted(jobs[num].settings.dataset.batch_size for num in group) == sizes


def test_seeds_and_rates_cost_the_same(default: TrainSettings) -> None:
    rate = default.optimizer.model_copy(update={"lr": 0.5})
    other = of(default, 3).model_copy(update={"seed": 7, "optimizer": rate})
    assert epoch_kind(other) == epoch_kind(default) != epoch_kind(of(default, 3, batch_size=64))


@pytest.mark.parametrize(("num_at_once", "end"), [(1, 10.0), (2, 5.0), (3, 4.0), (9, 4.0)])
def test_a_makespan_counts_tasks_that_wait(num_at_once: int, end: float) -> None:
    assert makespan([4.0, 2.0, 3.0, 1.0], num_at_once) == end
    assert makespan([], num_at_once) == 0.0


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"give 3/20 for the third of twenty parts"):
        read_part(text)


def test_a_part_is_read_and_written_alike() -> None:
    assert read_part("3/20") == Part(3, 20)
    assert str(Part(3, 20)) == "3/20"
    assert read_part(None) is None
