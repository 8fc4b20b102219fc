"""Which weights are there at all: random inputs for each output (LogicNets), and pruning by magnitude."""

import numpy as np
import torch
from torch import Tensor

from jsc.quantization.layers import QuantizedNetwork


def fan_in_mask(*, num_in: int, num_out: int, fan_in: int, seed: int, layer: int) -> Tensor:
    """Bool [num_out, num_in] with `fan_in` True in each row, all if there are no more (LogicNets, arXiv 2004.03021).

    Drawn for the layer of that number from `seed`, the same on every machine.
    """
    generator = np.random.default_rng([seed, layer])
    mask = np.zeros((num_out, num_in), dtype=np.bool_)
    for row in mask:
        row[generator.choice(num_in, min(fan_in, num_in), replace=False)] = True
    return torch.from_numpy(mask)


def density_at(progress: float, *, prune_to: float, until: float) -> float:
    """The part of the weights that is left at `progress`, 0 to 1, of a fit: 1 at its start, `prune_to` from `until` on.

    prune_to + (1 - prune_to) * (1 - progress / until)^3: fast while much is left (Zhu and Gupta, arXiv 1710.01878).
    """
    return prune_to + (1.0 - prune_to) * (1.0 - min(progress / until, 1.0)) ** 3


@torch.no_grad()
def prune(network: QuantizedNetwork, density: float) -> None:
    """Leave in each layer that part of the connections that it began with, rounded half up, at least one: the largest.

    What was pruned stays so. Of equal magnitudes the first in memory stay.
    """
    for _, _, linear in network.linears():
        num_left = max(1, int(density * linear.num_connections + 0.5))
        size = torch.where(linear.mask, linear.weight.abs(), -1.0).flatten()
        left = torch.zeros_like(linear.mask).flatten()
        left[torch.sort(size, descending=True, stable=True).indices[:num_left]] = True
        linear.mask &= left.view_as(linear.mask)
