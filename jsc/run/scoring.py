"""The scores of a test: from logits to a confusion matrix and each class's precision, recall and AUC.

Shapes: N jets, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jsc.results import ClassScores


def confusion_matrix(called_N: Tensor, labels_N: Tensor, num_classes: int) -> list[list[int]]:
    """`[i][j]`: how many jets of class i were called class j, of those that the network can call."""
    counts = torch.bincount(labels_N * num_classes + called_N, minlength=num_classes**2)
    matrix: list[list[int]] = counts.reshape(num_classes, num_classes).tolist()
    return matrix


def class_scores(
    logits_NC: Tensor, labels_N: Tensor, confusion: Sequence[Sequence[int]], class_names: Sequence[str]
) -> list[ClassScores]:
    """Each class against the rest; the AUC ranks jets by their softmax probability of the class."""
    confusion_CC = torch.tensor(confusion)
    hits_C, true_C, called_C = confusion_CC.diagonal(), confusion_CC.sum(1), confusion_CC.sum(0)
    probabilities_CN = logits_NC.T.contiguous().softmax(0).numpy()  # over rows it takes five times as long
    return [
        ClassScores(
            name=name,
            num_jets=int(true_C[c]),
            precision=_ratio(hits_C[c], called_C[c]),
            recall=_ratio(hits_C[c], true_C[c]),
            auc=area_under_roc(probabilities_CN[c], (labels_N == c).numpy()),
        )
        for c, name in enumerate(class_names)
    ]


def area_under_roc(scores_N: npt.NDArray[np.float32], is_positive_N: npt.NDArray[np.bool_]) -> float | None:
    """How often a positive scores above a negative, ties counted half: Mann and Whitney's U; None without both.

    Scores must not be negative: then they are ordered as their bits are, and one sort of integers that bear a jet's
    score, and in the lowest bit which kind it is, takes a third of the time of sorting both kinds.
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


def _ratio(part: Tensor, whole: Tensor) -> float | None:
    return int(part) / int(whole) if whole else None


def never_predicted(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[str]:
    """Classes that no jet was called; a ReLU on the logits can kill one."""
    return [name for c, name in enumerate(class_names) if not any(row[c] for row in confusion)]
