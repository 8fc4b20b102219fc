"""What every engine owes: a contract, inherited once an engine. The definition is written out in `plain_fit`."""

import math
import random
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from jsc.cli.construction import construct
from jsc.cli.settings import TrainSettings
from jsc.datasets.epoch_order import EpochOrder
from jsc.engine import CrossEntropy, count_dropout, set_dropout_step
from jsc.errors import CommandError
from jsc.fit.checkpoint import read_checkpoint
from jsc.models import ModelInfo, build_model, register, registry
from jsc.results import RunResult, read_metrics
from jsc.run.assembly import build_schedule, jets_of, prepare
from jsc.run.training import train_prepared
from tests.conftest import QUICK, settings_of

QuickRun = Callable[..., RunResult]
PRECISE = "trainer.precision=64-true"


def stored(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoints" / name).weights


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def scores(model: nn.Module, x_NF: torch.Tensor, labels_N: torch.Tensor) -> tuple[float, float]:
    model.eval()
    with torch.no_grad():
        logits_NC = model(x_NF)
    model.train()
    return (
        nn.functional.cross_entropy(logits_NC, labels_N).item(),
        (logits_NC.argmax(1) == labels_N).double().mean().item(),
    )


def plain_fit(settings: TrainSettings) -> tuple[nn.Module, list[tuple[float, ...]]]:
    """A run in plain torch, one micro-batch after the other: the network, and each epoch's scores as metrics.csv."""
    trainer = settings.trainer
    jets = jets_of(settings.dataset)
    torch.manual_seed(settings.seed)
    model = build_model(settings.model.name, num_features=16, num_classes=5, options=settings.model.options).double()
    count_dropout(model, seed=settings.seed)
    optimizer: torch.optim.Optimizer = construct(settings.optimizer, torch.optim.Optimizer, params=model.parameters())
    loss = CrossEntropy(settings.loss.label_smoothing, settings.loss.class_weights)
    x_NF, labels_N = torch.from_numpy(jets.x_NF).double(), torch.from_numpy(jets.labels_N).long()
    val = jets.rows_of("val")
    order = EpochOrder(jets.num_train, seed=settings.seed)
    together = trainer.accumulate_grad_batches
    num_batches = math.ceil(jets.num_train / settings.dataset.batch_size)
    if isinstance(trainer.limit_train_batches, int):
        num_batches = trainer.limit_train_batches
    steps_an_epoch = math.ceil(num_batches / together)
    schedule = build_schedule(settings.scheduler)
    scheduler = schedule.start(optimizer, total_steps=steps_an_epoch * trainer.max_epochs) if schedule else None
    rows, step = [], 0
    for epoch in range(trainer.max_epochs):
        order.set_epoch(epoch)
        batches = torch.split(order.rows_N(), settings.dataset.batch_size)[:num_batches]
        loss_sum, num_correct, num_jets = 0.0, 0, 0
        for index, rows_B in enumerate(batches):
            rate = optimizer.param_groups[0]["lr"]
            set_dropout_step(model, step, index % together * settings.dataset.batch_size)
            logits_BC = model(x_NF[rows_B])
            batch_loss = loss(logits_BC, labels_N[rows_B])
            (batch_loss / together).backward()
            loss_sum += batch_loss.item() * len(rows_B)
            num_correct += int((logits_BC.argmax(1) == labels_N[rows_B]).sum())
            num_jets += len(rows_B)
            if (index + 1) % together == 0 or index + 1 == len(batches):
                if trainer.gradient_clip_val is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), trainer.gradient_clip_val)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                if schedule is not None and scheduler is not None and schedule.interval == "step":
                    scheduler.step()
        if schedule is not None and scheduler is not None and schedule.interval == "epoch":
            scheduler.step()
        rows.append(
            (epoch, step, rate, loss_sum / num_jets, num_correct / num_jets, *scores(model, x_NF[val], labels_N[val]))
        )
    return model, rows


class SeesBatches(Callback):
    """Counts its calls for batches."""

    seen: ClassVar[list[int]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *rest: Any) -> None:
        self.seen.append(rest[-1])


class BeforeEachStep(Callback):
    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Any) -> None:
        SeesBatches.seen.append(trainer.global_step)


class TakesChunks(SeesBatches):
    takes_chunks = True


