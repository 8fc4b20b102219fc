"""What a run's learning curves say: overfitting, stagnation, and the early stopping that would have saved the rest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jsc.results import EpochMetrics


@dataclass(frozen=True)
class Overfitting:
    """`epoch` has the lowest validation loss; `rise` is by how much (nats) the last epochs lie above it."""

    epoch: int
    rise: float


@dataclass(frozen=True)
class Stagnation:
    """After `epoch` the best validation loss fell by less than the tolerance. In hindsight, Lightning's EarlyStopping

    with that tolerance as `min_delta` and this `patience` would have ended the run after `stop_epoch`, at the cost of
    `cost` nats, and saved `epochs_saved` epochs and `seconds_saved` seconds.
    """

    epoch: int
    patience: int
    stop_epoch: int
    epochs_saved: int
    seconds_saved: float
    cost: float


LAST = 3  # epochs that must agree before a rise is called one: a single epoch may be noise


def _validated(epochs: Sequence[EpochMetrics]) -> list[EpochMetrics]:
    return [row for row in epochs if row.val_loss is not None and math.isfinite(row.val_loss)]


def _val_loss(row: EpochMetrics) -> float:
    assert row.val_loss is not None
    return row.val_loss


def find_overfitting(epochs: Sequence[EpochMetrics], *, tolerance: float) -> Overfitting | None:
    """Whether the validation loss rises while the training loss falls, and from which epoch.

    It does if each of the last three epochs lies more than `tolerance` (nats) above the lowest validation loss, both
    slopes from there (least squares) have those signs, and the training loss ends lower than it was there.
    """
    rows = _validated(epochs)
    if not rows:
        return None
    best = min(range(len(rows)), key=lambda i: _val_loss(rows[i]))
    tail = rows[best:]
    if len(tail) <= LAST or any(row.train_loss is None for row in tail):
        return None
    val = [_val_loss(row) for row in tail]
    train = [row.train_loss for row in tail if row.train_loss is not None]
    rises = all(loss > val[0] + tolerance for loss in val[-LAST:]) and _slope(val) > 0.0
    falls = train[-1] < train[0] and _slope(train) < 0.0
    if not (rises and falls):
        return None
    return Overfitting(epoch=tail[0].epoch, rise=math.fsum(val[-LAST:]) / LAST - val[0])


def _slope(values: Sequence[float]) -> float:
    """The least-squares slope over equally spaced points, up to a positive factor."""
    middle = (len(values) - 1) / 2
    return math.fsum((i - middle) * value for i, value in enumerate(values))


def find_stagnation(epochs: Sequence[EpochMetrics], *, tolerance: float, at_least: int) -> Stagnation | None:
    """Whether training went on for `at_least` epochs or more while the best validation loss fell by < `tolerance`.

    The patience is the smallest one that would not have stopped the run before its stagnation.
    """
    rows = _validated(epochs)
    if not rows:
        return None
    lowest = min(_val_loss(row) for row in rows)
    reached = next(i for i, row in enumerate(rows) if _val_loss(row) - lowest < tolerance)
    if len(rows) - 1 - reached < at_least:
        return None
    for patience in range(1, len(rows)):
        stop = _stop(rows, min_delta=tolerance, patience=patience)
        if stop is None:
            return None
        if stop >= reached:
            return Stagnation(
                epoch=rows[reached].epoch,
                patience=patience,
                stop_epoch=rows[stop].epoch,
                epochs_saved=len(rows) - 1 - stop,
                seconds_saved=rows[-1].seconds - rows[stop].seconds,
                cost=min(_val_loss(row) for row in rows[: stop + 1]) - lowest,
            )
    return None


def _stop(rows: Sequence[EpochMetrics], *, min_delta: float, patience: int) -> int | None:
    """The index at which Lightning's EarlyStopping ends a run; None if it does not before the last epoch."""
    best, waited = math.inf, 0
    for i, row in enumerate(rows[:-1]):
        if _val_loss(row) < best - min_delta:
            best, waited = _val_loss(row), 0
        else:
            waited += 1
            if waited >= patience:
                return i
    return None


def still_improving(epochs: Sequence[EpochMetrics], *, tolerance: float) -> bool:
    """Whether the last tenth of the epochs (one at least) lowered the best validation loss by `tolerance` or more."""
    rows = _validated(epochs)
    tenth = max(1, len(rows) // 10)
    if len(rows) <= tenth:
        return False
    before = min(_val_loss(row) for row in rows[:-tenth])
    return before - min(_val_loss(row) for row in rows[-tenth:]) >= tolerance
