import math

import pytest

from jsc.reporting.curves import find_overfitting, find_stagnation, still_improving
from jsc.results import EpochMetrics


def curve(val: list[float | None], train: list[float] | None = None) -> list[EpochMetrics]:
    train = train or [1.0 - 0.01 * epoch for epoch in range(len(val))]
    return [
        EpochMetrics(
            epoch=epoch,
            step=10 * (epoch + 1),
            lr=1e-3,
            train_loss=train[epoch],
            train_acc=0.5,
            val_loss=val[epoch],
            val_acc=0.5,
            jets_per_second=None,
            seconds=2.0 * (epoch + 1),
        )
        for epoch in range(len(val))
    ]


FALLING = [1.0, 0.8, 0.7, 0.65]


def test_overfitting_starts_at_the_lowest_validation_loss() -> None:
    found = find_overfitting(curve([*FALLING, 0.66, 0.68, 0.70, 0.72]), tolerance=0.005)
    assert found is not None
    assert (found.epoch, found.rise) == (3, pytest.approx((0.68 + 0.70 + 0.72) / 3 - 0.65))


@pytest.mark.parametrize(
    ("val", "train"),
    [
        pytest.param([*FALLING, 0.651, 0.652, 0.653, 0.654], None, id="within the tolerance"),
        pytest.param([*FALLING, 0.7, 0.7, 0.6501, 0.7], None, id="one of the last three is low"),
        pytest.param([*FALLING, 0.66, 0.68], None, id="too few epochs since"),
        pytest.param([*FALLING, 0.66, 0.68, 0.7, 0.72], [1.0 + 0.01 * e for e in range(8)], id="training rises too"),
        pytest.param([], None, id="no epochs"),
        pytest.param([None, None], None, id="no validation"),
    ],
)
def test_no_overfitting(val: list[float | None], train: list[float] | None) -> None:
    assert find_overfitting(curve(val, train), tolerance=0.005) is None


def test_stagnation_and_the_early_stopping_that_saves_it() -> None:
    found = find_stagnation(
        curve([*FALLING, 0.6498, 0.6497, 0.6496, 0.6495, 0.6495, 0.6495]), tolerance=0.001, at_least=5
    )
    assert found is not None
    # Epoch 3 is within 0.001 of the best; with patience 1 the first epoch without an improvement, 4, is the last.
    assert (found.epoch, found.patience, found.stop_epoch, found.epochs_saved) == (3, 1, 4, 5)
    assert found.seconds_saved == 10.0
    assert found.cost == pytest.approx(0.6498 - 0.6495)


def test_the_patience_outlasts_a_plateau_before_the_best() -> None:
    found = find_stagnation(curve([1.0, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]), tolerance=0.001, at_least=5)
    assert found is not None
    assert (found.epoch, found.patience, found.stop_epoch) == (5, 4, 9)


@pytest.mark.parametrize(
    "val", [[1.0 - 0.01 * e for e in range(20)], [*FALLING, 0.65, 0.65], [1.0, math.nan, None], []]
)
def test_no_stagnation(val: list[float | None]) -> None:
    assert find_stagnation(curve(val), tolerance=0.001, at_least=5) is None


def test_still_improving() -> None:
    assert still_improving(curve([1.0 - 0.01 * e for e in range(20)]), tolerance=0.001)
    assert not still_improving(curve([*FALLING, 0.65, 0.65]), tolerance=0.001)
    assert not still_improving(curve([1.0]), tolerance=0.001)
