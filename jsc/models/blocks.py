"""Layers that the networks of this field share."""

from itertools import pairwise

from torch import nn


def normalized(*widths: int) -> list[nn.Module]:
    """BatchNorm and ReLU of `widths[0]` inputs; then, for each further width, a Linear with both behind it."""
    layers: list[nn.Module] = [nn.BatchNorm1d(widths[0]), nn.ReLU()]
    for num_in, num_out in pairwise(widths):
        layers += [nn.Linear(num_in, num_out), nn.BatchNorm1d(num_out), nn.ReLU()]
    return layers
