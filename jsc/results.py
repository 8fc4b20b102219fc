"""The records that a run leaves in its folder: written once and atomically, read and checked by everyone else.

Nothing here imports torch, so that reports over hundreds of runs start at once. Losses are mean cross-entropies in
nats, accuracies fractions, durations seconds.
"""

import csv
import dataclasses
import io
import math
import os
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import ConfigDict

from jsc.errors import ResultError

SCHEMA: Literal[1] = 1

PLAN_FILE = "sweep.json"  # a sweep's, which names its jobs' folders; the others are a run's
RESULT_FILE = "result.json"
METRICS_FILE = "metrics.csv"
CHECKPOINT_FOLDER = "checkpoints"
BEST_CHECKPOINT = "best.ckpt"
LAST_CHECKPOINT = "last.ckpt"
TEST_FILE = "test.json"
PREDICTIONS_FILE = "predictions.npz"

Status = Literal["completed", "stopped_early", "diverged", "interrupted", "failed"]


_EXACT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """`result.json`. None stands for what a run did not get to, and for a score that diverged.

    `fit_seconds` is the time of the whole fit, `total_seconds` that of the run with its preparation and test.
    `jets_per_second` is the speed of training alone: the training jets of all epochs over the seconds that training on
    them took, without validation and checkpoints; so it is more than jets over `fit_seconds`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _EXACT

    schema: Literal[1] = SCHEMA
    status: Status
    error: str | None
    model: str
    num_parameters: int | None
    dataset: str
    dataset_variant: str | None
    dataset_sha256: str | None
    num_train: int | None
    num_val: int | None
    num_test: int | None
    optimizer: str
    lr: float
    weight_decay: float
    scheduler: str
    batch_size: int
    max_epochs: int
    epochs_run: int
    seed: int
    engine: str
    device: str
    train_loss: float | None
    train_acc: float | None
    val_loss: float | None
    val_acc: float | None
    test_loss: float | None
    test_acc: float | None
    never_predicted: list[str]
    best_epoch: int | None
    fit_seconds: float
    total_seconds: float
    jets_per_second: float | None
    checkpoint_best: str | None
    checkpoint_last: str | None
    command: str
    versions: dict[str, str]
    started_at: str
    host: str
    warnings: list[str]

    @property
    def objective(self) -> float:
        """What a search minimises: the validation loss; NaN where there is none, or the run came to no good end."""
        return math.nan if self.val_loss is None or self.status not in ("completed", "stopped_early") else self.val_loss


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class against the rest; None where it is undefined (a class never predicted has no precision)."""

    name: str
    num_jets: int
    precision: float | None
    recall: float | None
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """The scores of a checkpoint, `beside` it as `test.json`. `confusion[i][j]`: jets of class i predicted as j."""

    __pydantic_config__: ClassVar[ConfigDict] = _EXACT
    __test__: ClassVar[bool] = False  # not a test class, whatever pytest makes of its name

    schema: Literal[1] = SCHEMA
    checkpoint: str
    model: str
    num_parameters: int
    num_macs: int
    dataset: str
    dataset_variant: str
    dataset_sha256: str
    num_test: int
    test_loss: float
    test_acc: float
    class_names: list[str]
    classes: list[ClassScores]
    confusion: list[list[int]]
    never_predicted: list[str]
    warnings: list[str]


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One row of `metrics.csv`, an epoch counted from 0.

    `step` counts optimizer steps since the start, `lr` is that of the last of them, `seconds` the time of fitting since
    the start, validation included; `jets_per_second` is the speed of this epoch's training alone, as in RunResult and
    in TensorBoard.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # a CSV's cells are text: not strict

    epoch: int
    step: int
    lr: float
    train_loss: float | None
    train_acc: float | None
    val_loss: float | None
    val_acc: float | None
    jets_per_second: float | None
    seconds: float


Record = TypeVar("Record")

