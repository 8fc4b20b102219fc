import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jsc import results
from jsc.errors import ComparisonError
from jsc.reporting import comparison_csv, make_comparison, read_checkpoint
from jsc.reporting.comparison import class_differences, overall_difference
from jsc.reporting.document import Paragraph, Table
from jsc.reporting.markdown import to_markdown

RunWriter = Callable[..., Path]


@pytest.fixture
def pair(tmp_path: Path, run_writer: RunWriter) -> tuple[Path, Path]:
    return run_writer(tmp_path / "tiny"), run_writer(tmp_path / "mlp", model="jsc-mlp")


def test_counts_are_those_of_the_predictions(pair: tuple[Path, Path]) -> None:
    a, b = map(read_checkpoint, pair)
    right_a, right_b = a.predicted_N == a.labels_N, b.predicted_N == b.labels_N
    test = overall_difference(a, b).test
    assert (test.only_a, test.only_b) == (np.sum(right_a > right_b), np.sum(right_b > right_a))
    assert test.difference == pytest.approx(b.test.test_acc - a.test.test_acc, abs=1e-12)
    by_class = class_differences(a, b)
    assert sum(d.test.only_a for d in by_class) == test.only_a
    for difference, scores in zip(by_class, b.test.classes, strict=True):
        assert difference.recall_b == scores.recall
        assert difference.test.num_jets == scores.num_jets


def test_the_report_gives_test_classes_and_cost(pair: tuple[Path, Path]) -> None:
    a, b = map(read_checkpoint, pair)
    document = make_comparison(a, b)
    assert [section.title for section in document.sections] == ["Accuracy", "By class", "Cost"]
    verdict = [block.text for block in document.sections[0].blocks if isinstance(block, Paragraph)][1]
    assert verdict.startswith("jsc-mlp names more jets rightly than jsc-tiny (McNemar's exact test, two-sided p = ")
    assert f"B {b.test.test_acc:.4f}" in verdict
    (cost,) = (block for block in document.sections[2].blocks if isinstance(block, Table))
    assert [row[1:3] for row in cost.rows] == [("127", "4,389"), ("105", "4,256"), ("508", "17,556")]
    assert [figure.name for figure in document.figures] == ["recall", "confusion_a", "confusion_b"]


def test_a_very_small_p_is_a_bound(pair: tuple[Path, Path]) -> None:
    a, b = map(read_checkpoint, pair)
    one = dataclasses.replace(a, predicted_N=a.labels_N)
    other = dataclasses.replace(b, labels_N=a.labels_N, predicted_N=(a.labels_N + 1) % 5)
    assert "two-sided p < 1e-12, significance" in to_markdown(make_comparison(one, other)).replace("\\", "")


def test_a_network_is_not_distinguishable_from_itself(pair: tuple[Path, Path]) -> None:
    a = read_checkpoint(pair[0])
    verdict = [block.text for block in make_comparison(a, a).sections[0].blocks if isinstance(block, Paragraph)][1]
    assert verdict.startswith(
        "jsc-tiny (A) and jsc-tiny (B) are not distinguishable on these jets (McNemar's exact test, two-sided p = 1,"
    )


def test_the_table_holds_all_digits(pair: tuple[Path, Path]) -> None:
    a, b = map(read_checkpoint, pair)
    rows = list(csv.DictReader(io.StringIO(comparison_csv(a, b))))
    assert [row["class"] for row in rows] == ["all", "g", "q", "w", "z", "t"]
    assert float(rows[0]["recall_b"]) == b.test.test_acc
    assert float(rows[0]["p"]) == overall_difference(a, b).test.p_value
    assert [float(row["recall_a"]) for row in rows[1:]] == [scores.recall for scores in a.test.classes]


def test_a_checkpoint_is_given_by_itself_or_by_its_run(pair: tuple[Path, Path]) -> None:
    checkpoint = pair[0] / "checkpoints" / "best.ckpt"
    assert (
        read_checkpoint(checkpoint).test
        == read_checkpoint(pair[0]).test
        == read_checkpoint(pair[0] / "checkpoints").test
    )


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda run: (run / "checkpoints/predictions.npz").unlink(),
            r"predictions\.npz is missing; `python -m jsc\.test",
        ),
        (
            lambda run: (run / "checkpoints/test.json").unlink(),
            r"test\.json is missing; `python -m jsc\.test checkpoint=",
        ),
        (lambda run: (run / "checkpoints/predictions.npz").write_bytes(b"PK"), r"predictions\.npz.*writes it anew"),
        (
            lambda run: results.write_predictions(
                run / "checkpoints/predictions.npz", labels_N=np.arange(5), predicted_N=np.arange(5)
            ),
            "confusion matrices differ",
        ),
        (
            lambda run: results.write_predictions(
                run / "checkpoints/predictions.npz", labels_N=np.arange(7), predicted_N=np.arange(7)
            ),
            "holds no class for some jets",
        ),
    ],
)
def test_what_is_missing_comes_with_its_remedy(pair: tuple[Path, Path], break_it, message: str) -> None:
    break_it(pair[0])
    with pytest.raises(ComparisonError, match=message):
        read_checkpoint(pair[0])


def test_another_checkpoint_than_the_tested_one_is_refused(pair: tuple[Path, Path]) -> None:
    folder = pair[0] / "checkpoints"
    last = folder / "last.ckpt"
    last.write_bytes(b"weights")
    with pytest.raises(ComparisonError, match=r"last\.test\.json is missing; `python -m jsc\.test checkpoint="):
        read_checkpoint(last)
    for name in ("test.json", "predictions.npz"):
        shutil.copyfile(folder / name, folder / f"last.{name}")
    with pytest.raises(ComparisonError, match=r"scores best\.ckpt, not last\.ckpt; `python -m jsc\.test checkpoint="):
        read_checkpoint(last)


@pytest.mark.parametrize("name", ["nowhere/best.ckpt", "nothing", "checkpoints/nothing"])
def test_what_is_not_there_is_said_though_another_checkpoints_scores_lie_there(
    pair: tuple[Path, Path], name: str
) -> None:
    for file in ("test.json", "predictions.npz"):
        shutil.copyfile(pair[0] / "checkpoints" / file, pair[0] / file)
    with pytest.raises(ComparisonError, match=f"{name}: no such run folder or checkpoint"):
        read_checkpoint(pair[0] / name)


def test_the_scores_of_a_checkpoint_outlive_it(pair: tuple[Path, Path]) -> None:
    checkpoint = pair[0] / "checkpoints" / "best.ckpt"
    before = read_checkpoint(checkpoint).test
    checkpoint.unlink()
    assert read_checkpoint(checkpoint).test == before


@pytest.mark.parametrize(
    ("field", "value"), [("dataset_sha256", "ef" * 32), ("dataset_variant", "openml"), ("num_test", 7)]
)
def test_other_jets_are_refused(pair: tuple[Path, Path], field: str, value: object) -> None:
    path = pair[1] / "checkpoints" / "test.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ComparisonError, match=f"different jets: {field}"):
        make_comparison(read_checkpoint(pair[0]), read_checkpoint(pair[1]))


def test_other_true_classes_are_refused(pair: tuple[Path, Path]) -> None:
    a, b = map(read_checkpoint, pair)
    order_N = np.roll(np.arange(len(b.labels_N)), 1)
    moved = dataclasses.replace(b, labels_N=b.labels_N[order_N], predicted_N=b.predicted_N[order_N])
    with pytest.raises(ComparisonError, match="the true classes differ"):
        make_comparison(a, moved)
