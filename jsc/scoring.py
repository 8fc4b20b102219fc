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


def area_under_roc(scores_N: npt.NDArray[Any], is_positive_N: npt.NDArray[np.bool_]) -> float | None:
    """How often a positive scores above a negative, ties counted half: Mann and Whitney's U; None without both."""
    positives, negatives = np.sort(scores_N[is_positive_N]), np.sort(scores_N[~is_positive_N])
    num_pairs = len(positives) * len(negatives)
    if not num_pairs or not np.isfinite(scores_N).all():
        return None
    won, won_or_tied = (int(np.searchsorted(negatives, positives, side).sum()) for side in ("left", "right"))
    return (won + won_or_tied) / (2 * num_pairs)


def _ratio(part: Tensor, whole: Tensor) -> float | None:
    return int(part) / int(whole) if whole else None


def never_predicted(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[str]:
    """Classes that no jet was called; a ReLU on the logits can kill one."""
    return [name for c, name in enumerate(class_names) if not any(row[c] for row in confusion)]
