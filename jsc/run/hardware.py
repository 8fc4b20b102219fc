"""A run's circuit: made from its network.json, proved again, and scored on a data set.

Shapes: N test jets, F features, C classes.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from jsc.cli import console
from jsc.cli.construction import construct
from jsc.cli.recorded import recorded_dataset
from jsc.cli.settings import DatasetSettings, HardwareSettings
from jsc.datasets import JetSource
from jsc.errors import CommandError
from jsc.hardware.build import CircuitOptions, TestJets, build, prove_folder
from jsc.hardware.network import NETWORK_FILE, Linear, Network, read_network
from jsc.results import (
    BEST_CHECKPOINT,
    CHECKPOINT_FOLDER,
    PREDICTIONS_FILE,
    TEST_FILE,
    TestResult,
    beside,
    from_here,
    write_predictions,
    write_record,
)
from jsc.run.assembly import jets_of
from jsc.run.testing import as_trained_on, class_scores, confusion_of

HARDWARE_FOLDERS = {"da4ml": "hardware", "hls4ml": "hardware_hls4ml"}  # by back end
CHUNK = 20_000  # jets at a time: the integers on all wires of all would take gigabytes


def make(settings: HardwareSettings) -> None:
    """Write a network's circuit with its proof and cost. Raises CommandError or CircuitError."""
    path = find_network(settings.checkpoint)
    network = read_network(path)
    out = Path(settings.out) if settings.out else path.parent / HARDWARE_FOLDERS[settings.hardware.backend]
    jets = _test_jets(network, settings.dataset or recorded_dataset(path.parent))
    say = _progress()
    options = CircuitOptions(**settings.hardware.model_dump())
    build(network, out, options, jets, say)
    say(f"written: {from_here(out.absolute())}")


def prove_again(settings: HardwareSettings) -> None:
    """Prove a circuit's folder as it is now. Raises CommandError or CircuitError."""
    folder = _folder(settings)
    network = read_network(folder / NETWORK_FILE)
    jets = _test_jets(network, settings.dataset or recorded_dataset(folder.parent))
    h, say = settings.hardware, _progress()
    prove_folder(folder, jets, h.simulator, h.random_vectors, say)


def predict(settings: HardwareSettings) -> TestResult:
    """The scores of a circuit's integers on a test split: printed, and written into its folder as jsc.test does."""
    folder = _folder(settings)
    path = folder / NETWORK_FILE
    network = read_network(path)
    jets = _test_jets(network, settings.dataset or recorded_dataset(folder.parent))
    if jets is None:
        raise CommandError("predict needs jets: give dataset=NAME (python -m jsc.datasets lists them)")
    n_NF = jets.n_NF
    integers_NC = np.concatenate([network.logits(n_NF[i : i + CHUNK]) for i in range(0, len(n_NF), CHUNK)])
    logits_NC = torch.from_numpy(np.ldexp(integers_NC.astype(np.float64), -network.output_fraction_bits))
    labels_N = torch.from_numpy(jets.labels_N).long()
    predicted_N = logits_NC.argmax(1)
    confusion_CC = confusion_of(logits_NC, labels_N)
    linear = [layer for layer in network.layers if isinstance(layer, Linear)]
    result = TestResult(
        checkpoint=str(path),
        model=network.model,
        num_parameters=sum(layer.weights.size + layer.bias.size for layer in linear),
        num_macs=sum(layer.weights.size for layer in linear),
        dataset=jets.dataset,
        dataset_variant=jets.variant,
        dataset_sha256=jets.sha256,
        num_test=len(labels_N),
        test_loss=float(torch.nn.functional.cross_entropy(logits_NC, labels_N)),
        test_acc=float((predicted_N == labels_N).double().mean()),
        class_names=list(network.class_names),
        classes=class_scores(logits_NC, labels_N, confusion_CC, network.class_names),
        confusion=confusion_CC.tolist(),
        never_predicted=[name for c, name in enumerate(network.class_names) if not confusion_CC[:, c].any()],
        warnings=list(jets.warnings),
    )
    write_record(beside(path, TEST_FILE), result)
    write_predictions(beside(path, PREDICTIONS_FILE), labels_N=jets.labels_N, predicted_N=predicted_N.numpy())
    print(console.test_tables(result))
    return result


def find_network(checkpoint: str | None) -> Path:
    """The `network.json` of a quantised network. Raises CommandError if there is none, with what makes one."""
    if checkpoint is None:
        raise CommandError("say which network: checkpoint=RUN, a quantised run's folder or a network.json")
    path = Path(checkpoint)
    if not path.exists():
        raise CommandError(
            f"checkpoint={checkpoint}: there is nothing; give a quantised run's folder or a network.json"
        )
    if path.suffix == ".json":
        return path
    if path.is_file() and path.name != BEST_CHECKPOINT:
        raise CommandError(f"checkpoint={checkpoint}: a run's network.json is of its {BEST_CHECKPOINT}; give that")
    folder = path if path.is_dir() else path.parent
    for candidate in (folder / NETWORK_FILE, folder.parent / NETWORK_FILE):
        if candidate.is_file() and (candidate.parent == folder or folder.name == CHECKPOINT_FOLDER):
            return candidate
    raise CommandError(
        f"checkpoint={checkpoint}: no {NETWORK_FILE} lies there, so this network computes in floating point; an FPGA "
        f"needs integers. Quantise it with jsc.quantization, which writes a {NETWORK_FILE} (docs/quantization.md)"
    )


def _test_jets(network: Network, settings: DatasetSettings | None) -> TestJets | None:
    """Raises CheckpointError for other features or classes; warns of another variant or file."""
    if settings is None:
        return None
    jets = jets_of(settings)
    trained = {
        "feature_names": network.feature_names,
        "class_names": network.class_names,
        "dataset_variant": network.dataset_variant,
        "dataset_sha256": network.dataset_sha256,
        "feature_mean": jets.mean_F,
        "feature_std": jets.std_F,
    }
    _, warnings = as_trained_on(jets, trained)
    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    rows = jets.rows_of("test")
    source: JetSource = construct(settings, JetSource)
    # The network's own offsets and scales want the features as they were, to the last bit.
    x_NF = source.read().features_NF[jets.rows_N[rows]]
    return TestJets(
        network.quantize(x_NF), jets.labels_N[rows], settings.name, jets.variant, jets.sha256, warnings=warnings
    )


def _folder(settings: HardwareSettings) -> Path:
    if settings.circuit is None or not (Path(settings.circuit) / NETWORK_FILE).is_file():
        raise CommandError(
            f"circuit={settings.circuit}: give a folder that python -m jsc.hardware checkpoint=RUN wrote"
        )
    return Path(settings.circuit)


def _progress() -> Callable[[str], None]:
    """Says what is done, and how many seconds after the start."""
    start = time.monotonic()
    return lambda text: print(f"[{time.monotonic() - start:6.1f} s] {text}", file=sys.stderr, flush=True)
