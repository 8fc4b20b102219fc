"""Two checkpoints on the same test jets: McNemar's test, the differences by class, and the cost."""

import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jsc.errors import ComparisonError, ResultError
from jsc.reporting.charts import confusion_map, recall_bars
from jsc.reporting.document import Block, Document, Figure, Paragraph, Section, Table
from jsc.reporting.mcnemar import McNemar, holm
from jsc.reporting.wording import NONE, class_symbol, join, score
from jsc.results import PREDICTIONS_FILE, TEST_FILE, TestResult, beside, checkpoint_of, read_predictions, read_test

BYTES_PER_PARAMETER = 4  # float32


@dataclass(frozen=True)
class ScoredCheckpoint:
    """A checkpoint with its scores, and the true and the predicted class of every test jet [N], in split order."""

    path: Path
    name: str
    test: TestResult
    labels_N: npt.NDArray[np.int8]
    predicted_N: npt.NDArray[np.int8]

    @property
    def num_bytes(self) -> int:
        return BYTES_PER_PARAMETER * self.test.num_parameters


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
    classes = range(len(test.class_names))
    if labels_N.shape != predicted_N.shape or not all(
        np.all(np.isin(array, classes)) for array in (labels_N, predicted_N)
    ):
        raise ComparisonError(f"{predictions_file} holds no class for some jets; {remedy} anew")
    if not np.array_equal(confusion(labels_N, predicted_N, len(classes)), test.confusion):
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


def confusion(labels_N: npt.NDArray[np.int8], predicted_N: npt.NDArray[np.int8], num_classes: int) -> Any:
    """int64 [C, C]: jets of class i called class j."""
    cells_N = labels_N.astype(np.int64) * num_classes + predicted_N
    return np.bincount(cells_N, minlength=num_classes**2).reshape(num_classes, num_classes)


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


def mcnemar(a: ScoredCheckpoint, b: ScoredCheckpoint, class_index: int | None = None) -> McNemar:
    """On all test jets, or on those of one true class."""
    jets_N = slice(None) if class_index is None else a.labels_N == class_index
    right_a, right_b = ((c.predicted_N == c.labels_N)[jets_N] for c in (a, b))
    return McNemar(int(np.sum(right_a & ~right_b)), int(np.sum(~right_a & right_b)), len(right_a))


@dataclass(frozen=True)
class ClassDifference:
    """One class: recall of both, McNemar's counts on its jets, and Holm's p value over all classes."""

    name: str
    recall_a: float
    recall_b: float
    test: McNemar
    p_value: float


def class_differences(a: ScoredCheckpoint, b: ScoredCheckpoint) -> list[ClassDifference]:
    """For each class that the test jets hold."""
    present = [k for k in range(len(a.test.class_names)) if np.any(a.labels_N == k)]
    tests = [mcnemar(a, b, k) for k in present]
    adjusted = holm([test.p_value for test in tests])
    return [
        ClassDifference(
            name=a.test.class_names[k],
            recall_a=float(np.mean(a.predicted_N[a.labels_N == k] == k)),
            recall_b=float(np.mean(b.predicted_N[b.labels_N == k] == k)),
            test=test,
            p_value=p_value,
        )
        for k, test, p_value in zip(present, tests, adjusted, strict=True)
    ]


SIGNIFICANCE = 0.05


def make_comparison(a: ScoredCheckpoint, b: ScoredCheckpoint) -> Document:
    """Raises ComparisonError if the two were not tested on the same jets."""
    check_comparable(a, b)
    if a.name == b.name:
        a, b = (dataclasses.replace(c, name=f"{c.name} ({letter})") for c, letter in ((a, "A"), (b, "B")))
    return Document(
        f"{a.name} and {b.name} on the same test jets",
        (_accuracy(a, b), _by_class(a, b), _cost(a, b)),
    )


def _accuracy(a: ScoredCheckpoint, b: ScoredCheckpoint) -> Section:
    test = mcnemar(a, b)
    low, high = test.interval
    better, worse = (b, a) if test.difference > 0 else (a, b)
    if test.p_value < SIGNIFICANCE:
        verdict = f"{better.name} names more jets rightly than {worse.name}"
    else:
        verdict = f"{a.name} and {b.name} are not distinguishable on these jets"
    data = f"{a.test.dataset} (variant {a.test.dataset_variant}, {a.test.num_test:,} test jets)"
    blocks: list[Block] = [
        Paragraph(f"A: {a.name}, `{a.path}`. B: {b.name}, `{b.path}`. Data: {data}."),
        Paragraph(
            f"{verdict} (McNemar's exact test, two-sided p = {_p(test.p_value)}, significance level "
            f"{SIGNIFICANCE:g}). A has "
            f"{score(a.test.test_acc)} of them right, B {score(b.test.test_acc)}: a difference (B - A) of "
            f"{test.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}. {test.only_a:,} jets are named "
            f"rightly by A alone and {test.only_b:,} by B alone."
        ),
        Paragraph(
            "The test is of these two trained networks on these jets. It does not say how either would do with another "
            "seed: for that, train several and report the sweep."
        ),
    ]
    rows = tuple((c.name, score(c.test.test_acc), score(c.test.test_loss)) for c in (a, b))
    blocks.append(Table("Scores on the test jets.", ("network", "test accuracy", "test loss"), rows, frozenset({1, 2})))
    return Section("Accuracy", tuple(blocks))


