"""Two checkpoints on the same test jets: McNemar's test, the differences by class, and the cost."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jsc.errors import ComparisonError, ResultError
from jsc.reporting.document import Document, Figure, Paragraph, Section, Table
from jsc.reporting.figures import confusion_map, recall_bars
from jsc.reporting.mcnemar import McNemar, holm
from jsc.reporting.tables import csv_text
from jsc.reporting.wording import class_symbol, join, score
from jsc.results import PREDICTIONS_FILE, TEST_FILE, TestResult, beside, checkpoint_of, read_predictions, read_test

BYTES_PER_PARAMETER = 4  # float32
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class ScoredCheckpoint:
    """A checkpoint with its scores, and the true and the predicted class of every test jet [N], in split order."""

    path: Path
    name: str
    test: TestResult
    labels_N: npt.NDArray[np.int8]
    predicted_N: npt.NDArray[np.int8]


def read_checkpoint(path: Path) -> ScoredCheckpoint:
    """Read the scores and predictions beside a checkpoint, given itself or as its run's folder.

    Raises ComparisonError, with the command that writes what is missing.
    """
    if not path.exists() and not _has_scores(path):
        raise ComparisonError(f"{path}: no such run folder or checkpoint")
    checkpoint = checkpoint_of(path)
    remedy = f"`python -m jsc.test checkpoint={checkpoint}` writes it"
    test_file, predictions_file = beside(checkpoint, TEST_FILE), beside(checkpoint, PREDICTIONS_FILE)
    for needed in (test_file, predictions_file):
        if not needed.is_file():
            raise ComparisonError(f"{needed} is missing; {remedy}")
    try:
        test = read_test(test_file)
        labels_N, predicted_N = read_predictions(predictions_file)
    except ResultError as error:
        raise ComparisonError(f"{error}; {remedy} anew") from error
    if Path(test.checkpoint).name != checkpoint.name:
        raise ComparisonError(
            f"{test_file} scores {Path(test.checkpoint).name}, not {checkpoint.name}; "
            f"`python -m jsc.test checkpoint={checkpoint}` scores that one"
        )
    num_classes = len(test.class_names)
    named = [np.isin(array, range(num_classes)).all() for array in (labels_N, predicted_N)]
    if labels_N.shape != predicted_N.shape or not all(named):
        raise ComparisonError(f"{predictions_file} holds no class for some jets; {remedy} anew")
    confusion_CC = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion_CC, (labels_N, predicted_N), 1)
    if not np.array_equal(confusion_CC, test.confusion):
        raise ComparisonError(
            f"{predictions_file} and {test_file.name} are of different tests: their confusion matrices differ; "
            f"{remedy} anew"
        )
    return ScoredCheckpoint(checkpoint, test.model, test, labels_N, predicted_N)


def _has_scores(checkpoint: Path) -> bool:
    """Whether a checkpoint that is no longer there left its own; another's may lie in the same folder."""
    try:
        return Path(read_test(beside(checkpoint, TEST_FILE)).checkpoint).name == checkpoint.name
    except ResultError:
        return False


def check_comparable(a: ScoredCheckpoint, b: ScoredCheckpoint) -> None:
    """Raises ComparisonError unless both were tested on the very same jets."""
    for what in ("dataset_sha256", "dataset_variant", "num_test", "class_names"):
        one, other = getattr(a.test, what), getattr(b.test, what)
        if one != other:
            raise ComparisonError(
                f"{a.path} and {b.path} were tested on different jets: {what} is {one!r} and {other!r}. "
                "Test both on one data set: `python -m jsc.test checkpoint=... dataset=...`"
            )
    if not np.array_equal(a.labels_N, b.labels_N):
        raise ComparisonError(
            f"{a.path} and {b.path} were tested on different jets: the true classes differ, though the data set has "
            "one name and checksum. Test both anew: `python -m jsc.test checkpoint=...`"
        )


