"""Splits a sweep's jobs into groups, one a task: as much work in each, and jobs that begin alike in one."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jsc.cli.settings import TrainSettings, changes_epoch_cost, values_where


@dataclass(frozen=True)
class Layout:
    """`num_workers`: of one machine. `num_tasks`: groups that go to a cluster's nodes, `num_at_once` at most."""

    num_workers: int
    num_tasks: int | None = None
    num_at_once: int = 1

    @property
    def num_side_by_side(self) -> int:
        return self.num_workers * self.num_at_once


def num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split(
    nums: Sequence[int],
    num_groups: int,
    settings: Mapping[int, TrainSettings],
    share_keys: Mapping[int, str | None],
) -> list[tuple[int, ...]]:
    """At most `num_groups` groups of job numbers, each in ascending order, none empty.

    Work is counted in epochs. Jobs of one kind (but for seeds, rates and such, the same epoch) are dealt out evenly,
    for an epoch of one kind may cost many times another's. `settings` is empty for tasks other than jsc.train.
    """
    units: dict[object, list[int]] = {}
    for num in nums:
        key = share_keys.get(num)
        units.setdefault(num if key is None else key, []).append(num)
    epochs = epochs_to_train({num: settings[num] for num in nums if num in settings}, share_keys)
    work = {unit[0]: sum(epochs.get(num, 1) for num in unit) for unit in units.values()}
    kinds = {unit[0]: repr(epoch_kind(settings[unit[0]])) if unit[0] in settings else "" for unit in units.values()}
    heaviest_first = sorted(units.values(), key=lambda unit: (-work[unit[0]], kinds[unit[0]], unit[0]))
    groups: list[list[int]] = [[] for _ in range(min(num_groups, len(heaviest_first)))]
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
        length, key = settings[num].trainer.max_epochs, share_keys.get(num)
        epochs[num] = length - (trained.get(key, 0) if key is not None else 0)
        if key is not None:
            trained[key] = length
    return epochs


def epoch_kind(settings: TrainSettings) -> dict[str, object]:
    """The same for runs whose epochs cost the same."""
    return values_where(changes_epoch_cost, settings)
