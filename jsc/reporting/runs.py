"""Run folders, read as they are found: whatever a folder lacks or holds damaged is kept as a sentence about it."""

import glob
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard, TypeVar

import yaml

from jsc.errors import NoRunError, ResultError
from jsc.results import (
    CHECKPOINT_FOLDER,
    METRICS_FILE,
    PLAN_FILE,
    RESULT_FILE,
    TEST_FILE,
    EpochMetrics,
    RunResult,
    TestResult,
    read_metrics,
    read_result,
    read_test,
)

Setting = str | int | float | bool | None
State = Literal["completed", "stopped_early", "diverged", "interrupted", "failed", "unreadable", "no result"]
Record = TypeVar("Record")

REPORT_FILE = "report.md"
CONFIG_FILE = ".hydra/config.yaml"
_TEST = f"{CHECKPOINT_FOLDER}/{TEST_FILE}"
_RECORDS = (RESULT_FILE, METRICS_FILE, CONFIG_FILE)
COUNTED: tuple[State, ...] = ("completed", "stopped_early")  # their scores enter means, and one of them is the best

SETTINGS_OF_RESULT = ("batch_size", "max_epochs", "lr", "optimizer", "weight_decay", "scheduler", "model")
"""Settings that every `result.json` holds, in the order of the labs' questions.

Engine and device are not among them: they say where a run took place, not what was asked.
"""

