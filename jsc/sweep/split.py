"""Splits a sweep's jobs into parts: as much work in each, and jobs that begin alike in one."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jsc.cli.settings import TrainSettings, changes_epoch_cost, values_where
from jsc.errors import CommandError
from jsc.sweep.plan import Job


@dataclass(frozen=True)
class Layout:
    """`num_workers`: of one machine. `num_tasks`: groups that go to a cluster's nodes, `num_at_once` at most."""

    num_workers: int
    num_tasks: int | None = None
    num_at_once: int = 1

    @property
    def num_side_by_side(self) -> int:
        return self.num_workers * self.num_at_once


@dataclass(frozen=True)
class Part:
    """`sweep.part=number/num_parts`, counted from 1."""

    number: int
    num_parts: int

    def __str__(self) -> str:
        return f"{self.number}/{self.num_parts}"


def read_part(text: str | None) -> Part | None:
    """None for a whole sweep. Raises CommandError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise CommandError(f"sweep.part={text}: give 3/20 for the third of twenty parts, 20/20 for the last")
    return Part(int(found[1]), int(found[2]))


def num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split(jobs: Sequence[Job], num_parts: int) -> list[tuple[int, ...]]:
    """At most `num_parts` groups of job numbers, each in ascending order, none empty.

    Work is counted in epochs. Jobs of one kind (but for seeds, rates and such, the same epoch) are dealt out evenly,
    for an epoch of one kind may cost many times another's. The same jobs are split the same way wherever they are.
    """
    units: dict[object, list[Job]] = {}
    for job in jobs:
        units.setdefault(job.num if job.share_key is None else job.share_key, []).append(job)
    epochs = epochs_to_train(jobs)

    def order(unit: Sequence[Job]) -> tuple[int, str, int]:
        return -sum(epochs[job.num] for job in unit), epoch_kind(unit[0].settings), unit[0].num

    groups: list[list[int]] = [[] for _ in range(min(num_parts, len(units)))]
    loads = [0] * len(groups)
    for unit in sorted(units.values(), key=order):  # the heaviest first
        lightest = loads.index(min(loads))
        groups[lightest] += [job.num for job in unit]
        loads[lightest] += sum(epochs[job.num] for job in unit)
    return sorted(tuple(sorted(group)) for group in groups)


def epochs_to_train(jobs: Iterable[Job]) -> dict[int, int]:
    """Each job's epochs, less those that it takes over from a shorter one."""
    trained: dict[str, int] = {}
    epochs = {}
    for job in sorted(jobs, key=lambda job: job.max_epochs):
        epochs[job.num] = job.max_epochs
        if job.share_key is not None:
            epochs[job.num] -= trained.get(job.share_key, 0)
            trained[job.share_key] = job.max_epochs
    return epochs


def epoch_kind(settings: TrainSettings) -> str:
    """The same for runs whose epochs cost the same."""
    return repr(values_where(changes_epoch_cost, settings))
