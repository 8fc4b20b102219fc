"""The order in which an epoch visits the training jets: a permutation drawn from (seed, epoch) alone.

Compiled, because shuffling a million row numbers with NumPy takes longer than training a tiny network on them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jsc.engine.compilation import Compiled
from jsc.engine.vectors import prefetch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = (np.uint64(s) for s in (27, 30, 31, 32))
_PLACES = 64  # drawn at a time


def shuffle(order_N: npt.NDArray[np.int64], left_N: npt.NDArray[np.int32], key: np.uint64) -> None:
    """Fisher and Yates: from the last place to the first, each takes one of the jets that are left."""
    for i in range(len(order_N)):
        left_N[i] = np.int32(i)
    for end in range(len(order_N), 0, -_PLACES):
        first = max(0, end - _PLACES)
        for place in range(end - 1, first - 1, -1):  # draw some, so that main memory works on all of them at once
            # splitmix64 (Steele, Lea and Flood 2014): 64 random bits of a key and a counter, the upper half used.
            bits = key + np.uint64(place) * _GOLDEN
            bits = (bits ^ (bits >> _S30)) * _MIX_1
            bits = (bits ^ (bits >> _S27)) * _MIX_2
            bits = (bits ^ (bits >> _S31)) >> _S32
            order_N[place] = np.int64((bits * np.uint64(place + 1)) >> _S32)
            prefetch(left_N, order_N[place])
        for place in range(end - 1, first - 1, -1):
            taken = order_N[place]
            order_N[place] = left_N[taken]
            left_N[taken] = left_N[place]


_shuffle = Compiled("the shuffle", shuffle)


class EpochOrder:
    """Bears the `set_epoch` that Lightning calls on samplers."""

    def __init__(self, num_jets: int, *, seed: int) -> None:
        self.num_jets = num_jets
        self.seed = seed
        self.epoch = 0
        self._left_N: npt.NDArray[Any] = np.empty(num_jets, np.int32)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def rows_N(self) -> Tensor:  # noqa: N802  # bears its shape
        """int64 [N], on the CPU, so that every device visits the jets in the same order."""
        # NumPy hashes both numbers into the key: epoch 1 of seed 0 must not be epoch 0 of seed 1.
        key = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)[0]
        order_N = np.empty(self.num_jets, np.int64)
        _shuffle(order_N.dtype, order_N, self._left_N, key)
        return torch.from_numpy(order_N)
