"""What learning curves say: overfitting, stagnation, and the early stopping that would have saved the rest."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from jsc.reporting.document import Table
from jsc.reporting.questions import Question
from jsc.reporting.runs import Run, is_finite
from jsc.reporting.wording import count, label, score, seconds, shown, span
from jsc.results import EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """`confidence` of intervals; `stagnation` and `overfitting` in nats; `stagnation_epochs`: fewer are none."""

    confidence: float
    stagnation: float
    stagnation_epochs: int
    overfitting: float


@dataclass(frozen=True)
class Overfitting:
    """`epoch` has the lowest validation loss; `rise` is by how much (nats) the last epochs lie above it."""

    epoch: int
    rise: float


@dataclass(frozen=True)
class Stagnation:
    """After `epoch` the best validation loss fell by less than the tolerance.

    In hindsight, Lightning's EarlyStopping with that tolerance as `min_delta` and this `patience` would have ended the
    run after `stop_epoch`, at the cost of `cost` nats, and saved `epochs_saved` epochs and `seconds_saved` seconds.
    """

    epoch: int
    patience: int
    stop_epoch: int
    epochs_saved: int
    seconds_saved: float
    cost: float


LAST = 3  # epochs that must agree before a rise counts as one: a single epoch may be noise


def _validated(epochs: Iterable[EpochMetrics]) -> tuple[list[EpochMetrics], list[float]]:
    """The epochs with a validation loss, and those losses."""
    pairs = [(row, row.val_loss) for row in epochs if is_finite(row.val_loss)]
    return [row for row, _ in pairs], [loss for _, loss in pairs]


def find_overfitting(epochs: Sequence[EpochMetrics], *, tolerance: float) -> Overfitting | None:
    """Whether the validation loss rises while the training loss falls, and from which epoch.

    It does if each of the last three epochs lies more than `tolerance` (nats) above the lowest validation loss, both
    slopes from there (least squares) have those signs, and the training loss ends lower than it was there.
    """
    rows, losses = _validated(epochs)
    best = losses.index(min(losses)) if losses else 0
    val = losses[best:]
    train = [row.train_loss for row in rows[best:] if row.train_loss is not None]
    if len(val) <= LAST or len(train) < len(val):
        return None
    rises = min(val[-LAST:]) > val[0] + tolerance and _slope(val) > 0.0
    falls = train[-1] < train[0] and _slope(train) < 0.0
    return Overfitting(rows[best].epoch, math.fsum(val[-LAST:]) / LAST - val[0]) if rises and falls else None


def _slope(values: Sequence[float]) -> float:
    return float(np.polyfit(range(len(values)), values, 1)[0])


def find_stagnation(epochs: Sequence[EpochMetrics], *, tolerance: float, at_least: int) -> Stagnation | None:
    """Whether training went on for `at_least` epochs or more while the best validation loss fell by < `tolerance`.

    The patience is the smallest one that would not have stopped the run before its stagnation. None, too, where it
    would not have stopped the run before its last epoch.
    """
    rows, losses = _validated(epochs)
    reached = next((i for i, loss in enumerate(losses) if loss - min(losses) < tolerance), len(losses))
    if len(losses) - 1 - reached < at_least:
        return None
    best, waited, waits = math.inf, 0, []  # as EarlyStopping counts them
    for loss in losses[:-1]:
        best, waited = (loss, 0) if loss < best - tolerance else (best, waited + 1)
        waits.append(waited)
    patience = 1 + max(waits[:reached], default=0)
    stop = next((i for i, waited in enumerate(waits) if waited >= patience), None)
    if stop is None:
        return None
    return Stagnation(
        epoch=rows[reached].epoch,
        patience=patience,
        stop_epoch=rows[stop].epoch,
        epochs_saved=len(rows) - 1 - stop,
        seconds_saved=rows[-1].seconds - rows[stop].seconds,
        cost=min(losses[: stop + 1]) - min(losses),
    )


def still_improving(epochs: Sequence[EpochMetrics], *, tolerance: float) -> bool:
    """Whether the last tenth of the epochs (one at least) lowered the best validation loss by `tolerance` or more."""
    _, losses = _validated(epochs)
    tenth = max(1, len(losses) // 10)
    return len(losses) > tenth and min(losses[:-tenth]) - min(losses[-tenth:]) >= tolerance


@dataclass(frozen=True)
class Curve:
    """One run that counts, of the configuration at `position`, and what its curves say."""

    position: int
    run: Run
    over: Overfitting | None
    stale: Stagnation | None
    improving: bool


def read_curves(question: Question, tolerances: Tolerances) -> list[Curve]:
    """Those of every run that counts and has curves."""
    return [
        Curve(
            i,
            run,
            find_overfitting(run.epochs, tolerance=tolerances.overfitting),
            find_stagnation(run.epochs, tolerance=tolerances.stagnation, at_least=tolerances.stagnation_epochs),
            still_improving(run.epochs, tolerance=tolerances.stagnation),
        )
        for i, c in enumerate(question.configurations)
        for run in c.counted
        if run.epochs
    ]


def findings(question: Question, curves: Sequence[Curve], tolerances: Tolerances) -> list[str]:
    """Overfitting, stagnation and runs that ended too early, in sentences."""
    if not curves:
        return []
    num_runs = count(len(curves), "run")
    num_seeds = [len(c.counted) for c in question.configurations]
    groups: dict[int, list[Overfitting]] = defaultdict(list)
    for curve in curves:
        if curve.over is not None:
            groups[curve.position].append(curve.over)
    if groups:
        notes = []
        for i, overs in groups.items():
            share = "" if num_seeds[i] == 1 else f"{len(overs)} of {num_seeds[i]} seeds, "
            epochs, rise = span([over.epoch for over in overs]), max(over.rise for over in overs)
            notes.append(f"({share}from epoch {epochs}, by up to {score(rise)} nats)")
        told = [
            f"Overfitting, in {sum(map(len, groups.values()))} of {num_runs}: the validation loss rises while the "
            f"training loss falls with {question.say(list(groups), notes)}."
        ]
    else:
        told = [
            f"No overfitting ({num_runs}): nowhere do the last three epochs lie more than "
            f"{tolerances.overfitting:g} nats above the lowest validation loss while the training loss falls."
        ]
    stale = [curve.stale for curve in curves if curve.stale is not None]
    if stale:
        num_epochs = count(sum(len(curve.run.epochs) for curve in curves), "epoch")
        told.append(
            f"Stagnation, in {len(stale)} of {num_runs}: the best validation loss fell by less than "
            f"{tolerances.stagnation:g} nats over the last {tolerances.stagnation_epochs} epochs or more. In hindsight "
            f"early stopping on the validation loss with `min_delta={tolerances.stagnation:g}` and the patience in the "
            f"table below would have saved {sum(s.epochs_saved for s in stale):,} of {num_epochs} and "
            f"{seconds(sum(s.seconds_saved for s in stale))} s."
        )
    improving = Counter(curve.position for curve in curves if curve.improving)
    if improving:
        notes = ["" if n == num_seeds[i] else f"({n} of {num_seeds[i]} seeds)" for i, n in improving.items()]
        told.append(
            "Still improving when their last epoch ended, so that more epochs may help: "
            f"{question.say(list(improving), notes)}."
        )
    return told


def curve_table(question: Question, curves: Sequence[Curve], tolerances: Tolerances) -> Table | None:
    """The runs that overfit or stagnate, one a row; None if there are none."""
    found = [curve for curve in curves if curve.over is not None or curve.stale is not None]
    caption = (
        "What the learning curves say. Overfitting: by how much the last three epochs' validation loss lies above its "
        f"lowest, if each does by more than {tolerances.overfitting:g} nats. Stagnation: the epoch after which the "
        f"best validation loss fell by less than {tolerances.stagnation:g} nats, and the smallest patience of an early "
        "stopping that would not have stopped before it."
    )
    columns: dict[str, Callable[[Curve], object]] = {
        **{label(name): partial(_setting, question, name) for name in question.named_by},
        "seed": lambda curve: curve.run.record.seed,
        "epochs run": lambda curve: len(curve.run.epochs),
        "overfits from epoch": lambda curve: curve.over and curve.over.epoch,
        "by (nats)": lambda curve: curve.over and score(curve.over.rise),
        "stagnates after epoch": lambda curve: curve.stale and curve.stale.epoch,
        "patience": lambda curve: curve.stale and curve.stale.patience,
        "stops after epoch": lambda curve: curve.stale and curve.stale.stop_epoch,
        "epochs saved": lambda curve: curve.stale and curve.stale.epochs_saved,
        "seconds saved": lambda curve: curve.stale and seconds(curve.stale.seconds_saved),
        "loss given up (nats)": lambda curve: curve.stale and score(curve.stale.cost),
    }
    return Table.of(caption, found, columns) if found else None


def _setting(question: Question, name: str, curve: Curve) -> str:
    return shown(name, question.configurations[curve.position].settings[name])
