"""Scoring a network on the test split; the last step of training and `python -m jsc.test` share it.

Shapes: N jets, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jsc.datasets import PreparedJets, restandardised
from jsc.errors import CheckpointError
from jsc.fit.engine import Engine
from jsc.models import num_macs, num_parameters
from jsc.results import PREDICTIONS_FILE, TEST_FILE, ClassScores, TestResult, beside, write_predictions, write_record
from jsc.run.area_under_roc import area_under_roc


def score_model(
    model: nn.Module,
    engine: Engine,
    jets: PreparedJets,
    *,
    checkpoint: Path,
    model_name: str,
    dataset_name: str,
    accelerator: str,
    precision: Any,
    warnings: Sequence[str] = (),
) -> TestResult:
    """Score the test split on one device; write TEST_FILE and PREDICTIONS_FILE `beside` the checkpoint.

    `checkpoint` names the weights that `model`, which is the engine's, holds already. `warnings` are what its user
    should know of the test.
    """
    rows = jets.rows_of("test")
    x_NF, labels_N = torch.from_numpy(jets.x_NF[rows]), torch.from_numpy(jets.labels_N[rows])
    sums_3, logits_NC = engine.test(x_NF, labels_N, accelerator=accelerator, precision=precision)
    confusion_CC = confusion_of(logits_NC, labels_N)
    silent = [name for c, name in enumerate(jets.class_names) if not confusion_CC[:, c].any()]
    if silent:
        died = (
            f"{model_name} predicted {' or '.join(silent)} for no test jet: the logits of a class can die, under a "
            "ReLU above all; try another seed, or a network without a ReLU on its logits (jsc-tiny-x10, jsc-mlp)."
        )
        warnings = [*warnings, died]
    result = TestResult(
        checkpoint=str(checkpoint),
        model=model_name,
        num_parameters=num_parameters(model),
        num_macs=num_macs(model, num_features=jets.num_features),
        dataset=dataset_name,
        dataset_variant=jets.variant,
        dataset_sha256=jets.sha256,
        num_test=jets.num_test,
        test_loss=float(sums_3[0]) / jets.num_test,
        test_acc=int(confusion_CC.diagonal().sum()) / jets.num_test,
        class_names=list(jets.class_names),
        classes=class_scores(logits_NC, labels_N, confusion_CC, jets.class_names),
        confusion=confusion_CC.tolist(),
        never_predicted=silent,
        warnings=list(warnings),
    )
    write_record(beside(checkpoint, TEST_FILE), result)
    path = beside(checkpoint, PREDICTIONS_FILE)
    write_predictions(path, labels_N=labels_N.numpy(), predicted_N=logits_NC.argmax(1).numpy())
    return result


def confusion_of(logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """int64 [C, C]: how many jets of each true class (row) were predicted to be of each class (column)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    confusion_CC: Tensor = multiclass_confusion_matrix(logits_NC.argmax(1), labels_N.long(), logits_NC.shape[1])
    return confusion_CC


def class_scores(
    logits_NC: Tensor, labels_N: Tensor, confusion_CC: Tensor, class_names: Sequence[str]
) -> list[ClassScores]:
    """Each class against the rest; the AUC ranks jets by their softmax probability of the class."""
    hits_C, true_C, predicted_C = confusion_CC.diagonal(), confusion_CC.sum(1), confusion_CC.sum(0)
    probabilities_CN = logits_NC.float().T.contiguous().softmax(0).numpy()  # over rows it takes five times as long
    return [
        ClassScores(
            name=name,
            num_jets=int(true_C[c]),
            precision=_ratio(hits_C[c], predicted_C[c]),
            recall=_ratio(hits_C[c], true_C[c]),
            auc=area_under_roc(probabilities_CN[c], (labels_N == c).numpy()),
        )
        for c, name in enumerate(class_names)
    ]


def _ratio(part: Tensor, whole: Tensor) -> float | None:
    return int(part) / int(whole) if whole else None


def as_trained_on(jets: PreparedJets, trained: Mapping[str, Any]) -> tuple[PreparedJets, list[str]]:
    """Jets in the standardisation that a network was trained with, and what its user should know of the difference.

    `trained` is a checkpoint's hyperparameters. Raises CheckpointError if features or classes are others.
    """
    for what, now in (("feature_names", jets.feature_names), ("class_names", jets.class_names)):
        if list(now) != list(trained[what]):
            raise CheckpointError(
                f"the network was trained on {what.replace('_', ' ')} {', '.join(trained[what])}; "
                f"these jets have {', '.join(now)}: give the data set that it belongs to"
            )
    warnings = []
    if jets.variant != trained["dataset_variant"]:
        warnings.append(
            f"the network was trained on jets of variant {trained['dataset_variant']} and is tested on {jets.variant}: "
            "scores on different variants do not compare"
        )
    elif jets.sha256 != trained["dataset_sha256"]:
        warnings.append(
            "the network was trained on another file of these jets: its training jets may be among the test's"
        )
    mean_F, std_F = (np.asarray(trained[key], dtype=np.float64) for key in ("feature_mean", "feature_std"))
    return restandardised(jets, mean_F=mean_F, std_F=std_F), warnings
