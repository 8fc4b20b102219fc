"""How long an optimizer step takes, engine by engine: `python -m benchmarks.engines`.

One process on one core. Every engine trains the same model with Adam on the same jets; each repeat runs a stretch of
steps of every engine in turn, so that whatever else the machine does meets all of them; the table holds medians.
Compilation and the first steps are not counted. The engines:

    mase       MASE's loop: Lightning, a DataLoader over a per-sample dataset, its metric and its logging
    lightning  Lightning over batches sliced from tensors, no metric and no logging
    torch      a plain PyTorch loop over sliced batches
    compile    the same with the forward and loss under torch.compile
    jax        JAX: jit(lax.scan) over a stretch of steps, the gather of rows included (with the extra [bench])
    fused      this project's: jsc.engine

Shapes: N jets, F features, C classes, B batch, S steps.
"""

import argparse
import datetime
import importlib.metadata
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning
import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from jsc import models
from jsc.engine import CrossEntropy, FusedTrainer

NUM_FEATURES, NUM_CLASSES = 16, 5
NUM_RANDOM_JETS = 1_000_000
RATE = 1e-3
ENGINES = ("mase", "lightning", "torch", "compile", "jax", "fused")
STRETCH_SECONDS = {"mase": 0.5, "lightning": 0.4, "torch": 0.2, "compile": 0.2, "jax": 0.1, "fused": 0.1}

# A stretch of so many steps; what comes back has been computed by then.
Stretch = Callable[[int], None]


class CannotRun(RuntimeError):  # noqa: N818  # what it says, in few words
    """An engine that does not work on this machine; the message says why."""


@dataclass(frozen=True)
class Jets:
    """x_NF float32, labels_N int8; `source` says where they are from."""

    x_NF: np.ndarray[Any, Any]
    labels_N: np.ndarray[Any, Any]
    source: str


@dataclass(frozen=True)
class Timing:
    """`step_us` is a median over repeats, null where the engine cannot run, for the reason in `note`."""

    model: str
    batch_size: int
    engine: str
    step_us: float | None
    fastest_us: float | None
    jets_per_second: float | None
    times_fused: float | None
    note: str


def read_jets(path: Path | None) -> Jets:
    """A simulated jets file (.npz with features [N, 16] and labels [N]), or random jets of the same shape."""
    if path is None:
        generator = np.random.default_rng(0)
        x_NF = generator.standard_normal((NUM_RANDOM_JETS, NUM_FEATURES), dtype=np.float32)
        return Jets(x_NF, generator.integers(0, NUM_CLASSES, NUM_RANDOM_JETS).astype(np.int8), "random normal")
    with np.load(path) as arrays:
        x_NF = next(a for a in (arrays[k] for k in arrays.files) if a.ndim == 2 and a.shape[1] == NUM_FEATURES)
        labels_N = next(
            a for a in (arrays[k] for k in arrays.files) if a.shape == x_NF.shape[:1] and a.dtype.kind in "iu"
        )
    x_NF = (x_NF - x_NF.mean(0, dtype=np.float64)) / x_NF.std(0, dtype=np.float64)
    return Jets(np.ascontiguousarray(x_NF, np.float32), labels_N.astype(np.int8), path.name)


class RowOrder:
    """Row numbers of a shuffled table, batch after batch, from the start again at its end."""

    def __init__(self, num_jets: int) -> None:
        self._order = np.random.default_rng(1).permutation(num_jets)
        self._at = 0

    def take(self, num_rows: int) -> np.ndarray[Any, Any]:
        """The next rows; never more than the table has."""
        if self._at + num_rows > len(self._order):
            self._at = 0
        self._at += num_rows
        return self._order[self._at - num_rows : self._at]


def build(model_name: str) -> nn.Module:
    torch.manual_seed(0)
    return models.build_model(model_name, num_features=NUM_FEATURES, num_classes=NUM_CLASSES)


def fused(model_name: str, jets: Jets, batch_size: int) -> Stretch:
    model = build(model_name)
    trainer = FusedTrainer(model, torch.optim.Adam(model.parameters(), lr=RATE), loss=CrossEntropy(), seed=0)
    order = RowOrder(len(jets.labels_N))

    def stretch(num_steps: int) -> None:
        trainer.train(
            jets.x_NF,
            jets.labels_N,
            order.take(num_steps * batch_size),
            batch_size=batch_size,
            learning_rates_S=np.full(num_steps, RATE),
            first_step=0,
        )

    return stretch


def plain_torch(model_name: str, jets: Jets, batch_size: int, *, compiled: bool = False) -> Stretch:
    model = build(model_name)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    x_NF, labels_N = torch.from_numpy(jets.x_NF), torch.from_numpy(jets.labels_N).long()
    order = RowOrder(len(labels_N))

    def loss_of(x_BF: Tensor, labels_B: Tensor) -> Tensor:
        return functional.cross_entropy(model(x_BF), labels_B)

    function: Callable[[Tensor, Tensor], Tensor] = torch.compile(loss_of) if compiled else loss_of

    def stretch(num_steps: int) -> None:
        rows = torch.from_numpy(order.take(num_steps * batch_size))
        for begin in range(0, len(rows), batch_size):
            rows_B = rows[begin : begin + batch_size]
            loss = function(x_NF[rows_B], labels_N[rows_B])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return stretch