class EngineContract:
    """`refusals`: words that the engine cannot act on, and what it says of them."""

    name: ClassVar[str]
    refusals: ClassVar[dict[str, str]] = {}

    @pytest.fixture
    def run(self, quick_run: QuickRun) -> QuickRun:
        def run(*words: str, **arguments: Any) -> RunResult:
            result = quick_run(f"engine={self.name}", *words, **arguments)
            assert result.engine == self.name
            return result

        return run

    def refuses(self, words: str, tmp_path: Path) -> bool:
        """Whether the engine does without these words; if so it says so by name, and engine=auto takes the other."""
        if words not in self.refusals:
            return False
        with pytest.raises(
            CommandError, match=rf"^engine={self.name} cannot act: {self.refusals[words]}\. Take engine="
        ):
            prepare(settings_of(f"engine={self.name}", *words.split()), tmp_path)
        engine = prepare(settings_of("engine=auto", *words.split()), tmp_path).task.engine
        assert engine.name != self.name
        assert engine.reason == self.refusals[words].replace("\\", "")
        return True

    @pytest.mark.parametrize(
        "words",
        [
            "",
            "optimizer=sgd model=jsc_trt",
            "optimizer=sgd scheduler=onecycle loss.label_smoothing=0.1",
            "optimizer=adamw scheduler=cosine model=jsc_mlp loss.class_weights=[1,2,1,1,0.5]",
            "optimizer=sgd dataset.batch_size=7000 trainer.limit_train_batches=1.0",
            "optimizer=sgd model=jsc_mlp trainer.gradient_clip_val=0.01",
            "optimizer=sgd model=jsc_trt trainer.accumulate_grad_batches=4",
            "optimizer=sgd model=jsc_mlp trainer.accumulate_grad_batches=4 trainer.gradient_clip_val=0.01",
        ],
    )
    def test_a_run_is_the_plain_loop_in_float64(self, run: QuickRun, tmp_path: Path, words: str) -> None:
        """What Lightning, data module and engine add must change nothing."""
        if self.refuses(words, tmp_path):
            return
        result = run(PRECISE, "seed=3", *words.split())
        model, expected = plain_fit(settings_of(*QUICK, PRECISE, "seed=3", *words.split()))
        trained = stored(tmp_path / "run")
        for name, value in model.state_dict().items():
            # 1e-9: sixty steps of rounding in float64, in another order of summation. A bias before a BatchNorm has no
            # true gradient; Adam turns its rounding noise into steps of the learning rate, so it is left out.
            if words or name not in ("2.bias", "3.running_mean"):
                torch.testing.assert_close(trained[f"model.{name}"], value, rtol=1e-9, atol=1e-11)
        rows = read_metrics(tmp_path / "run")
        for row, of_plain in zip(rows, expected, strict=True):
            values = (row.epoch, row.step, row.lr, row.train_loss, row.train_acc, row.val_loss, row.val_acc)
            assert values == pytest.approx(of_plain, rel=1e-9)
        if result.best_epoch == rows[-1].epoch:
            jets = jets_of(settings_of().dataset)
            test = jets.rows_of("test")
            x_NF, labels_N = torch.from_numpy(jets.x_NF[test]).double(), torch.from_numpy(jets.labels_N[test]).long()
            assert (result.test_loss, result.test_acc) == pytest.approx(scores(model, x_NF, labels_N), rel=1e-9)

    @pytest.mark.parametrize("model", ["jsc_tiny", "jsc_trt", "jsc_mlp"])
    def test_the_same_seed_gives_the_same_bits(self, run: QuickRun, tmp_path: Path, model: str) -> None:
        results = [run(f"model={model}", folder=tmp_path / str(index)) for index in range(2)]
        for name in ("best.ckpt", "last.ckpt"):
            assert same(stored(tmp_path / "0", name), stored(tmp_path / "1", name))
        assert len({(r.train_loss, r.val_loss, r.val_acc, r.test_loss, r.test_acc) for r in results}) == 1
        run(f"model={model}", "seed=1", folder=tmp_path / "other")
        assert not same(stored(tmp_path / "other"), stored(tmp_path / "0"))

    @pytest.mark.parametrize("other", ["torch", "fused"])
    @pytest.mark.parametrize("scheduler", ["none", "cosine"])
    def test_it_goes_on_from_either_engines_checkpoint(
        self, run: QuickRun, quick_run: QuickRun, tmp_path: Path, other: str, scheduler: str
    ) -> None:
        common = [PRECISE, "trainer.max_epochs=4", "model=jsc_trt", f"scheduler={scheduler}"]
        run(*common, folder=tmp_path / "whole")
        folder = tmp_path / "parts"
        quick_run(f"engine={other}", *common, "trainer.max_steps=60", folder=folder)
        result = run(*common, folder=folder, resume_from=folder / "checkpoints" / "last.ckpt")
        assert result.status == "completed"
        whole, parts = (read_metrics(f) for f in (tmp_path / "whole", folder))
        assert [(r.epoch, r.step, r.lr) for r in parts] == [(r.epoch, r.step, r.lr) for r in whole]
        for name in ("train_loss", "val_loss"):
            assert [getattr(r, name) for r in parts] == pytest.approx([getattr(r, name) for r in whole], rel=1e-8)
        if other == self.name:
            assert same(stored(folder), stored(tmp_path / "whole"))

    def test_a_point_is_logged_once_an_optimizer_step(self, run: QuickRun, tmp_path: Path) -> None:
        words = "trainer.accumulate_grad_batches=3"
        accumulates = not self.refuses(words, tmp_path)
        run("trainer.log_every_n_steps=2", *(words.split() if accumulates else []))
        events = EventAccumulator(str(tmp_path / "run"))
        events.Reload()
        num_steps = 20 if accumulates else 60
        for tag in ("train_loss_step", "train_acc_step", "lr"):
            assert [event.step for event in events.Scalars(tag)] == list(range(1, num_steps, 2))

    @pytest.mark.parametrize(
        "words", [f"+callbacks.spy._target_={__name__}.{spy.__name__}" for spy in (SeesBatches, BeforeEachStep)]
    )
    def test_a_callback_for_each_batch_is_called_for_each_batch(
        self, run: QuickRun, tmp_path: Path, words: str
    ) -> None:
        SeesBatches.seen.clear()
        if not self.refuses(words, tmp_path):
            run(words)
            assert len(SeesBatches.seen) == 60

    def test_a_callback_may_say_that_chunks_will_do(self, run: QuickRun) -> None:
        SeesBatches.seen.clear()
        run(f"+callbacks.spy._target_={__name__}.TakesChunks")
        assert 0 < len(SeesBatches.seen) <= 60


