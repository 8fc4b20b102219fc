"""The order in which an epoch visits the training jets: a permutation drawn from (seed, epoch) alone.

Compiled, because shuffling a million row numbers with NumPy takes longer than training on them. Jets are first dealt
out at random into piles that fit a core's first cache, then each pile is shuffled (Rao 1961, Sandelius 1962): every
memory access is near the one before, and every order is equally likely.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

JETS_A_PILE = 2048  # 16 kB of row numbers

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = (np.uint64(s) for s in (27, 30, 31, 32))


def _compiled(function: Any) -> Any:
    """Compiled at first use, then kept on disk where there is a folder that can be written to."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # no such folder
        return numba.njit(function, nogil=True)


def _random_bits(key: np.uint64, counter: np.uint64) -> np.uint64:
    """splitmix64 (Steele, Lea and Flood 2014): 64 random bits of a key and a counter."""
    bits = key + counter * _GOLDEN
    bits = (bits ^ (bits >> _S30)) * _MIX_1
    bits = (bits ^ (bits >> _S27)) * _MIX_2
    return bits ^ (bits >> _S31)


_bits = _compiled(_random_bits)


@_compiled
def _shuffle(
    order_N: npt.NDArray[np.int64], pile_N: npt.NDArray[np.int32], ends_P: npt.NDArray[np.int64], key: np.uint64
) -> None:
    num_jets, num_piles = len(order_N), np.uint64(len(ends_P))
    for i in range(num_jets):
        pile_N[i] = np.int32(((_bits(key, np.uint64(i)) >> _S32) * num_piles) >> _S32)
        ends_P[pile_N[i]] += 1
    total = 0
    for p in range(len(ends_P)):
        size = ends_P[p]
        ends_P[p] = total
        total += size
    for i in range(num_jets):
        order_N[ends_P[pile_N[i]]] = i
        ends_P[pile_N[i]] += 1
    start = 0
    for p in range(len(ends_P)):
        for last in range(ends_P[p] - 1, start, -1):
            bits = _bits(key, np.uint64(num_jets + last)) >> _S32
            j = start + np.int64((bits * np.uint64(last - start + 1)) >> _S32)
            order_N[last], order_N[j] = order_N[j], order_N[last]
        start = ends_P[p]


class EpochOrder:
    """Bears the `set_epoch` that Lightning calls on samplers."""

    def __init__(self, num_jets: int, *, seed: int) -> None:
        self.num_jets = num_jets
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def rows_N(self) -> Tensor:  # noqa: N802  # bears its shape
        """int64 [N], on the CPU, so that every device visits the jets in the same order."""
        # NumPy hashes both numbers into the key: epoch 1 of seed 0 must not be epoch 0 of seed 1.
        key = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)[0]
        order_N = np.empty(self.num_jets, np.int64)
        num_piles = max(1, self.num_jets // JETS_A_PILE)
        _shuffle(order_N, np.empty(self.num_jets, np.int32), np.zeros(num_piles, np.int64), key)
        return torch.from_numpy(order_N)