def _p(value: float) -> str:
    return f"{value:.3g}" if value >= 1e-12 else "< 1e-12"


def _by_class(a: ScoredCheckpoint, b: ScoredCheckpoint) -> Section:
    differences = class_differences(a, b)
    rows = tuple(
        (
            class_symbol(d.name),
            f"{d.test.num_jets:,}",
            score(d.recall_a),
            score(d.recall_b),
            f"{d.recall_b - d.recall_a:+.4f}",
            f"{d.test.only_a:,}",
            f"{d.test.only_b:,}",
            _p(d.p_value),
            *(_scores_of(c, d.name) for c in (a, b)),
        )
        for d in differences
    )
    table = Table(
        "Recall by true class, and McNemar's exact test on the jets of each (p by Holm's method, for all classes "
        "together). Precision counts the jets of every class.",
        (
            "class",
            "test jets",
            "recall, A",
            "recall, B",
            "B - A",
            "right by A alone",
            "right by B alone",
            "p (Holm)",
            "precision, A",
            "precision, B",
        ),
        rows,
        frozenset(range(1, 10)),
    )
    better = [class_symbol(d.name) for d in differences if d.p_value < SIGNIFICANCE and d.recall_b > d.recall_a]
    worse = [class_symbol(d.name) for d in differences if d.p_value < SIGNIFICANCE and d.recall_b < d.recall_a]
    higher = [
        f"{c.name} has the higher recall on {join(classes)}" for c, classes in ((a, worse), (b, better)) if classes
    ]
    text = f"{'; '.join(higher)} (p < {SIGNIFICANCE:g}, Holm)." if higher else "On no class are they distinguishable."
    if higher and len(better) + len(worse) < len(differences):
        text += " On the others they are not distinguishable."
    never = [
        f"{c.name} never predicts {', '.join(map(class_symbol, c.test.never_predicted))}."
        for c in (a, b)
        if c.test.never_predicted
    ]
    names = [f"A: {a.name}", f"B: {b.name}"]
    figures = [
        Figure("recall", f"Recall by class of {a.name} (A) and {b.name} (B).", recall_bars([a.test, b.test], names))
    ]
    figures += [
        Figure(
            f"confusion_{letter}",
            f"Confusion matrix of {c.name} ({letter.upper()}): the share of each true class (row) that was given "
            "each class (column).",
            confusion_map([c.test]),
        )
        for letter, c in (("a", a), ("b", b))
    ]
    return Section("By class", (Paragraph(" ".join([text, *never])), table, *figures))


def _scores_of(checkpoint: ScoredCheckpoint, name: str) -> str:
    precision = next(c.precision for c in checkpoint.test.classes if c.name == name)
    return NONE if precision is None else score(precision)


def _cost(a: ScoredCheckpoint, b: ScoredCheckpoint) -> Section:
    quantities = (
        ("trainable parameters", a.test.num_parameters, b.test.num_parameters),
        ("multiply-accumulates a jet", a.test.num_macs, b.test.num_macs),
        ("size of the parameters in float32 (bytes)", a.num_bytes, b.num_bytes),
    )
    rows = tuple((what, f"{x:,}", f"{y:,}", f"{y / x:.2f}" if x else NONE) for what, x, y in quantities)
    return Section(
        "Cost",
        (
            Table(
                "What each network costs. Multiply-accumulates are those of the linear layers.",
                ("quantity", f"A: {a.name}", f"B: {b.name}", "B / A"),
                rows,
                frozenset({1, 2, 3}),
            ),
        ),
    )


def comparison_csv(a: ScoredCheckpoint, b: ScoredCheckpoint) -> str:
    """`table.csv`: one row for all jets and one a class, with all digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "class",
            "num_jets",
            "recall_a",
            "recall_b",
            "difference",
            "right_by_a_alone",
            "right_by_b_alone",
            "p",
            "p_holm",
        ]
    )
    rows: list[tuple[str, McNemar, float, float, float | None]] = [
        ("all", mcnemar(a, b), a.test.test_acc, b.test.test_acc, None)
    ]
    rows += [(d.name, d.test, d.recall_a, d.recall_b, d.p_value) for d in class_differences(a, b)]
    for name, test, recall_a, recall_b, p_holm in rows:
        counts = (test.only_a, test.only_b, test.p_value, p_holm)
        writer.writerow((name, test.num_jets, recall_a, recall_b, recall_b - recall_a, *counts))
    return text.getvalue()
