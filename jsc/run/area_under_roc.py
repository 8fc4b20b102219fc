"""The area under a class's ROC curve, exactly.

torchmetrics has it too: of 20,000 jets and five classes in 16 to 25 ms, where this takes 1. With it a job of one epoch,
35 ms of a core, and a sweep of a thousand of them, takes a third longer (measured 2026-11-25, torchmetrics 1.9.0).
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def area_under_roc(scores_N: npt.NDArray[np.float32], is_positive_N: npt.NDArray[np.bool_]) -> float | None:
    """How often a positive scores above a negative, ties counted half: Mann and Whitney's U; None without both.

    Scores (float32 [N]) must not be negative: then they are ordered as their bits are, and one sort of integers that
    bear a jet's score, and in the lowest bit which kind it is, takes a third of the time of sorting both kinds.
    """
    num_positives = int(is_positive_N.sum())
    num_pairs = num_positives * (len(scores_N) - num_positives)
    if not num_pairs or not np.isfinite(scores_N).all():
        return None
    bits_N = scores_N.view(np.uint32) << np.uint32(1)
    won_or_tied = _pairs_in_order(bits_N | is_positive_N, positive=1)
    won = _pairs_in_order(bits_N | ~is_positive_N, positive=0)
    return (won + won_or_tied) / (2 * num_pairs)


def _pairs_in_order(keys_N: npt.NDArray[Any], *, positive: int) -> int:
    """In how many pairs the negative's key comes first; `positive`: the lowest bit of a positive's."""
    places_P = np.flatnonzero((np.sort(keys_N) & 1) == positive)
    return int(places_P.sum()) - len(places_P) * (len(places_P) - 1) // 2