# Built once: that takes longer than reading a record, and reports read hundreds.
_RESULT = pydantic.TypeAdapter(RunResult)
_TEST = pydantic.TypeAdapter(TestResult)
_METRICS = pydantic.TypeAdapter(list[EpochMetrics])


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write a whole file or nothing: readers, and a killed writer, never see half of one under its name.

    `durable` waits until it is on the disk, some milliseconds, so that it outlives a power cut as well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_record(path: Path, record: RunResult | TestResult) -> None:
    """Write `result.json` or `test.json`; what is not finite becomes null, for JSON has no other name for it."""
    adapter = _RESULT if isinstance(record, RunResult) else _TEST
    write_atomically(path, adapter.dump_json(record, indent=2) + b"\n")  # type: ignore[arg-type]  # its own


def read_result(run_folder: Path) -> RunResult:
    """Read a run's `result.json`. Raises ResultError."""
    return _read(_RESULT, run_folder / RESULT_FILE)


def read_test(path: Path) -> TestResult:
    """Read a `test.json`. Raises ResultError."""
    return _read(_TEST, path)


def _read(adapter: pydantic.TypeAdapter[Record], path: Path) -> Record:
    try:
        return adapter.validate_json(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path}: {error}") from error
    except pydantic.ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors(include_url=False))
        raise ResultError(f"{path}: {'; '.join(faults)}") from error


def checkpoint_of(path: Path) -> Path:
    """A checkpoint, given itself or, for its best one, as its run's folder or that folder's CHECKPOINT_FOLDER."""
    if not path.is_dir():
        return path
    inner = path / CHECKPOINT_FOLDER
    return (inner if inner.is_dir() else path) / BEST_CHECKPOINT


def from_here(path: Path) -> str:
    """A path as its user would type it in the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def beside(checkpoint: Path, name: str) -> Path:
    """Where the TEST_FILE or another file of a checkpoint's scores is: `test.json`, in its folder.

    In a run's folder that is best.ckpt's, by which the run is scored; there last.ckpt's is `last.test.json`.
    """
    is_another = checkpoint.name != BEST_CHECKPOINT and checkpoint.with_name(BEST_CHECKPOINT).is_file()
    return checkpoint.with_name(f"{checkpoint.stem}.{name}" if is_another else name)


def write_metrics(run_folder: Path, rows: Iterable[EpochMetrics]) -> None:
    """Write `metrics.csv`, one row an epoch; an empty cell is a value that was not measured."""
    names = [f.name for f in dataclasses.fields(EpochMetrics)]
    content = "".join([",".join(names) + "\n", *map(_line, rows)])
    write_atomically(run_folder / METRICS_FILE, content, durable=False)


def append_metrics(run_folder: Path, row: EpochMetrics) -> None:
    """Add an epoch to a `metrics.csv`, whole or not at all should the process be killed."""
    file = os.open(f"{run_folder}/{METRICS_FILE}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, _line(row).encode())
    finally:
        os.close(file)


def _line(row: EpochMetrics) -> str:
    return ",".join("" if cell is None else repr(cell) for cell in vars(row).values()) + "\n"


def make_durable(run_folder: Path) -> None:
    """Wait until what a run has written so far is on the disk; before its `result.json` says that it is there."""
    for path in (run_folder / METRICS_FILE, *(run_folder / CHECKPOINT_FOLDER).glob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def read_metrics(run_folder: Path) -> list[EpochMetrics]:
    """Read `metrics.csv`. Raises ResultError."""
    path = run_folder / METRICS_FILE
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(), newline=""))
        return _METRICS.validate_python([{name: cell or None for name, cell in row.items()} for row in rows])
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"{path}: {error}") from error
    except pydantic.ValidationError as error:
        faults = (f"line {int(e['loc'][0]) + 2}, {e['loc'][-1]}: {e['msg']}" for e in error.errors(include_url=False))
        raise ResultError(f"{path}: {'; '.join(faults)}") from error


def write_predictions(
    path: Path, *, labels_N: npt.NDArray[np.integer[Any]], predicted_N: npt.NDArray[np.integer[Any]]
) -> None:
    """Write the true and the predicted class of every test jet (int8 [N], in split order)."""
    content = io.BytesIO()
    np.savez(content, labels=labels_N.astype(np.int8), predicted=predicted_N.astype(np.int8))
    write_atomically(path, content.getvalue(), durable=False)


def read_predictions(path: Path) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Read (labels [N], predicted [N]). Raises ResultError."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return arrays["labels"], arrays["predicted"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ResultError(f"{path}: {error}") from error