@dataclass(frozen=True)
class ClassDifference:
    """Jets of one true class, or of `all`: the share that A and B have right, McNemar's test, and Holm's p value.

    Holm's is over all classes; there is none for `all`.
    """

    name: str
    recall_a: float
    recall_b: float
    test: McNemar
    p_holm: float | None = None

    @property
    def difference(self) -> float:
        return self.recall_b - self.recall_a

    @property
    def p_value(self) -> float:
        """That which is judged by."""
        return self.test.p_value if self.p_holm is None else self.p_holm

    @property
    def is_significant(self) -> bool:
        return self.p_value < SIGNIFICANCE


def overall_difference(a: ScoredCheckpoint, b: ScoredCheckpoint) -> ClassDifference:
    """That of all jets."""
    return ClassDifference("all", a.test.test_acc, b.test.test_acc, _mcnemar(a, b, np.ones(len(a.labels_N), np.bool_)))


def class_differences(a: ScoredCheckpoint, b: ScoredCheckpoint) -> list[ClassDifference]:
    """One for each class that the test jets hold."""
    differences = []
    for k, name in enumerate(a.test.class_names):
        of_class_N = a.labels_N == k
        if of_class_N.any():
            recall_a, recall_b = (float(np.mean(c.predicted_N[of_class_N] == k)) for c in (a, b))
            differences.append(ClassDifference(name, recall_a, recall_b, _mcnemar(a, b, of_class_N)))
    adjusted = holm([difference.test.p_value for difference in differences])
    return [replace(d, p_holm=p_holm) for d, p_holm in zip(differences, adjusted, strict=True)]


def _mcnemar(a: ScoredCheckpoint, b: ScoredCheckpoint, jets_N: npt.NDArray[np.bool_]) -> McNemar:
    right_a, right_b = ((c.predicted_N == c.labels_N)[jets_N] for c in (a, b))
    return McNemar(int(np.sum(right_a & ~right_b)), int(np.sum(~right_a & right_b)), len(right_a))


def make_comparison(a: ScoredCheckpoint, b: ScoredCheckpoint) -> Document:
    """Raises ComparisonError if the two were not tested on the same jets."""
    check_comparable(a, b)
    if a.name == b.name:
        a, b = replace(a, name=f"{a.name} (A)"), replace(b, name=f"{b.name} (B)")
    return Document(f"{a.name} and {b.name} on the same test jets", (_accuracy(a, b), _by_class(a, b), _cost(a, b)))


def _accuracy(a: ScoredCheckpoint, b: ScoredCheckpoint) -> Section:
    overall = overall_difference(a, b)
    test = overall.test
    low, high = test.interval
    better, worse = (b, a) if test.difference > 0 else (a, b)
    verdict = f"{a.name} and {b.name} are not distinguishable on these jets"
    if overall.is_significant:
        verdict = f"{better.name} names more jets rightly than {worse.name}"
    p_value = f"= {_p(test.p_value)}".replace("= <", "<")
    data = f"{a.test.dataset} (variant {a.test.dataset_variant}, {a.test.num_test:,} test jets)"
    columns: dict[str, Callable[[ScoredCheckpoint], object]] = {
        "network": lambda c: c.name,
        "test accuracy": lambda c: score(c.test.test_acc),
        "test loss": lambda c: score(c.test.test_loss),
    }
    blocks = (
        Paragraph(f"A: {a.name}, `{a.path}`. B: {b.name}, `{b.path}`. Data: {data}."),
        Paragraph(
            f"{verdict} (McNemar's exact test, two-sided p {p_value}, significance level {SIGNIFICANCE:g}). "
            f"A has {score(a.test.test_acc)} of them right, B {score(b.test.test_acc)}: a difference (B - A) of "
            f"{test.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}. {test.only_a:,} jets are named rightly "
            f"by A alone and {test.only_b:,} by B alone."
        ),
        Paragraph(
            "The test is of these two trained networks on these jets. It does not say how either would do with another "
            "seed: for that, train several and report the sweep."
        ),
        Table.of("Scores on the test jets.", (a, b), columns),
    )
    return Section("Accuracy", blocks)


def _p(value: float) -> str:
    return f"{value:.3g}" if value >= 1e-12 else "< 1e-12"


