"""Values that seeds gave, and what may be said of their mean."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from jsc.reporting.wording import NONE, figure


@dataclass(frozen=True)
class Sample:
    """The values of one score over the seeds of one configuration."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Sample":
        """Those of the values that are numbers."""
        return cls(tuple(value for value in values if value is not None and math.isfinite(value)))

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        """NaN of an empty sample."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float | None:
        """The standard deviation with n - 1 in the denominator; None of fewer than two values."""
        return statistics.stdev(self.values) if self.n > 1 else None

    def shown(self, name: str, n: int) -> str:
        """0.7166 ± 0.0012; one seed stands without a deviation; a number of seeds other than `n` is said.

        `name` is that of the field of `result.json`.
        """
        if not self.n:
            return NONE
        deviation = "" if self.deviation is None else f" ± {figure(name, self.deviation)}"
        return f"{figure(name, self.mean)}{deviation}" + (f" (n = {self.n})" if self.n != n else "")

    def interval(self, confidence: float) -> tuple[float, float]:
        """The Student t interval of the mean of two values or more."""
        import scipy.stats  # half a second to import, and only needed where there are seeds

        assert self.deviation is not None, "one seed has no interval"
        low, high = scipy.stats.t.interval(confidence, self.n - 1)
        error = self.deviation / math.sqrt(self.n)
        return self.mean + float(low) * error, self.mean + float(high) * error
