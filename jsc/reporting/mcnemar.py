"""McNemar's test of two classifiers on the same jets (McNemar, Psychometrika 12, 153, 1947), in its exact form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054  # the standard normal's 97.5 % quantile


@dataclass(frozen=True)
class McNemar:
    """`only_a`: jets that A alone has right; `only_b`: those that B alone has right; `num_jets`: all jets."""

    only_a: int
    only_b: int
    num_jets: int

    @property
    def p_value(self) -> float:
        """Two-sided exact binomial probability, were both right equally often."""
        from scipy.special import bdtr  # half a second to import, and only needed here

        discordant = self.only_a + self.only_b
        if discordant == 0:
            return 1.0
        return min(1.0, 2.0 * float(bdtr(min(self.only_a, self.only_b), discordant, 0.5)))

    @property
    def difference(self) -> float:
        """Accuracy of B minus accuracy of A."""
        return (self.only_b - self.only_a) / self.num_jets

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wald interval of the difference of paired proportions."""
        discordant, net = self.only_a + self.only_b, self.only_b - self.only_a
        half_width = Z_95 * math.sqrt(discordant - net**2 / self.num_jets) / self.num_jets
        return self.difference - half_width, self.difference + half_width


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values of several tests by Holm's step-down method, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