def _by_class(a: ScoredCheckpoint, b: ScoredCheckpoint) -> Section:
    differences = class_differences(a, b)
    columns: dict[str, Callable[[ClassDifference], object]] = {
        "class": lambda d: class_symbol(d.name),
        "test jets": lambda d: f"{d.test.num_jets:,}",
        "recall, A": lambda d: score(d.recall_a),
        "recall, B": lambda d: score(d.recall_b),
        "B - A": lambda d: f"{d.difference:+.4f}",
        "right by A alone": lambda d: f"{d.test.only_a:,}",
        "right by B alone": lambda d: f"{d.test.only_b:,}",
        "p (Holm)": lambda d: _p(d.p_value),
        "precision, A": lambda d: _precision(a, d.name),
        "precision, B": lambda d: _precision(b, d.name),
    }
    caption = (
        "Recall by true class, and McNemar's exact test on the jets of each (p by Holm's method, for all classes "
        "together). Precision counts the jets of every class."
    )
    clear = [d for d in differences if d.is_significant]
    better = {c.name: [class_symbol(d.name) for d in clear if (d.difference > 0) == (c is b)] for c in (a, b)}
    higher = [f"{name} has the higher recall on {join(classes)}" for name, classes in better.items() if classes]
    text = f"{'; '.join(higher)} (p < {SIGNIFICANCE:g}, Holm)." if higher else "On no class are they distinguishable."
    if higher and len(clear) < len(differences):
        text += " On the others they are not distinguishable."
    for c in (a, b):
        if c.test.never_predicted:
            text += f" {c.name} never predicts {', '.join(map(class_symbol, c.test.never_predicted))}."
    tests = {f"A: {a.name}": a.test, f"B: {b.name}": b.test}
    figures = [
        Figure("recall", f"Recall by class of {a.name} (A) and {b.name} (B).", partial(recall_bars, tests=tests))
    ]
    for letter, c in (("a", a), ("b", b)):
        what = (
            f"Confusion matrix of {c.name} ({letter.upper()}): the share of each true class (row) that was "
            "predicted as each class (column)."
        )
        figures.append(Figure(f"confusion_{letter}", what, partial(confusion_map, tests=[c.test])))
    return Section("By class", (Paragraph(text), Table.of(caption, differences, columns), *figures))


def _precision(checkpoint: ScoredCheckpoint, name: str) -> str | None:
    precision = next(c.precision for c in checkpoint.test.classes if c.name == name)
    return None if precision is None else score(precision)


def _cost(a: ScoredCheckpoint, b: ScoredCheckpoint) -> Section:
    costs = {
        "trainable parameters": [c.test.num_parameters for c in (a, b)],
        "multiply-accumulates a jet": [c.test.num_macs for c in (a, b)],
        "size of the parameters in float32 (bytes)": [BYTES_PER_PARAMETER * c.test.num_parameters for c in (a, b)],
    }
    columns: dict[str, Callable[[str], object]] = {
        "quantity": str,
        f"A: {a.name}": lambda what: f"{costs[what][0]:,}",
        f"B: {b.name}": lambda what: f"{costs[what][1]:,}",
        "B / A": lambda what: f"{costs[what][1] / costs[what][0]:.2f}" if costs[what][0] else None,
    }
    caption = "What each network costs. Multiply-accumulates are those of matrix products, convolutions and attention."
    return Section("Cost", (Table.of(caption, costs, columns),))


def comparison_csv(a: ScoredCheckpoint, b: ScoredCheckpoint) -> str:
    """`table.csv`: one row for all jets and one a class, with all digits."""
    columns: dict[str, Callable[[ClassDifference], object]] = {
        "class": lambda d: d.name,
        "num_jets": lambda d: d.test.num_jets,
        "recall_a": lambda d: d.recall_a,
        "recall_b": lambda d: d.recall_b,
        "difference": lambda d: d.difference,
        "right_by_a_alone": lambda d: d.test.only_a,
        "right_by_b_alone": lambda d: d.test.only_b,
        "p": lambda d: d.test.p_value,
        "p_holm": lambda d: d.p_holm,
    }
    differences = [overall_difference(a, b), *class_differences(a, b)]
    return csv_text(list(columns), [[cell(d) for cell in columns.values()] for d in differences])
