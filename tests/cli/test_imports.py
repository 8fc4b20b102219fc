"""A process of its own: this one has imported everything long ago."""

import subprocess
import sys

IMPORT = """
import sys
import hydra_plugins.jsc_launcher._preload
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


ELSEWHERE = """
import os, sys
from multiprocessing import get_context
from jsc.cli.imports import call_elsewhere

class Unsendable(Exception):
    def __init__(self, one, other):
        super().__init__(one)

class Worded(Exception):
    def __init__(self, width):
        super().__init__(f"{width} is wide")

class NoStart(type(get_context("fork").Process())):
    def start(self):
        raise EOFError

def answer(how, here):
    if isinstance(how, BaseException):
        raise how
    if how == "unsendable":
        return os.getpid(), lambda: None
    if how == "die" and os.getpid() != here:
        os._exit(3)
    return os.getpid()

def ask(how):
    return call_elsewhere(get_context("fork"), answer, how, os.getpid())

assert ask("answer") != os.getpid()
assert ask("die") == os.getpid()
assert ask("unsendable")[0] == os.getpid()
for raised in (ValueError("no"), Unsendable("no", "really"), Worded(8), SystemExit("no")):
    try:
        ask(raised)
    except BaseException as error:
        assert type(error) is type(raised) and str(error) == str(raised), error
        sent = not isinstance(raised, Unsendable | Worded)
        assert ("in answer" in str(error.__cause__)) == sent  # where it was raised
    else:
        raise AssertionError(raised)
context = get_context("fork")
context.Process = NoStart
assert call_elsewhere(context, os.getpid) == os.getpid()
sys.modules["torch"] = None  # as if it were imported
assert ask("answer") == os.getpid()
"""


def test_what_needs_torch_is_called_elsewhere_and_here_if_that_fails() -> None:
    subprocess.run([sys.executable, "-c", ELSEWHERE], check=True, timeout=60)
