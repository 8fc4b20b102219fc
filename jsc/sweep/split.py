"""Splits a sweep's jobs into parts: as much work in each, and jobs that begin alike in one."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jsc.cli.settings import TrainSettings, changes_epoch_cost, values_where
from jsc.errors import CommandError


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


def split(
    nums: Sequence[int],
    num_parts: int,
    settings: Mapping[int, TrainSettings],
    share_keys: Mapping[int, str | None],
) -> list[tuple[int, ...]]:
    """At most `num_parts` groups of job numbers, each in ascending order, none empty.

    Work is counted in epochs. Jobs of one kind (but for seeds, rates and such, the same epoch) are dealt out evenly,
    for an epoch of one kind may cost many times another's. The same jobs are split the same way wherever they are.
    """
    units: dict[object, list[int]] = {}
    for num in nums:
        key = share_keys[num]
        units.setdefault(num if key is None else key, []).append(num)
    epochs = epochs_to_train({num: settings[num] for num in nums}, share_keys)
    work = {unit[0]: sum(epochs[num] for num in unit) for unit in units.values()}
    kinds = {unit[0]: repr(epoch_kind(settings[unit[0]])) for unit in units.values()}
    heaviest_first = sorted(units.values(), key=lambda unit: (-work[unit[0]], kinds[unit[0]], unit[0]))
    groups: list[list[int]] = [[] for _ in range(min(num_parts, len(heaviest_first)))]
    loads = [0] * len(groups)
    for unit in heaviest_first:
        lightest = loads.index(min(loads))
        groups[lightest] += unit
        loads[lightest] += work[unit[0]]
    return sorted(tuple(sorted(group)) for group in groups)


def epochs_to_train(settings: Mapping[int, TrainSettings], share_keys: Mapping[int, str | None]) -> dict[int, int]:
    """Each job's epochs, less those that it takes over from a shorter one."""
    trained: dict[str, int] = {}
    epochs = {}
    for num in sorted(settings, key=lambda num: settings[num].trainer.max_epochs):
        length, key = settings[num].trainer.max_epochs, share_keys[num]
        epochs[num] = length - (trained.get(key, 0) if key is not None else 0)
        if key is not None:
            trained[key] = length
    return epochs


def epoch_kind(settings: TrainSettings) -> dict[str, object]:
    """The same for runs whose epochs cost the same."""
    return values_where(changes_epoch_cost, settings)