def compiled_torch(model_name: str, jets: Jets, batch_size: int) -> Stretch:
    torch._dynamo.reset()
    stretch = plain_torch(model_name, jets, batch_size, compiled=True)
    try:
        stretch(2)
    except Exception as error:  # no compiler, or one that it cannot use: the table says so
        raise CannotRun(f"torch.compile: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    return stretch


class SampleByMASE(Dataset[tuple[Tensor, Tensor]]):
    """One jet a call, as MASE's dataset hands them out."""

    def __init__(self, jets: Jets) -> None:
        self._x_NF = torch.from_numpy(jets.x_NF)
        self._labels_N = torch.from_numpy(jets.labels_N).long()

    def __len__(self) -> int:
        return len(self._labels_N)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self._x_NF[row], self._labels_N[row]


class SlicedBatches:
    """Whole batches, sliced from tensors."""

    def __init__(self, jets: Jets, batch_size: int) -> None:
        self._x_NF, self._labels_N = torch.from_numpy(jets.x_NF), torch.from_numpy(jets.labels_N).long()
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self._labels_N) // self._batch_size

    def __iter__(self) -> Any:
        rows = torch.randperm(len(self._labels_N))
        for begin in range(0, len(self) * self._batch_size, self._batch_size):
            rows_B = rows[begin : begin + self._batch_size]
            yield self._x_NF[rows_B], self._labels_N[rows_B]


class BareModule(pytorch_lightning.LightningModule):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        return functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=RATE)


class ModuleByMASE(BareModule):
    """With the metric and the logging of MASE's wrapper."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=NUM_CLASSES)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        logits_BC = self.model(batch[0])
        loss = functional.cross_entropy(logits_BC, batch[1])
        self.accuracy(logits_BC, batch[1])
        self.log("train_acc_step", self.accuracy, prog_bar=True)
        self.log("train_loss_step", loss, prog_bar=True)
        return loss


class StepClock(pytorch_lightning.Callback):
    """Seconds of a fit's steps after the first few."""

    WARM_UP = 5

    def __init__(self) -> None:
        self.started = 0.0
        self.seconds = 0.0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_index: int) -> None:
        if batch_index == self.WARM_UP:
            self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        self.seconds = time.perf_counter() - self.started


