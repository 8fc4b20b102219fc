"""What may be said of a question's runs, as sentences, and what may not.

A difference of two means is called one only where their Student t intervals do not overlap: a stricter demand than a
t test at the same confidence, and one that a reader can check in the table.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from jsc.reporting.charts import pareto
from jsc.reporting.curves import Overfitting, Stagnation, find_overfitting, find_stagnation, still_improving
from jsc.reporting.document import Table
from jsc.reporting.questions import Configuration, Question
from jsc.reporting.runs import Run
from jsc.reporting.sample import Sample, overlap
from jsc.reporting.wording import NONE, class_symbol, count, join, label, percent, score, seconds, shown, span
from jsc.results import RunResult

SCORE_NAMES = {"test_acc": "test accuracy", "val_acc": "validation accuracy"}
MAX_NAMED = 12  # configurations that one sentence names


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """`confidence` of intervals; `stagnation` and `overfitting` in nats; `stagnation_epochs`: fewer are none."""

    confidence: float
    stagnation: float
    stagnation_epochs: int
    overfitting: float


@dataclass(frozen=True)
class _Scored:
    """A configuration that takes part in a claim, by its position in the question."""

    position: int
    scores: Sample

    def interval(self, confidence: float) -> tuple[float, float]:
        interval = self.scores.interval(confidence)
        assert interval is not None, "only configurations with several seeds are asked for an interval"
        return interval


def score_of(question: Question) -> str:
    """Test accuracy, or validation accuracy where some configuration that counts was not tested."""
    counted = [c for c in question.configurations if c.counted]
    return "test_acc" if all(c.scores("test_acc").n for c in counted) else "val_acc"


def _fair(question: Question) -> list[int]:
    """Positions of the configurations that count and have equal epochs (any, where epochs are the question)."""
    budget = question.budget
    return [i for i, c in enumerate(question.configurations) if c.counted and budget in (None, c.epochs)]


def _say(question: Question, positions: Sequence[int], notes: Sequence[str] = ()) -> str:
    """`Question.say`, cut short where there are many."""
    text = question.say(positions[:MAX_NAMED], notes[:MAX_NAMED])
    more = len(positions) - MAX_NAMED
    return f"{text}; and {more} more (see the table)" if more > 0 else text


def comparison(question: Question, confidence: float) -> list[str]:
    """Which configurations differ in accuracy, among those with equal epochs."""
    if not question.varied:
        return [*_unequal_epochs(question), *_alone(question.configurations[0], confidence)]
    if question.confounded:
        together = join([label(name) for name in question.varied])
        return [
            f"These runs differ in {together} at once, so no difference between them can be put down to one of these "
            "settings, and none is claimed.",
            *_unequal_epochs(question),
        ]
    told = _unequal_epochs(question)
    if question.budget is None:
        told.append(
            "The runs have different numbers of epochs because that is the question; each is scored with the "
            "checkpoint of its lowest validation loss."
        )
    name = score_of(question)
    scored = [_Scored(i, question.configurations[i].scores(name)) for i in _fair(question)]
    scored = [s for s in scored if s.scores.n]
    if len(scored) < 2:
        return [*told, "Fewer than two of these configurations finished a run, so there is nothing to compare."]
    seeded = [s for s in scored if s.scores.n > 1]
    if len(seeded) < 2:
        return [*told, _too_few_seeds(question, scored, seeded, SCORE_NAMES[name])]
    return told + _differences(question, scored, seeded, SCORE_NAMES[name], confidence)


def _differences(
    question: Question, scored: Sequence[_Scored], seeded: Sequence[_Scored], score_name: str, confidence: float
) -> list[str]:
    best = max(seeded, key=lambda s: s.scores.mean)
    low, high = best.interval(confidence)
    n = best.scores.n
    told = [
        f"The highest mean {score_name} is that of {question.names[best.position]}: {score(best.scores.mean)} "
        f"({percent(confidence)} interval {score(low)} to {score(high)}, n = {n})."
    ]
    same: dict[int, list[int]] = defaultdict(list)
    lower: list[_Scored] = []
    for s in seeded:
        if s is not best:
            if overlap(s.interval(confidence), (low, high)):
                same[s.scores.n].append(s.position)
            else:
                lower.append(s)
    if lower:
        counts = sorted({s.scores.n for s in lower} | {n})
        notes = [
            f"by {score(best.scores.mean - s.scores.mean)}" + (f" (n = {s.scores.n})" if len(counts) > 1 else "")
            for s in lower
        ]
        told.append(
            f"Lower than it, with {percent(confidence)} Student t intervals that do not overlap"
            f"{f' (n = {n} each)' if len(counts) == 1 else ''}: {_say(question, [s.position for s in lower], notes)}."
        )
    for other_n, positions in sorted(same.items()):
        numbers = f"n = {n}" if other_n == n else f"n = {n} and {other_n}"
        told.append(f"Not distinguishable from it with {numbers}: {_say(question, positions)}.")
    single = [s.position for s in scored if s.scores.n == 1]
    if single:
        told.append(f"With one seed there is no interval, so nothing is claimed of {_say(question, single)}.")
    return told


def _alone(configuration: Configuration, confidence: float) -> list[str]:
    scores = configuration.scores("test_acc")
    if not scores.n:
        return []
    if scores.n == 1:
        return [f"Its test accuracy is {score(scores.mean)}, with one seed: there is no interval."]
    low, high = _Scored(0, scores).interval(confidence)
    return [
        f"Its mean test accuracy is {score(scores.mean)} ({percent(confidence)} Student t interval {score(low)} to "
        f"{score(high)}, n = {scores.n})."
    ]


def _too_few_seeds(question: Question, scored: Sequence[_Scored], seeded: Sequence[_Scored], score_name: str) -> str:
    low, high = (choose(scored, key=lambda s: s.scores.mean) for choose in (min, max))
    who = "one seed each"
    if seeded:
        who += f", but for {question.names[seeded[0].position]} (n = {seeded[0].scores.n})"
    return (
        f"The {score_name} seen goes from {score(low.scores.mean)} ({question.names[low.position]}) to "
        f"{score(high.scores.mean)} ({question.names[high.position]}), with {who}. One seed gives no interval, so "
        "these configurations are not distinguishable with n = 1; run several, for example with `seed=1,2,3`, to "
        "learn more."
    )


def _unequal_epochs(question: Question) -> list[str]:
    """What to know before runs with unequal budgets, or of unequal lengths, are read side by side."""
    told = []
    configurations, budget = question.configurations, question.budget
    strangers = [i for i, c in enumerate(configurations) if budget not in (None, c.epochs)]
    if strangers and question.confounded:
        everyone = _say(question, range(len(configurations)))
        told.append(f"Unequal epochs: {everyone}. Part of any difference may come from that.")
    elif strangers:
        told.append(
            f"Unequal epochs: these runs were given {budget:,}, but not {_say(question, strangers)}. No claim compares "
            f"those with the others; what follows is of the runs with {budget:,} epochs alone."
        )
    short = [
        (i, span([r.epochs_run for r in c.results if r.epochs_run != r.max_epochs]))
        for i, c in enumerate(configurations)
        if any(r.epochs_run != r.max_epochs for r in c.results)
    ]
    if short:
        notes = [f"({ran} of {configurations[i].epochs:,} epochs)" for i, ran in short]
        told.append(f"Some runs ended before their last epoch: {_say(question, [i for i, _ in short], notes)}.")
    return told


def cost(question: Question) -> list[str]:
    """Time and optimizer steps against the batch size; the Pareto front of networks."""
    fair = _fair(question)
    if len(fair) < 2:
        return []
    if question.varied == ("batch_size",):
        return _time(question, fair[0], fair[-1])
    if question.varied == ("model",):
        name = score_of(question)
        scored = [i for i in fair if question.configurations[i].scores(name).n]
        points = [
            (question.configurations[i].num_parameters, question.configurations[i].scores(name).mean) for i in scored
        ]
        front = [scored[k] for k in pareto(points)]
        return [
            f"On the Pareto front, where no network as small or smaller has as high a mean {SCORE_NAMES[name]}: "
            f"{_say(question, front)}."
        ]
    return []


def _time(question: Question, small: int, large: int) -> list[str]:
    told = []
    pair = [question.configurations[small], question.configurations[large]]
    names = [question.names[small], question.names[large]]
    steps = [max((row.step for run in c.counted for row in run.epochs), default=0) for c in pair]
    if all(steps):
        told.append(
            f"At equal epochs the optimizer makes {steps[0]:,} steps with {names[0]} and {steps[1]:,} with {names[1]}: "
            "accuracies at equal epochs are not accuracies at equal steps."
        )
    places = sorted({_place(r) for c in pair for r in c.results})
    if len(places) > 1:
        told.append(f"Training times are of different machines or engines ({join(places)}) and are not compared.")
    else:
        times = [c.scores("fit_seconds").mean for c in pair]
        told.append(
            f"Training took {seconds(times[0])} s with {names[0]} and {seconds(times[1])} s with {names[1]}, on "
            f"{places[0]}."
        )
    return told


def _place(result: RunResult) -> str:
    return f"{result.host}, {result.device}, engine {result.engine}"


def dead_classes(question: Question) -> list[str]:
    """Classes that a run never predicts."""
    told = []
    for i, c in enumerate(question.configurations):
        seeds: dict[str, list[str]] = defaultdict(list)
        for result in c.results:
            for name in result.never_predicted:
                seeds[name].append(str(result.seed))
        told += [
            f"Class {class_symbol(name)} is never predicted with {question.names[i]}, "
            f"{'seed' if len(who) == 1 else 'seeds'} {join(who)}."
            for name, who in seeds.items()
        ]
    return told


@dataclass(frozen=True)
class CurveFindings:
    """Sentences and a table on the shapes of learning curves, and the runs that overfit, to be shown."""

    sentences: tuple[str, ...]
    table: Table | None
    overfitted: tuple[tuple[str, Run], ...]


@dataclass(frozen=True)
class _Curve:
    """One run that counts, and what its curves say."""

    position: int
    run: Run
    seed: int
    over: Overfitting | None
    stale: Stagnation | None
    improving: bool


def curves(question: Question, tolerances: Tolerances) -> CurveFindings:
    """Overfitting, stagnation and runs that ended too early, from every run that counts and has curves."""
    found = [
        _Curve(
            i,
            run,
            run.result.seed,
            find_overfitting(run.epochs, tolerance=tolerances.overfitting),
            find_stagnation(run.epochs, tolerance=tolerances.stagnation, at_least=tolerances.stagnation_epochs),
            still_improving(run.epochs, tolerance=tolerances.stagnation),
        )
        for i, c in enumerate(question.configurations)
        for run in c.counted
        if run.epochs and run.result is not None
    ]
    over = [(curve, curve.over) for curve in found if curve.over is not None]
    rows = [curve for curve in found if curve.over is not None or curve.stale is not None]
    sentences = [*_overfitting(question, found, over, tolerances), *_stagnation(found, tolerances)]
    improving = _by_position([curve for curve in found if curve.improving])
    if improving:
        notes = [_share(len(who), len(question.configurations[i].counted)) for i, who in improving.items()]
        sentences.append(
            "Still improving when their last epoch ended, so that more epochs may help: "
            f"{_say(question, list(improving), notes)}."
        )
    return CurveFindings(
        sentences=tuple(sentences),
        table=_curve_table(question, rows, tolerances) if rows else None,
        overfitted=tuple((f"{question.names[c.position]}, seed {c.seed}", c.run) for c, _ in over),
    )


def _by_position(found: Sequence[_Curve]) -> dict[int, list[_Curve]]:
    groups: dict[int, list[_Curve]] = defaultdict(list)
    for curve in found:
        groups[curve.position].append(curve)
    return groups


def _share(number: int, of: int) -> str:
    return "" if number == of else f"({number} of {of} seeds)"


def _overfitting(
    question: Question,
    found: Sequence[_Curve],
    over: Sequence[tuple[_Curve, Overfitting]],
    tolerances: Tolerances,
) -> list[str]:
    if not found:
        return []
    if not over:
        return [
            f"No overfitting ({count(len(found), 'run')}): nowhere do the last three epochs lie more than "
            f"{tolerances.overfitting:g} nats above the lowest validation loss while the training loss falls."
        ]
    groups: dict[int, list[Overfitting]] = defaultdict(list)
    for curve, what in over:
        groups[curve.position].append(what)
    notes = []
    for i, whats in groups.items():
        n = len(question.configurations[i].counted)
        share = "" if n == 1 else f"{len(whats)} of {n} seeds, "
        rise = max(what.rise for what in whats)
        notes.append(f"({share}from epoch {span([what.epoch for what in whats])}, by up to {score(rise)} nats)")
    return [
        f"Overfitting, in {len(over)} of {count(len(found), 'run')}: the validation loss rises while the training loss "
        f"falls with {_say(question, list(groups), notes)}."
    ]


def _stagnation(found: Sequence[_Curve], tolerances: Tolerances) -> list[str]:
    stale = [curve.stale for curve in found if curve.stale is not None]
    if not stale:
        return []
    num_epochs = sum(len(curve.run.epochs) for curve in found)
    return [
        f"Stagnation, in {len(stale)} of {count(len(found), 'run')}: the best validation loss fell by less than "
        f"{tolerances.stagnation:g} nats over the last {tolerances.stagnation_epochs} epochs or more. In hindsight, "
        f"early stopping on the validation loss with `min_delta={tolerances.stagnation:g}` and the patience in the "
        f"table below would have saved {sum(s.epochs_saved for s in stale):,} of {count(num_epochs, 'epoch')} and "
        f"{seconds(sum(s.seconds_saved for s in stale))} s."
    ]


def _curve_table(question: Question, rows: Sequence[_Curve], tolerances: Tolerances) -> Table:
    caption = (
        "What the learning curves say. Overfitting: by how much the last three epochs' validation loss lies above its "
        f"lowest, if each does by more than {tolerances.overfitting:g} nats. Stagnation: the epoch after which the "
        f"best validation loss fell by less than {tolerances.stagnation:g} nats, and the smallest patience of an early "
        "stopping that would not have stopped before it."
    )
    header = (
        *(label(name) for name in question.named_by),
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
    )
    cells = []
    for curve in rows:
        over, stale = curve.over, curve.stale
        cells.append(
            (
                *(shown(name, question.configurations[curve.position].settings[name]) for name in question.named_by),
                str(curve.seed),
                str(len(curve.run.epochs)),
                *((str(over.epoch), score(over.rise)) if over is not None else (NONE, NONE)),
                *(_stagnation_cells(stale) if stale is not None else (NONE,) * 6),
            )
        )
    return Table(caption, header, tuple(cells), frozenset(range(1, len(header))), folded=len(cells) > 30)


def _stagnation_cells(stale: Stagnation) -> tuple[str, ...]:
    whole = (stale.epoch, stale.patience, stale.stop_epoch, stale.epochs_saved)
    return (*map(str, whole), seconds(stale.seconds_saved), score(stale.cost))
