"""Values that seeds gave, and what may be said of their mean."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """The values of one score over the seeds of one configuration."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        """NaN of an empty sample."""
        return math.fsum(self.values) / self.n if self.values else math.nan

    @property
    def deviation(self) -> float | None:
        """The standard deviation with n - 1 in the denominator; None of fewer than two values."""
        if self.n < 2:
            return None
        mean = self.mean
        return math.hypot(*(value - mean for value in self.values)) / math.sqrt(self.n - 1)

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """The Student t interval of the mean; None of fewer than two values."""
        deviation = self.deviation
        if deviation is None:
            return None
        half_width = student_t(confidence, self.n - 1) * deviation / math.sqrt(self.n)
        return self.mean - half_width, self.mean + half_width


def sample(values: Sequence[float | None]) -> Sample:
    """Those of the values that are numbers."""
    return Sample(tuple(value for value in values if value is not None and math.isfinite(value)))


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two intervals share a point."""
    return one[0] <= other[1] and other[0] <= one[1]


@functools.cache
def student_t(confidence: float, degrees: int) -> float:
    """The two-sided quantile of Student's t distribution."""
    from scipy.special import stdtrit  # half a second to import, and only needed where there are seeds

    return float(stdtrit(degrees, (1.0 + confidence) / 2.0))