class Noise(nn.Module):
    """Draws from every generator that a user's layer may draw from."""

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x_BF
        drawn = random.random() + np.random.rand() + np.random.standard_normal() + random.gauss(0, 1)  # noqa: NPY002
        return x_BF * (1 + 0.1 * torch.rand_like(x_BF)) + 0.01 * drawn


def noisy(*, num_features: int, num_classes: int) -> nn.Module:
    return nn.Sequential(Noise(), nn.Linear(num_features, num_classes), nn.RReLU())


class Interrupts(Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *rest: Any) -> None:
        if (trainer.current_epoch, rest[-1]) == (1, 9):
            signal.raise_signal(signal.SIGINT)


class TestTorch(EngineContract):
    name = "torch"

    @pytest.fixture
    def noise(self, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
        info = {"model_source": "test", "task_type": "physical", "physical_data_point_classification": True}
        register(ModelInfo(name="noisy", is_fx_traceable=False, **info))(noisy)  # type: ignore[arg-type]
        return "model.name=noisy"

    @pytest.mark.parametrize(
        ("words", "end"),
        [
            ("", "trainer.max_epochs=1"),
            ("", f"+callbacks.stop._target_={__name__}.Interrupts"),
            ("trainer.accumulate_grad_batches=4", f"+callbacks.stop._target_={__name__}.Interrupts"),
        ],
    )
    def test_a_network_that_draws_its_own_numbers_goes_on_drawing(
        self, run: QuickRun, tmp_path: Path, noise: str, words: str, end: str
    ) -> None:
        """After an epoch, within one, and with gradients that wait for further batches."""
        run(noise, *words.split(), folder=tmp_path / "whole")
        parts = tmp_path / "parts"
        with pytest.raises(KeyboardInterrupt) if "stop" in end else nullcontext():
            run(noise, *words.split(), end, folder=parts)
        assert len(read_metrics(parts)) == 1
        random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
        run(noise, *words.split(), folder=parts, resume_from=parts / "checkpoints" / "last.ckpt")
        assert same(stored(parts), stored(tmp_path / "whole"))

    def test_a_run_prepared_before_another_trains_as_if_alone(self, run: QuickRun, tmp_path: Path, noise: str) -> None:
        alone = run(noise, folder=tmp_path / "alone")
        prepared = prepare(settings_of(*QUICK, "engine=torch", noise), tmp_path / "prepared")
        prepare(settings_of("seed=5"), tmp_path / "other")
        assert not (tmp_path / "prepared").exists()
        (tmp_path / "prepared").mkdir()
        result = train_prepared(prepared, command="")
        assert (result.test_loss, result.val_loss) == (alone.test_loss, alone.val_loss)
        assert same(stored(tmp_path / "prepared"), stored(tmp_path / "alone"))


class TestFused(EngineContract):
    name = "fused"
    refusals: ClassVar[dict[str, str]] = {
        "optimizer=sgd model=jsc_mlp trainer.gradient_clip_val=0.01": (
            r"trainer\.gradient_clip_val=0\.01 is the torch engine's"
        ),
        "optimizer=sgd model=jsc_trt trainer.accumulate_grad_batches=4": (
            r"trainer\.accumulate_grad_batches=4 is the torch engine's"
        ),
        "optimizer=sgd model=jsc_mlp trainer.accumulate_grad_batches=4 trainer.gradient_clip_val=0.01": (
            r"trainer\.gradient_clip_val=0\.01 is the torch engine's"
        ),
        "trainer.accumulate_grad_batches=3": r"trainer\.accumulate_grad_batches=3 is the torch engine's",
        f"+callbacks.spy._target_={__name__}.SeesBatches": (
            "callback SeesBatches has a hook on_train_batch_end, which is called for each batch"
        ),
        f"+callbacks.spy._target_={__name__}.BeforeEachStep": (
            "callback BeforeEachStep has a hook on_before_optimizer_step, which is called for each batch"
        ),
    }

    def test_more_threads_give_the_same_bits(self, run: QuickRun, tmp_path: Path) -> None:
        for threads in (1, 2):
            run("model=jsc_mlp", f"trainer.num_threads={threads}", folder=tmp_path / str(threads))
        assert same(stored(tmp_path / "1"), stored(tmp_path / "2"))
