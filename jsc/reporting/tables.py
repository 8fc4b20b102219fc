"""The tables of a report. Losses in nats, accuracies as fractions, times in seconds, to the digits shown here."""

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterable, Sequence
from operator import methodcaller

from jsc.reporting.document import Table
from jsc.reporting.questions import Configuration, Question, group_by_data, varied_options
from jsc.reporting.runs import Run
from jsc.reporting.sample import Sample
from jsc.reporting.wording import NONE, SCORE_NAMES, class_symbol, label, span, state_name, tally
from jsc.results import RunResult, TestResult

_SCORES = ("train_loss", "val_loss", "val_acc", "test_acc", "test_loss", "fit_seconds")


def seeds(configuration: Configuration) -> str:
    """How many runs a row's means are of, and what became of the others."""
    n = len(configuration.counted)
    lost = tally(run.state for run in configuration.runs if not run.counts)
    return ", ".join([{0: "none", 1: "one seed"}.get(n, f"n = {n}"), *lost])


def configuration_table(configurations: Sequence[Configuration], varied: Sequence[str], caption: str) -> Table:
    """One row a configuration: what was varied, the labs' columns, the seeds."""
    settings = dict.fromkeys((*varied, "max_epochs", "batch_size", "lr"))
    columns: dict[str, Callable[[Configuration], object]] = {
        **{label(name): methodcaller("shown", name) for name in settings},
        "parameters": lambda c: f"{c.num_parameters:,}",
        **{SCORE_NAMES[name]: methodcaller("over_seeds", name) for name in _SCORES},
        "best epoch": lambda c: span([r.best_epoch for r in c.results if r.best_epoch is not None]),
        "seeds": seeds,
    }
    return Table.of(caption, configurations, columns)


def class_table(question: Question) -> Table | None:
    """Precision, recall and AUC of each class, one row a network and class, means over seeds; None without tests."""
    rows = []
    for name, c in zip(question.names, question.configurations, strict=True):
        for of_class in zip(*(test.classes for test in tests_of(c)), strict=True):
            means = [
                Sample.of(getattr(scores, what) for scores in of_class).shown(what, len(of_class))
                for what in ("precision", "recall", "auc")
            ]
            rows.append((name, class_symbol(of_class[0].name), f"{of_class[0].num_jets:,}", *means))
    header = ("network", "class", "test jets", "precision", "recall", "AUC, one against the rest")
    return Table("Scores by class on the test jets.", header, tuple(rows)) if rows else None


def tests_of(configuration: Configuration) -> list[TestResult]:
    """The test scores of the runs that count, where `test.json` scores the checkpoint that `result.json` names."""
    tests = [(run.test, run.record.test_acc) for run in configuration.counted]
    return [test for test, test_acc in tests if test is not None and test.test_acc == test_acc]


def problem_table(runs: Sequence[Run]) -> Table | None:
    """Runs that do not count, and files with faults: nothing is dropped in silence. None if all is well."""
    found = {}
    for run in runs:
        told = list(run.problems)
        if run.result is not None and run.result.error:
            told.append(f"error: {run.result.error.strip().splitlines()[-1]}")
        if not run.counts and run.result is not None:
            told.append(f"{run.result.epochs_run} of {run.result.max_epochs} epochs were run")
        if told or not run.counts:
            found[run.name] = (state_name(run.state), "yes" if run.counts else "no", "; ".join(told) or NONE)
    caption = "Runs that are not counted in means and claims, and runs whose files have faults."
    header = ("run", "state", "counted", "what was found")
    return Table(caption, header, tuple((name, *cells) for name, cells in found.items())) if found else None


def table_csv(runs: Sequence[Run]) -> str:
    """`table.csv`: one row a run, values as in its files, and the further settings that were varied."""
    options = sorted({key for members in group_by_data(runs).values() for key in varied_options(members)})
    fields = [f.name for f in dataclasses.fields(RunResult) if f.name not in ("schema", "versions")]
    header = ["run", "state", "counted", *fields, *options, "problems"]
    rows = []
    for run in runs:
        values = [getattr(run.result, name, None) for name in fields] + [run.options.get(key) for key in options]
        rows.append([run.name, run.state, int(run.counts), *values, run.problems])
    return csv_text(header, rows)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Values with all their digits; an empty cell stands for None and for what is not finite."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return "; ".join(value) if isinstance(value, list | tuple) else value
