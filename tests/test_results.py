import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from jsc import results
from jsc.errors import ResultError
from jsc.results import EpochMetrics, RunResult


def a_result(**changes: object) -> RunResult:
    values = {
        f.name: {"int": 1, "float": 1.0, "str": "x", "list[str]": [], "dict[str, str]": {}}.get(
            str(getattr(f.type, "__name__", f.type)) if "[" not in str(f.type) else str(f.type)
        )
        for f in dataclasses.fields(RunResult)
        if f.name != "schema"
    }
    return RunResult(**{**values, "status": "completed", **changes})  # type: ignore[arg-type]  # built by type name


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = a_result(test_acc=0.1 + 0.2, error=None, never_predicted=["z"], versions={"jsc": "1"})
    results.write_record(tmp_path / results.RESULT_FILE, written)
    assert results.read_result(tmp_path) == written
    assert [p.name for p in tmp_path.iterdir()] == [results.RESULT_FILE]


def test_what_is_not_finite_is_valid_json(tmp_path: Path) -> None:
    results.write_record(tmp_path / results.RESULT_FILE, a_result(status="diverged", train_loss=float("nan")))
    assert json.loads((tmp_path / results.RESULT_FILE).read_text(), parse_constant=pytest.fail)["train_loss"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ('{"schema": 1', "Invalid JSON"),
        ("[]", "file"),
        ('{"schema": 2}', r"schema: Input should be 1"),
        ('{"schema": 1}', "status: Field required"),
        ('{"schema": 1, "mood": "good"}', "mood: Unexpected keyword"),
        ('{"schema": 1, "seed": "one"}', "seed: Input should be a valid integer"),
    ],
)
def test_a_bad_result_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / results.RESULT_FILE).write_text(content)
    with pytest.raises(ResultError, match=message) as raised:
        results.read_result(tmp_path)
    assert results.RESULT_FILE in str(raised.value)


ROW = EpochMetrics(
    epoch=0,
    step=10,
    lr=1e-3,
    train_loss=1.0,
    train_acc=0.5,
    val_loss=None,
    val_acc=None,
    jets_per_second=1.5,
    seconds=2.0,
)


def test_metrics_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [ROW, dataclasses.replace(ROW, epoch=1, val_loss=float("nan"), val_acc=0.1 + 0.2)]
    results.write_metrics(tmp_path, rows)
    assert repr(results.read_metrics(tmp_path)) == repr(rows)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda text: text.replace("epoch", "epoque"), "line 2, epoch: Field required"),
        (lambda text: text.replace("0.001", "fast"), "line 2, lr: Input should be a valid number"),
        (lambda text: text.replace("0,10", ",10"), "line 2, epoch: Input should be a valid integer"),
        (lambda text: text[:-20], "line 2"),
    ],
)
def test_bad_metrics_are_named(tmp_path: Path, cut, message: str) -> None:
    results.write_metrics(tmp_path, [ROW])
    path = tmp_path / results.METRICS_FILE
    path.write_text(cut(path.read_text()))
    with pytest.raises(ResultError, match=message):
        results.read_metrics(tmp_path)


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    labels, predicted = np.arange(5), np.array([4, 0, 0, 1, 2])
    results.write_predictions(tmp_path / "p.npz", labels_N=labels, predicted_N=predicted)
    read_labels, read_predicted = results.read_predictions(tmp_path / "p.npz")
    np.testing.assert_array_equal(read_labels, labels)
    np.testing.assert_array_equal(read_predicted, predicted)
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ResultError, match=r"p\.npz"):
        results.read_predictions(tmp_path / "p.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write_atomically(tmp_path / "a", "old")
    monkeypatch.setattr(results.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        results.write_atomically(tmp_path / "a", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_epochs_are_added_to_those_written(tmp_path: Path) -> None:
    rows = [dataclasses.replace(ROW, epoch=epoch, val_loss=None) for epoch in range(4)]
    results.write_metrics(tmp_path, rows[:2])
    for row in rows[2:]:
        results.append_metrics(tmp_path, row)
    assert results.read_metrics(tmp_path) == rows
