"""The scores of a test: from logits to a confusion matrix and each class's precision, recall and AUC.

Shapes: N jets, C classes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_auroc, multiclass_confusion_matrix

from jsc.results import ClassScores


def confusion_matrix(logits_NC: Tensor, labels_N: Tensor) -> list[list[int]]:
    """`[i][j]`: how many jets of class i were called class j."""
    matrix = multiclass_confusion_matrix(logits_NC, labels_N, num_classes=logits_NC.shape[1])
    return [[int(cell) for cell in row] for row in matrix]


def class_scores(logits_NC: Tensor, labels_N: Tensor, class_names: Sequence[str]) -> list[ClassScores]:
    """Each class against the rest; the AUC ranks jets by their softmax probability of the class."""
    num_classes = len(class_names)
    confusion = torch.tensor(confusion_matrix(logits_NC, labels_N))
    hits_C, true_C, called_C = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    auc_C = multiclass_auroc(logits_NC.softmax(1), labels_N, num_classes=num_classes, average=None)
    assert auc_C is not None
    return [
        ClassScores(
            name=name,
            num_jets=int(true_C[c]),
            precision=_ratio(hits_C[c], called_C[c]),
            recall=_ratio(hits_C[c], true_C[c]),
            auc=auc if math.isfinite(auc := float(auc_C[c])) else None,
        )
        for c, name in enumerate(class_names)
    ]


def _ratio(part: Tensor, whole: Tensor) -> float | None:
    return int(part) / int(whole) if whole else None


def never_predicted(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[str]:
    """Classes that no jet was called; a ReLU on the logits can kill one."""
    return [name for c, name in enumerate(class_names) if not any(row[c] for row in confusion)]
