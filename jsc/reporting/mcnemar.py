"""McNemar's test of two classifiers on the same jets (McNemar, Psychometrika 12, 153, 1947), in its exact form."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class McNemar:
    """`only_a`: jets that A alone has right; `only_b`: those that B alone has right; `num_jets`: all jets."""

    only_a: int
    only_b: int
    num_jets: int

    @property
    def p_value(self) -> float:
        """Two-sided exact binomial probability, were both right equally often."""
        import scipy.stats  # half a second to import, and only needed here

        discordant = self.only_a + self.only_b
        return float(scipy.stats.binomtest(self.only_a, discordant).pvalue) if discordant else 1.0

    @property
    def difference(self) -> float:
        """Accuracy of B minus accuracy of A."""
        return (self.only_b - self.only_a) / self.num_jets

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wald interval of the difference of paired proportions."""
        discordant, net = self.only_a + self.only_b, self.only_b - self.only_a
        error = math.sqrt(discordant - net**2 / self.num_jets) / self.num_jets
        half_width = statistics.NormalDist().inv_cdf(0.975) * error
        return self.difference - half_width, self.difference + half_width


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values of several tests by Holm's step-down method, in the order given."""
    order = np.argsort(p_values, kind="stable")
    in_order = np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(in_order, 1.0)
    return [float(p_value) for p_value in adjusted]
