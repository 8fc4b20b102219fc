"""Scoring a network on the test split; the last step of training and `python -m jsc.test` share it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from jsc.datasets import PreparedJets, restandardised
from jsc.datasets.datamodule import JetDataModule
from jsc.errors import CheckpointError
from jsc.fit.lightning_noise import quieten_lightning
from jsc.fit.task import JetClassifier
from jsc.models import num_macs, num_parameters
from jsc.results import PREDICTIONS_FILE, TEST_FILE, TestResult, beside, write_predictions, write_record
from jsc.run.scoring import class_scores, confusion_matrix, never_predicted


def score_model(
    task: JetClassifier,
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

    `checkpoint` names the weights that `task` holds already. `warnings` are what its user should know of the test.
    """
    labels_N = torch.from_numpy(jets.labels_N[jets.rows_of("test")]).long()
    if task.plan is None:
        logits_NC, loss, accuracy = _score_by_torch(task, jets, accelerator, precision)
    else:
        logits_NC, loss, accuracy = _score_fused(task, jets)
    called_N = logits_NC.argmax(1)
    confusion = confusion_matrix(called_N, labels_N, logits_NC.shape[1])
    silent = never_predicted(confusion, jets.class_names)
    if silent:
        died = (
            f"{model_name} called no test jet {' or '.join(silent)}: the logits of a class can die, under a ReLU above "
            "all; try another seed, or a network without a ReLU on its logits (jsc-tiny-x10, jsc-mlp)."
        )
        warnings = [*warnings, died]
    result = TestResult(
        checkpoint=str(checkpoint),
        model=model_name,
        num_parameters=num_parameters(task.model),
        num_macs=num_macs(task.model, num_features=jets.x_NF.shape[1]),
        dataset=dataset_name,
        dataset_variant=jets.variant,
        dataset_sha256=jets.sha256,
        num_test=jets.num_test,
        test_loss=loss,
        test_acc=accuracy,
        class_names=list(jets.class_names),
        classes=class_scores(logits_NC, labels_N, confusion, jets.class_names),
        confusion=confusion,
        never_predicted=silent,
        warnings=list(warnings),
    )
    write_record(beside(checkpoint, TEST_FILE), result)
    write_predictions(beside(checkpoint, PREDICTIONS_FILE), labels_N=labels_N.numpy(), predicted_N=called_N.numpy())
    return result


def _score_by_torch(
    task: JetClassifier, jets: PreparedJets, accelerator: str, precision: Any
) -> tuple[Tensor, float, float]:
    """(float32 logits [N, C], mean loss, accuracy)"""
    quieten_lightning()
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.test(task, datamodule=JetDataModule(jets, batch_size=2, seed=0), verbose=False)
    return torch.cat(task.test_logits).float().cpu(), task.latest["test_loss"], task.latest["test_acc"]


def _score_fused(task: JetClassifier, jets: PreparedJets) -> tuple[Tensor, float, float]:
    """The same without a Trainer, which takes longer to build than the test takes."""
    rows = jets.rows_of("test")
    evaluation = task.evaluate_fused(jets.x_NF[rows], jets.labels_N[rows], with_logits=True)
    assert evaluation.logits_NC is not None
    accuracy = evaluation.num_correct / jets.num_test
    return torch.from_numpy(evaluation.logits_NC).float(), evaluation.loss, accuracy


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
