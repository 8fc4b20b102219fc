"""What may be said of a question's runs, as sentences, and what may not.

A difference of two means is called one only where their Student t intervals do not overlap: a stricter demand than a
t test at the same confidence, and one that a reader can check in the table.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from jsc.reporting.charts import class_symbol, pareto
from jsc.reporting.curves import Overfitting, find_overfitting, find_stagnation, still_improving
from jsc.reporting.document import Table, count, join
from jsc.reporting.questions import Configuration, Question, label
from jsc.reporting.runs import Run
from jsc.reporting.sample import Sample, overlap
from jsc.reporting.tables import NONE, score, seconds

SCORE_NAMES = {"test_acc": "test accuracy", "val_acc": "validation accuracy"}
MAX_NAMED = 12  # configurations that one sentence names


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """`confidence` of intervals; `stagnation` and `overfitting` in nats; `stagnation_epochs` fewer is no stagnation."""

    confidence: float
    stagnation: float
    stagnation_epochs: int
    overfitting: float


def score_of(question: Question) -> str:
    """Test accuracy, or validation accuracy where some configuration that counts was not tested."""
    counted = [c for c in question.configurations if c.counted]
    return "test_acc" if all(c.scores("test_acc").n for c in counted) else "val_acc"


def _interval(scores: Sample, confidence: float) -> str:
    interval = scores.interval(confidence)
    assert interval is not None
    return f"{score(scores.mean)} ({confidence:.0%} interval {score(interval[0])} to {score(interval[1])})"


def comparison(question: Question, confidence: float) -> list[str]:
    """Which configurations differ in accuracy, among those with equal epochs."""
    names = question.names
    if question.confounded:
        together = join([label(name) for name in question.varied])
        return [
            f"These runs differ in {together} at once, so no difference between them can be put down to one of these "
            f"settings, and none is claimed.{_unequal_epochs(question)}"
        ]
    if not question.varied:
        return [] if not question.configurations[0].counted else [_alone(question.configurations[0], confidence)]
    told = [sentence] if (sentence := _unequal_epochs(question).strip()) else []
    budget = question.budget
    fair = [(names[i], c) for i, c in enumerate(question.configurations) if c.counted and budget in (None, c.epochs)]
    name = score_of(question)
    scores = [(who, c.scores(name)) for who, c in fair]
    scores = [(who, s) for who, s in scores if s.n]
    if len(scores) < 2:
        return [*told, "Fewer than two of these configurations finished a run, so there is nothing to compare."]
    if budget is None:
        told.append(
            "The runs have different numbers of epochs because that is the question; each is scored with the "
            "checkpoint "
            "of its lowest validation loss."
        )
    seeded = [(who, s) for who, s in scores if s.n > 1]
    if len(seeded) < 2:
        told.append(_too_few_seeds(scores, seeded, SCORE_NAMES[name]))
        return told
    best_name, best = max(seeded, key=lambda pair: pair[1].mean)
    told.append(
        f"The highest mean {SCORE_NAMES[name]} is that of {best_name}: {_interval(best, confidence)}, n = {best.n}."
    )
    lower: list[tuple[str, Sample]] = []
    same: list[tuple[str, Sample]] = []
    for who, s in seeded:
        if who != best_name:
            (same if _overlaps(s, best, confidence) else lower).append((who, s))
    if lower:
        parts = [f"{who} by {score(best.mean - s.mean)} (n = {s.n})" for who, s in _few(lower)]
        told.append(
            f"Lower than it, with {confidence:.0%} Student t intervals that do not overlap: "
            f"{join(parts)}{_more(lower)}."
        )
    for n in sorted({s.n for _, s in same}):
        alike = [(who, s) for who, s in same if s.n == n]
        counts = f"n = {n}" if n == best.n else f"n = {best.n} and {n}"
        told.append(f"Not distinguishable from it with {counts}: {join([w for w, _ in _few(alike)])}{_more(alike)}.")
    single = [who for who, s in scores if s.n == 1]
    if single:
        told.append(f"With one seed there is no interval, so nothing is claimed of {join(single)}.")
    return told


def _overlaps(one: Sample, other: Sample, confidence: float) -> bool:
    a, b = one.interval(confidence), other.interval(confidence)
    assert a is not None
    assert b is not None
    return overlap(a, b)


def _few(pairs: Sequence[tuple[str, Sample]]) -> Sequence[tuple[str, Sample]]:
    return pairs[:MAX_NAMED]


def _more(pairs: Sequence[tuple[str, Sample]]) -> str:
    return f", and {len(pairs) - MAX_NAMED} more (see the table)" if len(pairs) > MAX_NAMED else ""


def _alone(configuration: Configuration, confidence: float) -> str:
    scores = configuration.scores("test_acc")
    if not scores.n:
        return "It was not tested."
    if scores.n == 1:
        return f"Its test accuracy is {score(scores.mean)} with one seed: there is no interval."
    return f"Its mean test accuracy is {_interval(scores, confidence)}, n = {scores.n}."


def _too_few_seeds(scores: Sequence[tuple[str, Sample]], seeded: Sequence[tuple[str, Sample]], score_name: str) -> str:
    low_name, low = min(scores, key=lambda pair: pair[1].mean)
    high_name, high = max(scores, key=lambda pair: pair[1].mean)
    seen = f"The {score_name} seen goes from {score(low.mean)} ({low_name}) to {score(high.mean)} ({high_name})"
    who = "one seed each" if not seeded else f"one seed each but for {seeded[0][0]} (n = {seeded[0][1].n})"
    return (
        f"{seen}, with {who}. Without several seeds there are no intervals to compare, so these configurations are not "
        "distinguishable with n = 1; add seeds, for example `seed=1,2,3`, to learn more."
    )


def _unequal_epochs(question: Question) -> str:
    """What to know before runs with unequal budgets, or unequal lengths, are read side by side."""
    names, told = question.names, []
    budget = question.budget
    if budget is not None:
        strangers = [f"{question.names[i]}" for i, c in enumerate(question.configurations) if c.epochs != budget]
        if strangers:
            told.append(
                f"Unequal epochs: most of these runs were given {count(budget, 'epoch')}, but not {join(strangers)}. "
                + (
                    "Part of any difference may come from that."
                    if question.confounded
                    else f"No claim compares those; what follows is of the runs with {budget:,} epochs alone."
                )
            )
    short = []
    for i, c in enumerate(question.configurations):
        ran = sorted({r.epochs_run for r in c.results if r.epochs_run != r.max_epochs})
        if ran:
            short.append(f"{names[i]} ({join([str(n) for n in ran])} of {c.epochs:,})")
    if short:
        told.append(f"Some runs ended before their last epoch: {join(short)}.")
    return " " + " ".join(told) if told else ""


def cost(question: Question) -> list[str]:
    """Time and optimizer steps against the batch size; the Pareto front of networks."""
    told = []
    timed = [(i, c) for i, c in enumerate(question.configurations) if c.scores("fit_seconds").n]
    if question.varied == ("batch_size",) and len(timed) > 1:
        (i, first), (j, last) = timed[0], timed[-1]
        steps = [max((row.step for run in c.counted for row in run.epochs), default=0) for c in (first, last)]
        if all(steps) and question.budget in (first.epochs,) and first.epochs == last.epochs:
            told.append(
                f"At equal epochs the optimizer makes {steps[0]:,} steps with {question.names[i]} and {steps[1]:,} "
                f"with "
                f"{question.names[j]}: accuracies at equal epochs are not accuracies at equal steps."
            )
        times = [c.scores("fit_seconds").mean for c in (first, last)]
        places = _places([first, last])
        if len(places) > 1:
            told.append(f"Training times are of different machines or engines ({join(places)}) and are not compared.")
        elif min(times) > 0.0:
            told.append(
                f"Training took {seconds(times[0])} s with {question.names[i]} and {seconds(times[1])} s with "
                f"{question.names[j]}, on {places[0]}."
            )
    if "model" in question.varied and not question.confounded and len(question.varied) == 1:
        fair = [(i, c) for i, c in enumerate(question.configurations) if c.counted and c.epochs == question.budget]
        name = score_of(question)
        front = pareto([(c.num_parameters, c.scores(name).mean) for _, c in fair])
        if len(fair) > 1:
            told.append(
                f"On the Pareto front, where no smaller network has as high a mean {SCORE_NAMES[name]}: "
                f"{join([question.names[fair[k][0]] for k in front])}."
            )
    return told


def _places(configurations: Sequence[Configuration]) -> list[str]:
    results = [r for c in configurations for r in c.results]
    return sorted({f"{r.host} ({r.device}, engine {r.engine})" for r in results})


def dead_classes(question: Question) -> list[str]:
    """Classes that a run never predicts."""
    told = []
    for i, c in enumerate(question.configurations):
        seeds: dict[str, list[int]] = defaultdict(list)
        for result in c.results:
            for name in result.never_predicted:
                seeds[name].append(result.seed)
        told += [
            f"{question.names[i]} never predicts {class_symbol(name)} with seed {join([str(s) for s in who])}."
            for name, who in seeds.items()
        ]
    return told


@dataclass(frozen=True)
class CurveFindings:
    """Sentences and a table on the shapes of learning curves, and the runs that overfit, to be shown."""

    sentences: tuple[str, ...]
    table: Table | None
    overfitted: tuple[tuple[str, Run], ...]


def curves(question: Question, tolerances: Tolerances) -> CurveFindings:
    """Overfitting, stagnation and runs that ended too early, from every run that counts and has curves."""
    rows: list[tuple[str, ...]] = []
    overfitted: list[tuple[str, Run, Overfitting]] = []
    improving: list[str] = []
    saved_epochs = all_epochs = num_runs = num_stagnated = 0
    saved_seconds = 0.0
    for i, c in enumerate(question.configurations):
        for run in c.counted:
            if not run.epochs or run.result is None:
                continue
            num_runs += 1
            all_epochs += len(run.epochs)
            who = f"{question.names[i]}, seed {run.result.seed}"
            over = find_overfitting(run.epochs, tolerance=tolerances.overfitting)
            stale = find_stagnation(run.epochs, tolerance=tolerances.stagnation, at_least=tolerances.stagnation_epochs)
            if over is not None:
                overfitted.append((who, run, over))
            if stale is not None:
                num_stagnated += 1
                saved_epochs += stale.epochs_saved
                saved_seconds += stale.seconds_saved
            elif still_improving(run.epochs, tolerance=tolerances.stagnation):
                improving.append(who)
            if over is not None or stale is not None:
                rows.append(
                    (
                        question.names[i],
                        str(run.result.seed),
                        str(len(run.epochs)),
                        NONE if over is None else str(over.epoch),
                        NONE if over is None else score(over.rise),
                        NONE if stale is None else str(stale.epoch),
                        *(
                            (NONE,) * 5
                            if stale is None
                            else (
                                str(stale.patience),
                                str(stale.stop_epoch),
                                str(stale.epochs_saved),
                                seconds(stale.seconds_saved),
                                score(stale.cost),
                            )
                        ),
                    )
                )
    told = []
    if overfitted:
        parts = [f"{who} (from epoch {o.epoch}, by {score(o.rise)} nats)" for who, _, o in overfitted[:MAX_NAMED]]
        more = f", and {len(overfitted) - MAX_NAMED} more" if len(overfitted) > MAX_NAMED else ""
        told.append(
            f"Overfitting, in {len(overfitted)} of {count(num_runs, 'run')}: the validation loss rises while the "
            f"training "
            f"loss falls. {join(parts)}{more}."
        )
    elif num_runs:
        told.append(
            f"No overfitting: in none of the {count(num_runs, 'run')} do the last three epochs lie more than "
            f"{tolerances.overfitting:g} nats above the lowest validation loss while the training loss falls."
        )
    if num_stagnated:
        told.append(
            f"Stagnation, in {num_stagnated} of {count(num_runs, 'run')}: the best validation loss fell by less than "
            f"{tolerances.stagnation:g} nats over their last {tolerances.stagnation_epochs} epochs or more. In "
            f"hindsight, early stopping on the validation loss with `min_delta={tolerances.stagnation:g}` and the "
            f"patience in "
            f"the table would have saved {saved_epochs:,} of {count(all_epochs, 'epoch')} and "
            f"{seconds(saved_seconds)} s."
        )
    if improving:
        named = join(improving[:MAX_NAMED]) + (
            f" and {len(improving) - MAX_NAMED} more" if len(improving) > MAX_NAMED else ""
        )
        told.append(f"Still improving when the last epoch ended, so more epochs may help: {named}.")
    return CurveFindings(
        sentences=tuple(told),
        table=_curve_table(rows, tolerances) if rows else None,
        overfitted=tuple((who, run) for who, run, _ in overfitted),
    )


def _curve_table(rows: Sequence[tuple[str, ...]], tolerances: Tolerances) -> Table:
    return Table(
        f"What the learning curves say. Overfitting: by how much (nats) the last three epochs' validation loss lies "
        f"above "
        f"its lowest, if by more than {tolerances.overfitting:g}. Stagnation: the epoch after which the best "
        f"validation "
        f"loss fell by less than {tolerances.stagnation:g} nats, and the smallest patience of an early stopping that "
        f"would "
        "not have stopped before it.",
        (
            "run",
            "seed",
            "epochs",
            "overfits from epoch",
            "by (nats)",
            "stagnates after epoch",
            "patience",
            "stops after epoch",
            "epochs saved",
            "seconds saved",
            "loss given up (nats)",
        ),
        tuple(rows),
        frozenset(range(1, 11)),
        folded=len(rows) > 30,
    )
