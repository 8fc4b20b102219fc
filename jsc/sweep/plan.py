"""A sweep's memory: which jobs it has, what has become of each, and the table of them.

    <sweep>/sweep.json             the plan: the command's overrides, every job's settings; written before a job starts
    <sweep>/sweep.csv, sweep.md    the table, written anew whenever a job ends
    <sweep>/<job>_<overrides>/     the jobs' folders; a job's result.json alone says what has become of it

It sees plain values and starts no process.
"""

import json
import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jsc.cli.command import fixed_and_swept, key_of, quoted
from jsc.cli.settings import TrainSettings, flat
from jsc.cli.trust import check_recorded
from jsc.errors import CommandError, ResultError
from jsc.reporting.sweep_table import CSV_FILE, MARKDOWN_FILE, SweepRow, sweep_csv, sweep_markdown
from jsc.results import (
    BEST_CHECKPOINT,
    CHECKPOINT_FOLDER,
    LAST_CHECKPOINT,
    METRICS_FILE,
    PLAN_FILE,
    RESULT_FILE,
    RunResult,
    from_here,
    read_result,
    write_atomically,
)

FINISHED = ("completed", "stopped_early", "diverged")
_MISSING = "(nothing)"


@dataclass(frozen=True)
class Job:
    """One job: its number, overrides as typed, folder, own command and settings, which are checked.

    `config`: Hydra's of it, pickled. `share_key`: the same for jobs that train alike as far as both go.
    """

    num: int
    overrides: tuple[str, ...]
    folder: Path
    command: str
    settings: TrainSettings
    config: bytes = b""
    share_key: str | None = None

    @property
    def max_epochs(self) -> int:
        return self.settings.trainer.max_epochs

    @cached_property
    def flat_settings(self) -> dict[str, Any]:
        """Plain values by dotted keys."""
        return flat(self.settings.model_dump(by_alias=True))

    @property
    def log_file(self) -> Path:
        return self.folder / "train.log"

    @property
    def last_checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FOLDER / LAST_CHECKPOINT

    @property
    def best_checkpoint(self) -> str:
        """Where it lies now; result.json says where the sweep was before it was moved."""
        return from_here(self.folder / CHECKPOINT_FOLDER / BEST_CHECKPOINT)

    def result(self) -> RunResult | None:
        """What it left; None if it has not ended, or was killed."""
        try:
            return read_result(self.folder)
        except ResultError:
            return None

    def is_finished(self) -> bool:
        """Whether there is nothing left to do, whatever came of it."""
        result = self.result()
        return result is not None and result.status in FINISHED

    def can_go_on(self) -> bool:
        """Whether it was interrupted, or killed, and left a checkpoint; a job that failed starts afresh."""
        result = self.result()
        return self.last_checkpoint.is_file() and (result is None or result.status == "interrupted")

    def clear(self) -> None:
        """Take away what an earlier try left, its log excepted."""
        for name in (RESULT_FILE, METRICS_FILE, "hparams.yaml"):
            (self.folder / name).unlink(missing_ok=True)
        for events in self.folder.glob("events.out.tfevents.*"):
            events.unlink()
        shutil.rmtree(self.folder / CHECKPOINT_FOLDER, ignore_errors=True)


@dataclass
class Sweep:
    """Jobs that share a folder. `states`: what this process knows beyond the jobs' files ("running", "failed").

    `overrides`: the command's, as typed.
    """

    folder: Path
    overrides: Sequence[str]
    jobs: list[Job] = field(default_factory=list)
    states: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    def add(self, jobs: Sequence[Job], *, resumes: bool) -> None:
        """Take in further jobs.

        Raises CommandError if the folder holds other jobs than these, or these and the sweep was not to be resumed.
        """
        check_folders([*self.jobs, *jobs])
        if resumes:
            check_unchanged(self.folder, jobs)
        else:
            for job in jobs:
                if (job.folder / RESULT_FILE).exists():
                    raise CommandError(
                        f"{job.folder} holds a run already. To go on with this sweep give "
                        f"sweep.resume={quoted(str(self.folder))}, else another hydra.sweep.dir"
                    )
        self.jobs += jobs

    def write_plan(self, to_run: Collection[int]) -> None:
        """`to_run`: the numbers of the jobs that this launch is to run, which `sweep.part` splits."""
        settings = [job.flat_settings for job in self.jobs]
        shared = {
            key: value
            for key, value in settings[0].items()
            if all(key in other and _same(other[key], value) for other in settings)
        }
        jobs = [
            {
                "num": job.num,
                "overrides": list(job.overrides),
                "folder": job.folder.name,
                "settings": {key: value for key, value in job.flat_settings.items() if key not in shared},
            }
            for job in self.jobs
        ]
        plan = {"words": list(self.overrides), "settings": shared, "jobs": jobs, "to_run": sorted(to_run)}
        write_atomically(self.folder / PLAN_FILE, json.dumps(plan, indent=1) + "\n")

    def rows(self) -> list[SweepRow]:
        """The table's rows, from the jobs' own files."""
        return [self._row(job) for job in self.jobs]

    def _row(self, job: Job) -> SweepRow:
        known = self.states.get(job.num)
        result = job.result() if known != "running" else None
        if result is not None and result.checkpoint_best is not None:
            result = replace(result, checkpoint_best=job.best_checkpoint)
        status = known or (result.status if result is not None else "missing")
        error = self.errors.get(job.num) or (result.error if result is not None else None)
        overrides = dict(override.lstrip("+~").partition("=")[::2] for override in job.overrides)
        return SweepRow(
            num=job.num,
            status=status,
            overrides=overrides,
            folder=job.folder.name,
            command=job.command,
            error=error if status not in FINISHED else None,
            result=result,
        )

    def write_tables(self) -> list[SweepRow]:
        """Write `sweep.csv` and `sweep.md`."""
        rows = self.rows()
        write_atomically(self.folder / CSV_FILE, sweep_csv(rows))
        write_atomically(
            self.folder / MARKDOWN_FILE, sweep_markdown(rows, f"{self.folder.parent.name}/{self.folder.name}")
        )
        return rows


