"""`sweep.dry_run=true`: the jobs, their folders, and how long they will take, from one measured epoch each kind."""

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jsc.cli import console
from jsc.cli.settings import TrainSettings
from jsc.results import read_metrics
from jsc.sweep.display import duration
from jsc.sweep.fork_server import Death, ask
from jsc.sweep.plan import Job, check_folders
from jsc.sweep.split import Layout, epoch_kind, epochs_to_train, split

log = logging.getLogger(__name__)


def dry_run(folder: Path, jobs: Sequence[Job], layout: Layout) -> None:
    """Print the plan and leave nothing behind. A job whose network kills its process is shown to take no time."""
    check_folders(jobs)
    epochs = epochs_to_train(jobs)
    kinds = {job.num: epoch_kind(job.settings) for job in jobs}
    one_each = {kinds[job.num]: job.settings for job in jobs}
    measured = dict(zip(one_each, ask(epoch_seconds, list(one_each.values())), strict=True))
    deaths = {kind: answer.how for kind, answer in measured.items() if isinstance(answer, Death)}
    seconds = {num: epochs[num] * _seconds(measured[kind]) for num, kind in kinds.items()}
    waiting = [job for job in jobs if not job.is_finished()]
    groups = split(waiting, layout.num_tasks or 1)
    task_of = {num: task for task, group in enumerate(groups) for num in group}
    rows: list[tuple[object, ...]] = []
    for job in jobs:
        shown = duration(seconds[job.num]) if seconds[job.num] >= 1 else f"{seconds[job.num]:.2f} s"
        row = (job.num, job.folder.name, deaths.get(kinds[job.num], shown) if job.num in task_of else "done")
        rows.append((*row, task_of.get(job.num)) if layout.num_tasks else row)
    columns = ("job", "folder", "training", "task") if layout.num_tasks else ("job", "folder", "training")
    log.info(console.table(f"Jobs in {os.path.relpath(folder)}", columns, rows))
    left = [sum(seconds[num] for num in group) / min(layout.num_workers, len(group)) for group in groups]
    in_all = makespan(left, layout.num_at_once)
    log.info(
        "%d jobs, %s of training on one core, about %s %s; from one epoch of each network and batch size, measured "
        "here. Nothing was trained.",
        len(jobs), duration(sum(seconds[job.num] for job in waiting)), duration(in_all), _machines(layout, groups),
    )  # fmt: skip


def _seconds(measured: float | Death) -> float:
    return 0.0 if isinstance(measured, Death) else measured


def _machines(layout: Layout, groups: Sequence[Sequence[int]]) -> str:
    if not layout.num_tasks:
        return f"on {min(layout.num_workers, max(map(len, groups), default=1))}"
    sizes = sorted({len(group) for group in groups}) or [0]
    size = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
    return (
        f"in {len(groups)} tasks of {size} jobs, {min(layout.num_at_once, len(groups))} at once with "
        f"{layout.num_workers} workers each"
    )


def makespan(seconds: Sequence[float], num_at_once: int) -> float:
    """When the last of tasks ends that begin in this order, so many at a time."""
    ends = [0.0] * max(1, min(num_at_once, len(seconds)))
    for length in seconds:
        ends.sort()
        ends[0] += length
    return max(ends)


def epoch_seconds(settings: TrainSettings) -> float:
    """One epoch's; another before it warms up. Called in a process of its own."""
    from jsc.run.training import train

    quiet = {
        "trainer": settings.trainer.model_copy(update={"max_epochs": 2}),
        "callbacks": {**settings.callbacks, "progress": None},
        "logger": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        train(settings.model_copy(update=quiet), folder=Path(folder), command="")
        seconds = [row.seconds for row in read_metrics(Path(folder))]
    return seconds[-1] - seconds[0] if len(seconds) > 1 else seconds[-1]