class LightningStretch:
    """Fits for a number of steps; leaves the time without start and end of the fit in `seconds`."""

    def __init__(self, module: BareModule, batches: Any, folder: Path | None) -> None:
        self._module = module
        self._batches = batches
        self._folder = folder
        self.seconds = 0.0

    def __call__(self, num_steps: int) -> None:
        clock = StepClock()
        logger: Any = False
        if self._folder is not None:
            logger = pytorch_lightning.loggers.TensorBoardLogger(self._folder, name="mase")
        trainer = pytorch_lightning.Trainer(
            accelerator="cpu",
            max_steps=num_steps + StepClock.WARM_UP,
            logger=logger,
            callbacks=[clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(self._module, self._batches)
        self.seconds = clock.seconds


def lightning(model_name: str, jets: Jets, batch_size: int) -> Stretch:
    return LightningStretch(BareModule(build(model_name)), SlicedBatches(jets, batch_size), None)


def mase(model_name: str, jets: Jets, batch_size: int, folder: Path) -> Stretch:
    batches = DataLoader(SampleByMASE(jets), batch_size=batch_size, shuffle=True, num_workers=0)
    return LightningStretch(ModuleByMASE(build(model_name)), batches, folder)


def jax_scan(model_name: str, jets: Jets, batch_size: int) -> Stretch:
    try:
        from benchmarks.jax_scan import make_stretch
    except ImportError as error:
        raise CannotRun(f"JAX is not installed ({error})") from error
    return make_stretch(build(model_name), jets.x_NF, jets.labels_N, RowOrder(len(jets.labels_N)), batch_size, RATE)


def seconds_of(stretch: Stretch, num_steps: int) -> float:
    started = time.perf_counter()
    stretch(num_steps)
    if isinstance(stretch, LightningStretch):
        return stretch.seconds
    return time.perf_counter() - started


def measure(
    model_name: str, jets: Jets, batch_size: int, engines: tuple[str, ...], num_repeats: int, folder: Path
) -> list[Timing]:
    """Time every engine on one model and batch size."""
    makers: dict[str, Callable[[], Stretch]] = {
        "mase": lambda: mase(model_name, jets, batch_size, folder),
        "lightning": lambda: lightning(model_name, jets, batch_size),
        "torch": lambda: plain_torch(model_name, jets, batch_size),
        "compile": lambda: compiled_torch(model_name, jets, batch_size),
        "jax": lambda: jax_scan(model_name, jets, batch_size),
        "fused": lambda: fused(model_name, jets, batch_size),
    }
    stretches: dict[str, Stretch] = {}
    notes = dict.fromkeys(engines, "")
    lengths: dict[str, int] = {}
    most = (len(jets.labels_N) - 1) // batch_size - StepClock.WARM_UP
    for engine in engines:
        try:
            stretches[engine] = makers[engine]()
        except CannotRun as reason:
            notes[engine] = str(reason)
            continue
        seconds_of(stretches[engine], 10)  # compiles, and warms up
        a_step = max(seconds_of(stretches[engine], 10) / 10, 1e-6)
        lengths[engine] = max(5, min(most, int(STRETCH_SECONDS[engine] / a_step)))
        if engine == "jax":
            seconds_of(stretches[engine], lengths[engine])  # another number of steps is another compilation
    samples: dict[str, list[float]] = {engine: [] for engine in stretches}
    for _ in range(num_repeats):
        for engine, stretch in stretches.items():
            samples[engine].append(seconds_of(stretch, lengths[engine]) / lengths[engine] * 1e6)
    medians = {engine: statistics.median(values) for engine, values in samples.items()}
    timings = []
    for engine in engines:
        us = medians.get(engine)
        ratio = us / medians["fused"] if us is not None and "fused" in medians else None
        timings.append(
            Timing(
                model=model_name,
                batch_size=batch_size,
                engine=engine,
                step_us=us,
                fastest_us=min(samples[engine]) if us is not None else None,
                jets_per_second=batch_size / us * 1e6 if us is not None else None,
                times_fused=ratio,
                note=notes[engine],
            )
        )
    return timings


def machine() -> dict[str, str]:
    """What was measured on: processor, Python and package versions, date."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = lines[0].partition(":")[2].strip() if lines else processor
    facts = {
        "processor": processor,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load at the start": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
    }
    return facts | {package: _version(package) for package in ("torch", "pytorch-lightning", "numba", "numpy", "jax")}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def as_markdown(timings: list[Timing], facts: dict[str, str], source: str, num_repeats: int) -> str:
    """The tables: microseconds a step with the ratio to fused, and jets a second of the fused engine."""
    engines = [e for e in ENGINES if any(t.engine == e for t in timings)]
    lines = [
        "# Engines",
        "",
        "Microseconds an optimizer step (Adam), and in brackets how many times that of fused. "
        f"One core; jets: {source}; medians of {num_repeats} interleaved repeats; "
        "`python -m benchmarks.engines` says what each engine is.",
        "",
        "; ".join(f"{name} {value}" for name, value in facts.items()),
        "",
        f"| model | batch | {' | '.join(engines)} | fused, jets a second |",
        f"|---|---:|{'---:|' * len(engines)}---:|",
    ]
    cells = {(t.model, t.batch_size, t.engine): t for t in timings}
    for name, batch_size in dict.fromkeys((t.model, t.batch_size) for t in timings):
        row = [cells[name, batch_size, engine] for engine in engines]
        texts = [_cell(timing) for timing in row]
        speed = cells.get((name, batch_size, "fused"))
        rate = "" if speed is None or speed.jets_per_second is None else f"{speed.jets_per_second / 1e6:.1f} M"
        lines.append(f"| {name} | {batch_size} | {' | '.join(texts)} | {rate} |")
    notes = sorted({f"{t.engine}: {t.note}" for t in timings if t.note})
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _cell(timing: Timing) -> str:
    if timing.step_us is None:
        return "cannot run"
    text = f"{timing.step_us:.1f}" if timing.step_us < 100 else f"{timing.step_us:.0f}"
    if timing.engine == "fused" or timing.times_fused is None:
        return text
    return f"{text} ({timing.times_fused:.1f})" if timing.times_fused < 10 else f"{text} ({timing.times_fused:.0f})"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=models.model_names(), choices=models.model_names())
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256, 1024])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--jets", type=Path, help="a file of simulated jets (.npz); else random jets")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="three repeats of a tenth of the time")
    parser.add_argument("--core", type=int, help="the core to run on; else the first one allowed")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"), help="folder for the two files")
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0)) if options.core is None else options.core})
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")  # about settings that are meant here
    if options.quick:
        STRETCH_SECONDS.update({engine: seconds / 10 for engine, seconds in STRETCH_SECONDS.items()})
    num_repeats = 3 if options.quick else options.repeats
    jets, facts = read_jets(options.jets), machine()
    options.output.mkdir(parents=True, exist_ok=True)
    timings: list[Timing] = []
    for name in options.models:
        for batch_size in options.batches:
            with tempfile.TemporaryDirectory() as folder:
                timings += measure(name, jets, batch_size, tuple(options.engines), num_repeats, Path(folder))
            table = as_markdown(timings, facts, jets.source, num_repeats)
            (options.output / "engines.md").write_text(table)
            record = {
                "machine": facts,
                "jets": jets.source,
                "repeats": num_repeats,
                "timings": [asdict(timing) for timing in timings],
            }
            (options.output / "engines.json").write_text(json.dumps(record, indent=1) + "\n")
            print([line for line in table.splitlines() if line.startswith("|")][-1], flush=True)
    print(f"\n{table}\nin {options.output}")


if __name__ == "__main__":
    main(sys.argv[1:])