def check_folders(jobs: Sequence[Job]) -> None:
    """Raises CommandError if two jobs would write into one folder."""
    owners: dict[Path, int] = {}
    for job in jobs:
        if owners.setdefault(job.folder, job.num) != job.num:
            raise CommandError(
                f"jobs {owners[job.folder]} and {job.num} would share the folder {job.folder}: "
                "let hydra.sweep.subdir hold ${hydra.job.num}"
            )


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What `sweep.json` holds; None where no sweep has begun. Raises CommandError."""
    path = folder / PLAN_FILE
    if not path.is_file():
        return None
    try:
        plan = json.loads(path.read_text())
    except ValueError as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    assert isinstance(plan, dict)
    return plan


def swept_keys(folder: Path, params: Mapping[str, Any]) -> list[str]:
    """The keys that the sweep in `folder` varies, by its overrides or its sweeper's `params`; none if there is none."""
    plan = read_plan(folder)
    return [] if plan is None else varied_keys(plan["words"], params)


def varied_keys(overrides: Sequence[str], params: Mapping[str, Any]) -> list[str]:
    """The keys that a sweep's overrides, or its sweeper's `params`, give several values."""
    _, swept = fixed_and_swept(overrides, dict(params))
    return [override.key_or_group for override in swept]


def check_unchanged(folder: Path, jobs: Sequence[Job]) -> None:
    """Raises CommandError, naming the differences, if jobs that the folder holds were told something else."""
    plan = read_plan(folder)
    if plan is None:
        return
    before = {job["num"]: job for job in plan["jobs"]}
    for job in jobs:
        if job.num not in before:
            continue
        earlier, now = plan["settings"] | before[job.num]["settings"], job.flat_settings
        differences = [
            f"{key} was {earlier.get(key, _MISSING)}, is {now.get(key, _MISSING)}"
            for key in dict.fromkeys([*earlier, *now])
            if not _same(earlier.get(key, _MISSING), now.get(key, _MISSING))
        ]
        if differences:
            raise CommandError(
                f"sweep.resume={folder}: job {job.num} ({before[job.num]['folder']}) has changed: "
                f"{'; '.join(differences)}. Give the settings that the sweep began with, or start another one"
            )
        if job.folder.name != before[job.num]["folder"]:
            raise CommandError(
                f"sweep.resume={folder}: job {job.num} had the folder {before[job.num]['folder']}, "
                f"now {job.folder.name}: give the overrides in their first order, or start another sweep"
            )


def _same(a: Any, b: Any) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return bool(a == b and type(a) is type(b)) or both_nan


def recorded_overrides(plan: Mapping[str, Any]) -> list[str]:
    """Those that a sweep was started with, without where it lay and what was asked of that launch alone."""
    of_a_launch = ("hydra.sweep.dir", "sweep.resume", "sweep.part", "sweep.dry_run")
    return [str(override) for override in plan["words"] if key_of(str(override)) not in of_a_launch]


def resumed_sweep(folder: Path, further: Sequence[str]) -> list[str]:
    """The overrides that a sweep was started with, `further` ones in their places, and where it goes on.

    If another launcher is chosen the settings of the one before are dropped. Raises CommandError.
    """
    plan = read_plan(folder)
    recorded = [] if plan is None else recorded_overrides(plan)
    if any(override.startswith("hydra/launcher=") and override not in recorded for override in further):
        recorded = [o for o in recorded if not o.lstrip("+").startswith("hydra.launcher.")]
    has_overrides = any(not override.startswith("-") for override in further)
    if not folder.is_dir():
        raise CommandError(f"sweep.resume={folder}: there is no such folder; give that of a sweep")
    if plan is None and not has_overrides:
        raise CommandError(f"sweep.resume={folder}: holds no {PLAN_FILE}, so no job of it began: start the sweep anew")
    overrides = {key_of(o): o for o in check_recorded(recorded, further, folder / PLAN_FILE)}
    overrides |= {key_of(o): o for o in further if o not in ("-m", "--multirun")}
    place = quoted(str(folder))
    return ["-m", *overrides.values(), f"sweep.resume={place}", f"hydra.sweep.dir={place}"]
