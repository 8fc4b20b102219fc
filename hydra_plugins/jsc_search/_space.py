"""What a search may choose from: overrides of Hydra's grammar as Optuna's distributions."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from jsc.errors import CommandError

Space = dict[str, BaseDistribution]


def space_of(overrides: Sequence[Override]) -> Space:
    """A distribution for each key, in their order. Raises CommandError."""
    return {override.get_key_element(): _distribution(override) for override in overrides}


def num_points(space: Space) -> float:
    """How many settings there are to choose from; infinite with an interval of real numbers."""
    return math.prod(_num_values(distribution) for distribution in space.values())


def variants(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """As many jobs as it takes to see every value that may be chosen once, each beside the others' first."""
    choices = [_choices(override) for override in overrides]
    first = [values[0] for values in choices]
    yield first
    for index, values in enumerate(choices):
        for value in values[1:]:
            yield [*first[:index], value, *first[index + 1 :]]


def _choices(override: Override) -> list[str]:
    """A list's values; an interval's ends."""
    key, value = override.get_key_element(), override.value()
    values = (value.start, value.end) if isinstance(value, IntervalSweep) else override.sweep_string_iterator()
    return [f"{key}={choice}" for choice in values]


def _distribution(override: Override) -> BaseDistribution:
    """interval(low,high): real numbers, or whole ones if both ends are. A list, or a range: its values."""
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            if value.tags - {"log"}:
                raise ValueError(f"tag {min(value.tags - {'log'})!r} means nothing here; allowed: log")
            ends: tuple[Any, Any] = (value.start, value.end)  # int or float, which Hydra does not tell apart
            kind = IntDistribution if all(isinstance(end, int) for end in ends) else FloatDistribution
            return kind(*ends, log="log" in value.tags)
        if isinstance(value, RangeSweep) and not value.shuffle and isinstance(steps := value.range(), range) and steps:
            return IntDistribution(min(steps), max(steps), step=abs(steps.step))
        return CategoricalDistribution(tuple(dict.fromkeys(override.sweep_string_iterator())))
    except ValueError as error:
        raise CommandError(f"{override.input_line}: {error}") from error


def _num_values(distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    assert isinstance(distribution, FloatDistribution)
    return 1 if distribution.single() else math.inf
