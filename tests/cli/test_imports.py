"""A process of its own: this one has imported everything long ago."""

import importlib.metadata
import subprocess
import sys

from jsc.cli.lightning_utilities_internals import PATCHED

IMPORT = """
import sys
import jsc.sweep.preload
assert "jsc.run.training" in sys.modules
assert "jsc.train" not in sys.modules  # every worker runs it as its main module, and would warn
left_out = {"matplotlib", "scipy.signal"}
assert not left_out & sys.modules.keys(), left_out & sys.modules.keys()
"""
USE = """
import matplotlib
matplotlib.use("agg")
import torch
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.functional.audio import permutation_invariant_training
from torchmetrics.functional.audio.snr import signal_noise_ratio
metric = MulticlassConfusionMatrix(3)
metric.update(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2]))
figure, axes = metric.plot()
assert len(figure.axes) == 1 and axes.get_xlabel(), axes
permutation_invariant_training(torch.rand(2, 4, 9), torch.rand(2, 4, 9), signal_noise_ratio)
"""


def test_workers_load_no_plots_and_torchmetrics_still_has_all_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", IMPORT + USE], check=True, timeout=300)


def test_lightning_utilities_still_has_what_is_patched() -> None:
    """A canary: `jsc/cli/lightning_utilities_internals.py` says what it saves."""
    installed = importlib.import_module("lightning_utilities.core.imports")
    version = importlib.metadata.version("lightning-utilities")
    for name in PATCHED:
        assert hasattr(installed, name), f"lightning-utilities {version} has no core.imports.{name} as 0.15.3 has"
    cache = installed.RequirementCache("matplotlib")
    assert cache.requirement == "matplotlib", f"lightning-utilities {version}: RequirementCache has another requirement"
