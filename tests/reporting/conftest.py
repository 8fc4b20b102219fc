"""Run folders as training leaves them, with plausible learning curves, written through jsc.results."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from jsc import results
from jsc.results import ClassScores, EpochMetrics, RunResult, TestResult

CLASSES = ["g", "q", "w", "z", "t"]
SIZES = {"jsc-tiny": (127, 105), "jsc-medium": (1407, 1192), "jsc-tiny-x10": (1997, 1765), "jsc-mlp": (4389, 4256)}
CEILING = {"jsc-tiny": 0.71, "jsc-medium": 0.722, "jsc-tiny-x10": 0.725, "jsc-mlp": 0.735}
NUM_TRAIN, NUM_VAL, NUM_TEST = 72_000, 8_000, 2_000
LABELS_N = np.random.default_rng(0).permutation(np.repeat(np.arange(5), NUM_TEST // 5))

RunWriter = Callable[..., Path]


def write_run(
    folder: Path,
    *,
    model: str = "jsc-tiny",
    lr: float = 1e-3,
    batch_size: int = 256,
    max_epochs: int = 20,
    epochs_run: int | None = None,
    seed: int = 1,
    status: results.Status = "completed",
    overfit_from: int | None = None,
    variant: str = "pythia8",
    options: dict[str, object] | None = None,
    tested: bool = True,
    started_at: str = "2026-01-01T00:00:00",
    **changes: object,
) -> Path:
    """Write one run. `changes` replace fields of result.json; `options` are further keys of the configuration."""
    rng = np.random.default_rng([seed, batch_size, max_epochs, int(-10 * math.log10(lr)), *model.encode()])
    epochs_run = max_epochs if epochs_run is None else epochs_run
    rows = _curves(rng, model, lr, batch_size, epochs_run, overfit_from, diverges=status == "diverged")
    results.write_metrics(folder, rows)
    finished = status in ("completed", "stopped_early")
    best = min(rows, key=lambda row: row.val_loss) if finished else None
    accuracy = CEILING[model] - 2.0 * (0.74 - rows[-1].val_acc if rows and rows[-1].val_acc else 0.0) * 0.5
    test = _test(rng, model, max(0.25, accuracy), variant) if finished and tested else None
    values: dict[str, object] = {
        "status": status,
        "error": "RuntimeError: out of memory" if status == "failed" else None,
        "model": model,
        "num_parameters": SIZES[model][0],
        "dataset": "jsc_sample",
        "dataset_variant": variant,
        "dataset_sha256": "ab" * 32 if variant == "pythia8" else "cd" * 32,
        "num_train": NUM_TRAIN,
        "num_val": NUM_VAL,
        "num_test": NUM_TEST,
        "optimizer": "adam",
        "lr": lr,
        "weight_decay": 0.0,
        "scheduler": "none",
        "batch_size": batch_size,
        "max_epochs": max_epochs,
        "epochs_run": epochs_run,
        "seed": seed,
        "engine": "fused",
        "device": "cpu",
        "train_loss": best.train_loss if best else None,
        "train_acc": best.train_acc if best else None,
        "val_loss": best.val_loss if best else None,
        "val_acc": best.val_acc if best else None,
        "test_loss": test[0].test_loss if test else None,
        "test_acc": test[0].test_acc if test else None,
        "never_predicted": [],
        "best_epoch": best.epoch if best else None,
        "fit_seconds": rows[-1].seconds if rows else 0.0,
        "total_seconds": (rows[-1].seconds if rows else 0.0) + 1.0,
        "jets_per_second": 1e6,
        "checkpoint_best": "checkpoints/best.ckpt" if finished else None,
        "checkpoint_last": "checkpoints/last.ckpt",
        "command": f"python -m jsc.train model={model.replace('-', '_')} optimizer.lr={lr} seed={seed}",
        "versions": {"jsc": "0.1.0"},
        "started_at": started_at,
        "host": "reference",
        "warnings": [],
    }
    results.write_record(folder / results.RESULT_FILE, RunResult(**{**values, **changes}))  # type: ignore[arg-type]
    if test is not None:
        checkpoints = folder / results.CHECKPOINT_FOLDER
        results.write_record(checkpoints / results.TEST_FILE, test[0])
        results.write_predictions(checkpoints / results.PREDICTIONS_FILE, labels_N=LABELS_N, predicted_N=test[1])
        (checkpoints / results.BEST_CHECKPOINT).write_bytes(b"weights")
    _write_config(folder, model, lr, batch_size, max_epochs, seed, options or {})
    return folder


def _curves(rng, model, lr, batch_size, num_epochs, overfit_from, *, diverges) -> list[EpochMetrics]:
    steps_an_epoch = math.ceil(NUM_TRAIN / batch_size)
    ceiling = CEILING[model] - (0.12 * max(0.0, math.log10(lr / 1e-2)) if lr > 1e-2 else 0.0)
    rows = []
    for epoch in range(num_epochs):
        progress = 1.0 - math.exp(-(((epoch + 1) * steps_an_epoch * lr / 0.25) ** 0.5))
        acc = 0.2 + (ceiling - 0.2) * progress
        loss = 1.61 - 1.12 * (acc - 0.2) / 0.535
        over = max(0, epoch - overfit_from) * 0.012 if overfit_from is not None else 0.0
        broken = diverges and epoch >= num_epochs // 2
        rows.append(
            EpochMetrics(
                epoch=epoch,
                step=(epoch + 1) * steps_an_epoch,
                lr=lr,
                train_loss=math.nan if broken else loss - 0.5 * over - 1e-4 * epoch,
                train_acc=min(1.0, acc + rng.normal(0.0, 0.0015)),
                val_loss=math.nan if broken else loss + over + rng.normal(0.0, 0.0008),
                val_acc=min(1.0, acc - 0.3 * over + rng.normal(0.0, 0.003)),
                jets_per_second=1e6,
                seconds=(epoch + 1) * (0.02 + 2.6e-5 * steps_an_epoch),
            )
        )
    return rows


def _test(rng, model: str, accuracy: float, variant: str) -> tuple[TestResult, np.ndarray]:
    right_N = rng.random(NUM_TEST) < accuracy + rng.normal(0.0, 0.004)
    predicted_N = np.where(right_N, LABELS_N, (LABELS_N + rng.integers(1, 5, NUM_TEST)) % 5)
    cells_CC = np.zeros((5, 5), dtype=int)
    np.add.at(cells_CC, (LABELS_N, predicted_N), 1)
    named_C = cells_CC.sum(axis=0)
    scores = [
        ClassScores(
            name=name,
            num_jets=int(cells_CC[k].sum()),
            precision=float(cells_CC[k, k] / named_C[k]) if named_C[k] else None,
            recall=float(cells_CC[k, k] / cells_CC[k].sum()),
            auc=0.5 + 0.45 * float(cells_CC[k, k] / cells_CC[k].sum()),
        )
        for k, name in enumerate(CLASSES)
    ]
    test = TestResult(
        checkpoint="checkpoints/best.ckpt",
        model=model,
        num_parameters=SIZES[model][0],
        num_macs=SIZES[model][1],
        dataset="jsc_sample",
        dataset_variant=variant,
        dataset_sha256="ab" * 32 if variant == "pythia8" else "cd" * 32,
        num_test=NUM_TEST,
        test_loss=1.61 - 1.12 * (accuracy - 0.2) / 0.535,
        test_acc=float(np.mean(predicted_N == LABELS_N)),
        class_names=CLASSES,
        classes=scores,
        confusion=cells_CC.tolist(),
        never_predicted=[name for name, n in zip(CLASSES, named_C, strict=True) if n == 0],
        warnings=[],
    )
    return test, predicted_N


def _write_config(folder, model, lr, batch_size, max_epochs, seed, options) -> None:
    config: dict[str, object] = {
        "model": {"name": model},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": lr, "weight_decay": 0.0, "betas": [0.9, 0.999]},
        "dataset": {"name": "jsc_sample", "batch_size": batch_size, "path": None},
        "trainer": {"max_epochs": max_epochs, "precision": "32-true"},
        "engine": {"name": "auto"},
        "callbacks": {"best": {"dirpath": str(folder)}},
        "seed": seed,
    }
    for key, value in options.items():
        group: dict = config
        *path, last = key.split(".")
        for name in path:
            group = group.setdefault(name, {})
        group[last] = value
    path = folder / ".hydra" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))


@pytest.fixture(scope="session")
def run_writer() -> RunWriter:
    """`run_writer(folder, lr=..., seed=..., ...)` writes one run folder and returns it."""
    return write_run
