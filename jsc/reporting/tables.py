"""The tables of a report. Losses in nats, accuracies as fractions, times in seconds, to the digits shown here."""

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Sequence

from jsc.reporting.document import Table
from jsc.reporting.questions import Configuration, Question
from jsc.reporting.runs import Run, Setting
from jsc.reporting.sample import Sample
from jsc.reporting.wording import NONE, class_symbol, label, score, seconds, shown, span
from jsc.results import RunResult, TestResult


def mean_and_deviation(scores: Sample, form: Callable[[float], str], n: int) -> str:
    """0.7166 ± 0.0012; one seed stands without a deviation; a number of seeds other than the row's is said."""
    if not scores.n:
        return NONE
    text = form(scores.mean)
    if scores.deviation is not None:
        text += f" ± {form(scores.deviation)}"
    return text if scores.n == n else f"{text} (n = {scores.n})"


def seeds(configuration: Configuration) -> str:
    """How many runs a row's means are of, and what became of the others."""
    n = len(configuration.counted)
    text = {0: "none", 1: "one seed"}.get(n, f"n = {n}")
    lost = [run.state.replace("_", " ") for run in configuration.runs if not run.counts]
    return ", ".join([text, *(f"{lost.count(state)} {state}" for state in sorted(set(lost)))])


_SCORES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("training loss", "train_loss", score),
    ("validation loss", "val_loss", score),
    ("validation accuracy", "val_acc", score),
    ("test accuracy", "test_acc", score),
    ("test loss", "test_loss", score),
    ("seconds", "fit_seconds", seconds),
)
_ALWAYS = ("max_epochs", "batch_size", "lr")


def configuration_table(
    configurations: Sequence[Configuration], varied: Sequence[str], caption: str, *, folded: bool = False
) -> Table:
    """One row a configuration: what was varied, the labs' columns, the seeds."""
    settings = (*varied, *(name for name in _ALWAYS if name not in varied))
    header = (
        *(label(name) for name in settings),
        "parameters",
        *(title for title, *_ in _SCORES),
        "best epoch",
        "seeds",
    )
    rows = []
    for c in configurations:
        n = len(c.counted)
        rows.append(
            (
                *(shown(name, c.settings[name]) for name in settings),
                f"{c.num_parameters:,}",
                *(mean_and_deviation(c.scores(name), form, n) for _, name, form in _SCORES),
                span([r.best_epoch for r in c.results if r.best_epoch is not None]),
                seeds(c),
            )
        )
    words = {i for i, name in enumerate(settings) if any(isinstance(c.settings[name], str) for c in configurations)}
    numeric = frozenset(range(len(header) - 1)) - words
    return Table(caption, header, tuple(rows), numeric, folded)


def class_table(question: Question) -> Table | None:
    """Precision, recall and AUC of each class, one row a network and class, means over seeds; None without tests."""
    names = question.names
    rows = []
    for i, c in enumerate(question.configurations):
        tests = tests_of(c)
        for k, first in enumerate(tests[0].classes if tests else ()):
            scores = [test.classes[k] for test in tests]
            columns = ([s.precision for s in scores], [s.recall for s in scores], [s.auc for s in scores])
            samples = [Sample(tuple(v for v in column if v is not None)) for column in columns]
            cells = (mean_and_deviation(s, score, len(tests)) for s in samples)
            rows.append((names[i], class_symbol(first.name), f"{first.num_jets:,}", *cells))
    if not rows:
        return None
    header = ("network", "class", "test jets", "precision", "recall", "AUC, one against the rest")
    return Table("Scores by class on the test jets.", header, tuple(rows), frozenset({2, 3, 4, 5}))


def tests_of(configuration: Configuration) -> list[TestResult]:
    """The test scores of the runs that count, where `test.json` scores the checkpoint that `result.json` names."""
    return [
        run.test
        for run in configuration.counted
        if run.test is not None and run.result is not None and run.test.test_acc == run.result.test_acc
    ]


def problem_table(runs: Sequence[Run]) -> Table | None:
    """Runs that do not count, and files with faults: nothing is dropped in silence. None if all is well."""
    rows = []
    for run in runs:
        told = list(run.problems)
        if run.result is not None and run.result.error:
            told.append(f"error: {run.result.error.strip().splitlines()[-1]}")
        if not run.counts and run.result is not None:
            told.append(f"{run.result.epochs_run} of {run.result.max_epochs} epochs were run")
        if told or not run.counts:
            rows.append((run.name, run.state.replace("_", " "), "yes" if run.counts else "no", "; ".join(told) or NONE))
    if not rows:
        return None
    return Table(
        "Runs that are not counted in means and claims, and runs whose files have faults.",
        ("run", "state", "counted", "what was found"),
        tuple(rows),
    )


def table_csv(runs: Sequence[Run], options: Sequence[str]) -> str:
    """`table.csv`: one row a run, values as in its files; `options` are further settings that were varied."""
    fields = [f.name for f in dataclasses.fields(RunResult) if f.name not in ("schema", "versions")]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "state", "counted", *fields, *options, "problems"])
    for run in runs:
        values = [_cell_of(getattr(run.result, name)) if run.result is not None else "" for name in fields]
        more = [_cell_of(run.options.get(option)) for option in options]
        writer.writerow([run.name, run.state, int(run.counts), *values, *more, "; ".join(run.problems)])
    return text.getvalue()


def _cell_of(value: Setting | list[str]) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return "; ".join(value) if isinstance(value, list) else str(value)