# What a damaged or edited record may break: fields with the least and the largest value that they can have.
_RANGES = {
    **{f"{split}_acc": (0.0, 1.0) for split in ("train", "val", "test")},
    **{f"{split}_loss": (0.0, math.inf) for split in ("train", "val", "test")},
    **dict.fromkeys(("batch_size", "max_epochs"), (1, math.inf)),
    **dict.fromkeys(("fit_seconds", "epochs_run"), (0, math.inf)),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is known of one run. `problems` are sentences on missing, damaged or contradictory files.

    `options` are the configuration's keys (dotted) beside those that `result.json` holds.
    """

    folder: Path
    name: str
    state: State
    result: RunResult | None = None
    epochs: tuple[EpochMetrics, ...] = ()
    test: TestResult | None = None
    options: Mapping[str, Setting] = field(default_factory=dict)
    problems: tuple[str, ...]

    @property
    def counts(self) -> bool:
        """Whether its scores enter means and claims."""
        return self.state in COUNTED

    @property
    def record(self) -> RunResult:
        """The result of a run that has one."""
        assert self.result is not None, "only runs with a record are compared"
        return self.result


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether a score is there and is a number."""
    return value is not None and math.isfinite(value)


def find_run_folders(patterns: Sequence[str]) -> list[Path]:
    """Every run folder at or under the given folders or glob patterns, each once, in order.

    A folder is a run if it holds result.json, metrics.csv or .hydra/config.yaml, if it stands empty-handed beside such
    folders (a sweep's job that left nothing), or if a sweep.json names it, whether it is there or not. Folders of
    reports are skipped. Raises NoRunError.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = [pattern] if os.path.lexists(pattern) else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # Path.glob refuses absolute patterns
        if not paths:
            raise NoRunError(f"{pattern}: no such folder, and no folder matches it as a pattern")
        for path in paths:
            found.update(dict.fromkeys(folder.resolve() for folder in _runs_under(Path(path))))
    if not found:
        raise NoRunError(
            f"{', '.join(patterns)}: no run in there. A run's folder holds result.json, metrics.csv or "
            ".hydra/config.yaml; give the folder of a run, of a sweep, or one above them"
        )
    return list(found)


def _holds_records(folder: Path) -> bool:
    return any((folder / record).is_file() for record in _RECORDS)


def _runs_under(path: Path) -> Iterator[Path]:
    if path.is_file():  # a glob over runs also matches sweep.csv and the like
        return
    if _holds_records(path):
        yield path
        return
    found = (child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    planned = _planned_folders(path)
    children = sorted({*planned, *(child for child in found if not (child / REPORT_FILE).exists())}, key=_natural)
    is_sweep = bool(planned) or any(_holds_records(child) for child in children)
    for child in children:
        inner = list(_runs_under(child)) if child.is_dir() else []
        yield from inner or ([child] if is_sweep else [])


def _planned_folders(sweep: Path) -> list[Path]:
    """Those of the jobs in `sweep.json`; none where that is missing or damaged."""
    try:
        return [sweep / str(job["folder"]) for job in json.loads((sweep / PLAN_FILE).read_text())["jobs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _natural(path: Path) -> tuple[int, int, str]:
    """Sort 2_lr=0.1 before 10_lr=0.1."""
    number = path.name.partition("_")[0]
    return (0, int(number), path.name) if number.isdecimal() else (1, 0, path.name)


def read_runs(folders: Sequence[Path], is_option: Callable[[str], bool]) -> list[Run]:
    """Read every folder; names are the paths below the folders' common parent.

    `is_option` tells which keys of a configuration runs are compared by, beside the settings in `result.json`.
    """
    parent = Path(os.path.commonpath([folder.parent for folder in folders]))
    return [read_run(folder, is_option, name=folder.relative_to(parent).as_posix()) for folder in folders]


def read_run(folder: Path, is_option: Callable[[str], bool], *, name: str) -> Run:
    """Read one run folder; never raises for what is missing or damaged in it."""
    problems: list[str] = []
    if not _holds_records(folder):
        nothing = (
            "the folder holds no record: result.json, metrics.csv and .hydra/config.yaml are all missing"
            if folder.is_dir()
            else f"{PLAN_FILE} names this job, but there is no such folder: it was never started, or was taken away"
        )
        return Run(folder=folder, name=name, state="no result", problems=(nothing,))

    def read(file: str, reader: Callable[[], Record], if_missing: str | None, if_damaged: str) -> Record | None:
        if not (folder / file).is_file():
            problems.extend([f"{file} is missing: {if_missing}"] if if_missing is not None else [])
            return None
        try:
            return reader()
        except ResultError as error:
            problems.append(f"{str(error).replace(f'{folder}{os.sep}', '')} ({if_damaged})")
            return None

    missing = "the run was killed, or is still going"
    result = read(RESULT_FILE, lambda: _possible(read_result(folder)), missing, "its scores are not used")
    state: State = "unreadable" if (folder / RESULT_FILE).is_file() else "no result"
    if result is not None:
        state = result.status
    no_curves = None if state == "failed" else "no curves"
    epochs = read(METRICS_FILE, lambda: tuple(read_metrics(folder)), no_curves, "its curves are left out")
    if epochs == () and state in (*COUNTED, "diverged"):
        problems.append(f"{METRICS_FILE} holds no epoch: no curves")
    no_scores = "no scores by class" if state in COUNTED else None
    test = read(_TEST, lambda: _whole(read_test(folder / _TEST)), no_scores, "no scores by class")
    unknown = f"settings that {RESULT_FILE} does not hold are unknown"
    options = read(CONFIG_FILE, lambda: _options(folder / CONFIG_FILE, is_option), unknown, unknown)
    state = _check(result, epochs or (), test, state, problems)
    return Run(
        folder=folder,
        name=name,
        state=state,
        result=result,
        epochs=epochs or (),
        test=test,
        options=options or {},
        problems=tuple(problems),
    )


def _possible(result: RunResult) -> RunResult:
    """Raises ResultError if fields are out of their ranges."""
    values = {name: value for name in _RANGES if is_finite(value := getattr(result, name))}
    impossible = [f"{k}={value}" for k, value in values.items() if not _RANGES[k][0] <= value <= _RANGES[k][1]]
    if impossible:
        raise ResultError(f"{RESULT_FILE} holds what cannot be: {', '.join(impossible)}")
    return result


def _whole(test: TestResult) -> TestResult:
    """Raises ResultError if its parts contradict each other."""
    cells = [cell for row in test.confusion for cell in row]
    num_classes = len(test.class_names)
    if (
        num_classes == 0
        or [scores.name for scores in test.classes] != test.class_names
        or [len(row) for row in test.confusion] != [num_classes] * num_classes
        or min(cells) < 0
        or sum(cells) != test.num_test
    ):
        raise ResultError(f"{_TEST}: its classes, confusion matrix and number of jets do not fit together")
    return test


def _options(path: Path, is_option: Callable[[str], bool]) -> dict[str, Setting]:
    """Raises ResultError."""
    try:
        # The C loader is ten times as fast; PyYAML is built without it on some systems.
        config = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        raise ResultError(f"{CONFIG_FILE} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict):
        raise ResultError(f"{CONFIG_FILE} cannot be read: it holds no keys")
    return {key: value for key, value in _flatten(config, "") if is_option(key)}


def _check(
    result: RunResult | None,
    epochs: Sequence[EpochMetrics],
    test: TestResult | None,
    state: State,
    problems: list[str],
) -> State:
    """Whether the files agree; a loss that is not a number makes a run diverged, whatever its record says."""
    if result is None:
        problems.extend([f"{METRICS_FILE} ends with epoch {epochs[-1].epoch}"] if epochs else [])
        return state
    losses = [(row.epoch, {"training": row.train_loss, "validation": row.val_loss}) for row in epochs]
    bad = [(epoch, [name for name, x in of.items() if x is not None and not is_finite(x)]) for epoch, of in losses]
    first = next(((epoch, names) for epoch, names in bad if names), None)
    if first is not None:
        problems.append(f"the {' and '.join(first[1])} loss is not a number from epoch {first[0]}")
    if state in COUNTED:
        if first is not None or not (is_finite(result.train_loss) and is_finite(result.val_loss)):
            but = "" if first is not None else ", but its losses are not numbers"
            problems.append(f"{RESULT_FILE} says {state}{but}; it is counted as diverged")
            state = "diverged"
        elif epochs and len(epochs) != result.epochs_run:
            problems.append(f"{METRICS_FILE} holds {len(epochs)} epochs, {RESULT_FILE} says {result.epochs_run}")
        if not is_finite(result.test_acc):
            problems.append(f"{RESULT_FILE} holds no test score")
    if test is not None and is_finite(result.test_acc) and test.test_acc != result.test_acc:
        problems.append(
            f"{TEST_FILE} scores {Path(test.checkpoint).name} with accuracy {test.test_acc!r}, {RESULT_FILE} says "
            f"{result.test_acc!r}: it was tested again since ({RESULT_FILE}'s is used)"
        )
    return state


def _flatten(value: Any, prefix: str) -> Iterable[tuple[str, Setting]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list):
        yield prefix, str(value)
    else:
        yield prefix, value
