"""What may be said of a question's scores and costs, as sentences, and what may not.

A difference of two means is claimed only where their Student t intervals do not overlap: a stricter demand than a
t test at the same confidence, and one that a reader can check in the table.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from jsc.reporting.questions import Question
from jsc.reporting.sample import Sample
from jsc.reporting.wording import SCORE_NAMES, class_symbol, join, label, percent, score, seconds, span


def score_of(question: Question) -> str:
    """Test accuracy, or validation accuracy where some configuration that counts was not tested."""
    return "test_acc" if all(c.scores("test_acc").n for c in question.configurations if c.counted) else "val_acc"


def _scores(question: Question) -> dict[int, Sample]:
    """The scores of the configurations that may be compared, by their positions.

    Those count, and have equal epochs (any, where epochs are the question).
    """
    name, budget = score_of(question), question.budget
    samples = {i: c.scores(name) for i, c in enumerate(question.configurations) if budget in (None, c.epochs)}
    return {i: sample for i, sample in samples.items() if sample.n}


def comparison(question: Question, confidence: float) -> list[str]:
    """Which configurations differ in accuracy, among those with equal epochs."""
    told = _unequal_epochs(question)
    if not question.varied:
        return [*told, *_alone(question.configurations[0].scores("test_acc"), confidence)]
    if question.confounded:
        together = join([label(name) for name in question.varied])
        return [
            f"These runs differ in {together} at once, so no difference between them can be put down to one of these "
            "settings, and none is claimed.",
            *told,
        ]
    if question.budget is None:
        told.append(
            "The runs have different numbers of epochs because that is the question; each is scored with the "
            "checkpoint of its lowest validation loss."
        )
    scores = _scores(question)
    if len(scores) < 2:
        told.append("Fewer than two of these configurations finished a run, so there is nothing to compare.")
    elif sum(sample.n > 1 for sample in scores.values()) < 2:
        told.append(_too_few_seeds(question, scores))
    else:
        told += _differences(question, scores, confidence)
    return told


def _differences(question: Question, scores: Mapping[int, Sample], confidence: float) -> list[str]:
    intervals = {i: sample.interval(confidence) for i, sample in scores.items() if sample.n > 1}
    best = max(intervals, key=lambda i: scores[i].mean)
    mean, n, (low, high) = scores[best].mean, scores[best].n, intervals[best]
    told = [
        f"The highest mean {SCORE_NAMES[score_of(question)]} is that of {question.names[best]}: {score(mean)} "
        f"({percent(confidence)} interval {score(low)} to {score(high)}, n = {n})."
    ]
    lower = [i for i in intervals if intervals[i][1] < low]
    if lower:
        equally_many = {scores[i].n for i in lower} == {n}
        notes = [
            f"by {score(mean - scores[i].mean)}" + ("" if equally_many else f" (n = {scores[i].n})") for i in lower
        ]
        told.append(
            f"Lower than it, with {percent(confidence)} Student t intervals that do not overlap"
            f"{f' (n = {n} each)' if equally_many else ''}: {question.say(lower, notes)}."
        )
    same: dict[int, list[int]] = defaultdict(list)
    for i in intervals:
        if i != best and i not in lower:
            same[scores[i].n].append(i)
    for other_n, positions in sorted(same.items()):
        numbers = f"n = {n}" if other_n == n else f"n = {n} and {other_n}"
        told.append(f"Not distinguishable from it with {numbers}: {question.say(positions)}.")
    single = [i for i in scores if i not in intervals]
    if single:
        told.append(f"With one seed there is no interval, so nothing is claimed of {question.say(single)}.")
    return told


def _alone(scores: Sample, confidence: float) -> list[str]:
    if not scores.n:
        return []
    if scores.n == 1:
        return [f"Its test accuracy is {score(scores.mean)}, with one seed: there is no interval."]
    low, high = scores.interval(confidence)
    return [
        f"Its mean test accuracy is {score(scores.mean)} ({percent(confidence)} Student t interval {score(low)} to "
        f"{score(high)}, n = {scores.n})."
    ]


def _too_few_seeds(question: Question, scores: Mapping[int, Sample]) -> str:
    low, high = (choose(scores, key=lambda i: scores[i].mean) for choose in (min, max))
    who = "one seed each"
    for i, sample in scores.items():
        if sample.n > 1:
            who += f", but for {question.names[i]} (n = {sample.n})"
    return (
        f"The {SCORE_NAMES[score_of(question)]} seen goes from {score(scores[low].mean)} ({question.names[low]}) to "
        f"{score(scores[high].mean)} ({question.names[high]}), with {who}. One seed gives no interval, so these "
        "configurations are not distinguishable with n = 1; run several, for example with `seed=1,2,3`, to learn more."
    )


def _unequal_epochs(question: Question) -> list[str]:
    """What to know before runs with unequal budgets, or of unequal lengths, are read side by side."""
    told = []
    configurations, budget = question.configurations, question.budget
    strangers = [i for i, c in enumerate(configurations) if budget not in (None, c.epochs)]
    if strangers and question.confounded:
        everyone = question.say(range(len(configurations)))
        told.append(f"Unequal epochs: {everyone}. Part of any difference may come from that.")
    elif strangers:
        told.append(
            f"Unequal epochs: these runs were given {budget:,}, but not {question.say(strangers)}. No claim compares "
            f"those with the others; what follows is of the runs with {budget:,} epochs alone."
        )
    short = {
        i: span(lengths)
        for i, c in enumerate(configurations)
        if (lengths := [result.epochs_run for result in c.results if result.epochs_run != result.max_epochs])
    }
    if short:
        notes = [f"({ran} of {configurations[i].epochs:,} epochs)" for i, ran in short.items()]
        told.append(f"Some runs ended before their last epoch: {question.say(list(short), notes)}.")
    return told


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the (cost, gain) points that no other point beats in one and equals or beats in the other."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def cost(question: Question) -> list[str]:
    """Time and optimizer steps against the batch size; the Pareto front of networks."""
    scores = _scores(question)
    if len(scores) < 2:
        return []
    if question.varied == ("batch_size",):
        return _time(question, min(scores), max(scores))
    if question.varied == ("model",):
        fair = list(scores)
        front = pareto([(question.configurations[i].num_parameters, scores[i].mean) for i in fair])
        return [
            "On the Pareto front, where no network as small or smaller has as high a mean "
            f"{SCORE_NAMES[score_of(question)]}: {question.say([fair[k] for k in front])}."
        ]
    return []


def _time(question: Question, small: int, large: int) -> list[str]:
    told = []
    pair = [question.configurations[i] for i in (small, large)]
    names = [question.names[i] for i in (small, large)]
    steps = [max((row.step for run in c.counted for row in run.epochs), default=0) for c in pair]
    if all(steps):
        told.append(
            f"At equal epochs the optimizer makes {steps[0]:,} steps with {names[0]} and {steps[1]:,} with {names[1]}: "
            "accuracies at equal epochs are not accuracies at equal steps."
        )
    places = sorted({f"{r.host}, {r.device}, engine {r.engine}" for c in pair for r in c.results})
    if len(places) > 1:
        told.append(f"Training times are of different machines or engines ({join(places)}) and are not compared.")
    else:
        times = [seconds(c.scores("fit_seconds").mean) for c in pair]
        told.append(f"Training took {times[0]} s with {names[0]} and {times[1]} s with {names[1]}, on {places[0]}.")
    return told


def dead_classes(question: Question) -> list[str]:
    """Classes that a run never predicts."""
    return [
        f"Class {class_symbol(name)} is never predicted with {question.names[i]}, "
        f"{'seed' if len(who) == 1 else 'seeds'} {join(who)}."
        for i, c in enumerate(question.configurations)
        for name in dict.fromkeys(name for result in c.results for name in result.never_predicted)
        if (who := [str(result.seed) for result in c.results if name in result.never_predicted])
    ]
