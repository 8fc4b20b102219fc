"""A run from settings to its record, with either engine."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from jsc.cli.settings import TrainSettings
from jsc.datasets.epoch_order import EpochOrder
from jsc.engine import count_dropout, set_dropout_step
from jsc.fit.checkpoint import read_checkpoint
from jsc.models import build_model
from jsc.results import RunResult, read_metrics, read_predictions, read_result, read_test
from jsc.run.assembly import build_optimizer, jets_of
from tests.conftest import QUICK, settings_of

ENGINES = ["torch", "fused"]
QuickRun = Callable[..., RunResult]


def weights(folder: Path, name: str = "best.ckpt") -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoints" / name).weights


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_leaves_its_record(quick_run: QuickRun, tmp_path: Path, engine: str) -> None:
    result = quick_run(f"engine={engine}", "model=jsc_medium", "trainer.log_every_n_steps=10")
    folder = tmp_path / "run"
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == {"result", "metrics", "checkpoints", "events"}
    assert read_result(folder) == result
    assert (result.status, result.error, result.engine, result.device) == ("completed", None, engine, "cpu")
    assert (result.model, result.num_parameters) == ("jsc-medium", 1407)
    assert (result.num_train, result.num_val, result.num_test) == (72_000, 8_000, 20_000)
    assert (result.dataset, result.dataset_variant) == ("jsc_sample", "simulated")
    rows = read_metrics(folder)
    assert [(row.epoch, row.step) for row in rows] == [(0, 30), (1, 60)]
    best = rows[result.best_epoch or 0]
    assert best.val_loss == min(row.val_loss or math.inf for row in rows)
    assert (result.val_loss, result.val_acc, result.train_loss) == (best.val_loss, best.val_acc, best.train_loss)
    test = read_test(folder / "checkpoints" / "test.json")
    labels, predicted = read_predictions(folder / "checkpoints" / "predictions.npz")
    assert test.test_acc == result.test_acc == (labels == predicted).mean()
    assert sum(map(sum, test.confusion)) == result.num_test


@pytest.mark.parametrize("engine", ENGINES)
def test_tensorboard_shows_mases_tags_at_optimizer_steps(quick_run: QuickRun, tmp_path: Path, engine: str) -> None:
    result = quick_run(f"engine={engine}", "trainer.log_every_n_steps=10", "scheduler=onecycle")
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    steps = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    every_ten = [9, 19, 29, 39, 49, 59]
    assert {tag: steps[tag] for tag in ("train_loss_step", "train_acc_step", "lr")} == dict.fromkeys(
        ("train_loss_step", "train_acc_step", "lr"), every_ten
    )
    for tag in ("val_loss_epoch", "val_acc_epoch", "jets_per_second"):
        assert steps[tag] == [29, 59]
    for tag in ("test_loss_epoch", "test_acc_epoch"):
        assert steps[tag] == [59]
    assert events.Scalars("test_acc_epoch")[0].value == pytest.approx(result.test_acc)
    rates = [event.value for event in events.Scalars("lr")]
    assert rates[0] < max(rates) > rates[-1]


@pytest.mark.parametrize("engine", ENGINES)
def test_checkpoints_load_without_running_code(quick_run: QuickRun, tmp_path: Path, engine: str) -> None:
    quick_run(f"engine={engine}")
    for name in ("best.ckpt", "last.ckpt"):
        stored = torch.load(tmp_path / "run" / "checkpoints" / name, weights_only=True)
        assert stored["hyper_parameters"]["settings"]["model"] == {"name": "jsc-tiny", "options": {}}
    assert stored["global_step"] == 60


@pytest.mark.parametrize("scheduler", ["none", "cosine", "step", "onecycle", "plateau"])
@pytest.mark.parametrize(
    "timing", ["", "trainer.val_check_interval=10", "trainer.val_check_interval=0.4", "trainer.max_steps=47"]
)
def test_both_engines_do_the_same_at_the_same_steps(
    quick_run: QuickRun, tmp_path: Path, scheduler: str, timing: str
) -> None:
    overrides = ["trainer.precision=64-true", "optimizer=sgd", f"scheduler={scheduler}", *timing.split()]
    if scheduler == "step":
        overrides += ["scheduler.step_size=1"]
    if scheduler == "plateau":
        overrides += ["scheduler.patience=0", "optimizer.lr=5"]
    runs = [quick_run(f"engine={engine}", *overrides, folder=tmp_path / engine) for engine in ENGINES]
    rows = [read_metrics(tmp_path / engine) for engine in ENGINES]
    assert [(r.epoch, r.step, r.lr) for r in rows[0]] == [(r.epoch, r.step, r.lr) for r in rows[1]]
    for torch_row, fused_row in zip(*rows, strict=True):
        for name in ("train_loss", "train_acc", "val_loss", "val_acc"):
            expected = getattr(torch_row, name)
            assert getattr(fused_row, name) == (None if expected is None else pytest.approx(expected, rel=1e-9)), name
    assert runs[0].test_loss == pytest.approx(runs[1].test_loss, rel=1e-9)
    tags = []
    for engine in ENGINES:
        events = EventAccumulator(str(tmp_path / engine))
        events.Reload()
        tags.append({t: [e.step for e in events.Scalars(t)] for t in events.Tags()["scalars"]})
    assert tags[0] == tags[1]
    states = [torch.load(tmp_path / e / "checkpoints" / "last.ckpt", weights_only=True) for e in ENGINES]
    for key in ("epoch_loop.batch_progress", "epoch_loop.state_dict", "epoch_progress"):
        assert states[0]["loops"]["fit_loop"][key] == states[1]["loops"]["fit_loop"][key]
    assert [s["global_step"] for s in states] == [rows[0][-1].step] * 2


class ValidationHooks(Callback):
    """Notes each of Lightning's calls during validation, and whether the module was then in evaluation mode."""

    noted: ClassVar[list[tuple[str, bool, int]]] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name.startswith("on_validation_"):
            return found

        def note(trainer: pl.Trainer, module: pl.LightningModule, *args: Any) -> None:
            self.noted.append((name, module.training, trainer.global_step))
            found(trainer, module, *args)

        return note


@pytest.mark.parametrize("timing", ["", "trainer.val_check_interval=10", "trainer.limit_val_batches=1"])
def test_callbacks_see_the_same_validation_with_either_engine(quick_run: QuickRun, tmp_path: Path, timing: str) -> None:
    noted = []
    for engine in ENGINES:
        ValidationHooks.noted.clear()
        spy = f"+callbacks.spy._target_={__name__}.ValidationHooks"
        quick_run(f"engine={engine}", spy, *timing.split(), folder=tmp_path / engine)
        noted.append(list(ValidationHooks.noted))
    assert noted[0] == noted[1]
    assert "on_validation_batch_end" in {name for name, _, _ in noted[0]}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_killed_before_its_test_scores_as_if_it_had_not_been(
    quick_run: QuickRun, tmp_path: Path, engine: str
) -> None:
    whole = quick_run(f"engine={engine}")
    (tmp_path / "run" / "result.json").unlink()
    again = quick_run(f"engine={engine}", resume_from=tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert (again.test_loss, again.test_acc) == (whole.test_loss, whole.test_acc)


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_in_the_middle_of_an_epoch_loses_nothing(quick_run: QuickRun, tmp_path: Path, engine: str) -> None:
    common = [f"engine={engine}", "trainer.precision=64-true", "trainer.max_epochs=400", "callbacks.progress=null"]
    folder = tmp_path / "stopped"

    def press_when_under_way() -> None:
        deadline = time.monotonic() + 120
        while not (folder / "metrics.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_when_under_way, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        quick_run(*common, folder=folder)
    stopped = read_result(folder)
    assert stopped.status == "interrupted"
    steps = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    epochs = steps // 30 + 2
    resumed = quick_run(
        *common, f"trainer.max_epochs={epochs}", folder=folder, resume_from=folder / "checkpoints" / "last.ckpt"
    )
    quick_run(*common, f"trainer.max_epochs={epochs}", folder=tmp_path / "whole")
    assert resumed.status == "completed"
    rows, whole = read_metrics(folder), read_metrics(tmp_path / "whole")
    assert [(r.epoch, r.step, r.train_loss, r.val_loss) for r in rows] == [
        (r.epoch, r.step, r.train_loss, r.val_loss) for r in whole
    ]
    assert same(weights(folder, "last.ckpt"), weights(tmp_path / "whole", "last.ckpt"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_diverged_run_says_so(quick_run: QuickRun, engine: str) -> None:
    result = quick_run(
        f"engine={engine}", "optimizer=sgd", "optimizer.lr=1e30", "model=jsc_mlp", "trainer.max_epochs=5"
    )
    assert result.status == "diverged"
    assert result.epochs_run < 5
    assert any("try a smaller optimizer.lr" in warning for warning in result.warnings)


@pytest.mark.parametrize("engine", ENGINES)
def test_early_stopping_stops_and_is_recorded(quick_run: QuickRun, engine: str) -> None:
    result = quick_run(
        f"engine={engine}", "callbacks=early_stopping", "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=100", "trainer.max_epochs=50",
    )  # fmt: skip
    assert (result.status, result.epochs_run) == ("stopped_early", 2)


def test_a_run_without_checkpoints_is_recorded_untested(quick_run: QuickRun, tmp_path: Path) -> None:
    result = quick_run("callbacks.best_checkpoint=null", "callbacks.last_checkpoint=null")
    assert (result.status, result.epochs_run, result.test_acc) == ("completed", 2, None)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_run_that_is_never_validated_has_no_best_epoch(quick_run: QuickRun) -> None:
    result = quick_run("trainer.max_epochs=2", "trainer.check_val_every_n_epoch=5")
    assert (result.status, result.best_epoch, result.val_loss, result.test_loss) == ("completed", None, None, None)
    assert "nothing was tested" in " ".join(result.warnings)
    assert result.train_loss is not None


def test_the_speed_is_that_of_all_epochs_together(quick_run: QuickRun, tmp_path: Path) -> None:
    result = quick_run("trainer.max_epochs=3")
    speeds = [row.jets_per_second for row in read_metrics(tmp_path / "run") if row.jets_per_second is not None]
    seconds = [1e6 / speed for speed in speeds]  # for as many jets in each
    assert result.jets_per_second == pytest.approx(3e6 / sum(seconds))


def test_a_class_that_is_never_predicted_is_named(quick_run: QuickRun, caplog: pytest.LogCaptureFixture) -> None:
    result = quick_run("loss.class_weights=[1,1,1,0,1]", "model=jsc_mlp")
    assert result.never_predicted == ["z"]
    assert any("predicted z for no test jet" in message for message in caplog.messages)
    assert any("predicted z for no test jet" in warning for warning in result.warnings)


def test_a_run_that_goes_on_with_other_jets_says_so(quick_run: QuickRun, tmp_path: Path) -> None:
    quick_run()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    stored = torch.load(last, weights_only=True)
    stored["hyper_parameters"] |= {"dataset_variant": "cernbox", "dataset_sha256": "0" * 64}
    torch.save(stored, last)
    result = quick_run("trainer.max_epochs=3", resume_from=last)
    [warning] = [w for w in result.warnings if "its scores belong to neither" in w]
    assert "began on jets of variant cernbox" in warning
    assert "goes on with variant simulated" in warning


def test_a_failed_run_leaves_its_error(quick_run: QuickRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jsc.run.training.score_model", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quick_run()
    failed = read_result(tmp_path / "run")
    assert (failed.status, failed.error) == ("failed", "ZeroDivisionError: division by zero")
    assert failed.epochs_run == 2


def test_two_processes_share_one_run_and_each_drops_its_own(tmp_path: Path) -> None:
    words = ["trainer=ddp", "trainer.devices=2", "model=jsc_trt", "optimizer=sgd", "trainer.precision=64-true", *QUICK]
    command = [sys.executable, "-m", "jsc.train", *words, f"hydra.run.dir={tmp_path}/r"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=with_path())
    assert done.returncode == 0, done.stdout + done.stderr
    result = read_result(tmp_path / "r")
    assert (result.status, result.engine) == ("completed", "torch")
    assert [(row.epoch, row.step) for row in read_metrics(tmp_path / "r")] == [(0, 30), (1, 60)]
    assert len(list(tmp_path.glob("**/result.json"))) == 1
    trained = weights(tmp_path / "r", "last.ckpt")
    for name, expected in of_two_processes(settings_of(*words)).named_parameters():
        torch.testing.assert_close(trained[f"model.{name}"], expected.detach(), rtol=1e-9, atol=1e-11)  # of rounding


def of_two_processes(settings: TrainSettings) -> nn.Module:
    """What they do together, in plain torch: every second jet each, the mean of their gradients, masks side by side."""
    jets = jets_of(settings.dataset)
    torch.manual_seed(settings.seed)
    model = build_model(settings.model.name, num_features=16, num_classes=5).double()
    count_dropout(model, seed=settings.seed)
    optimizer = build_optimizer(settings.optimizer, model.parameters())
    x_NF, labels_N = torch.from_numpy(jets.x_NF).double(), torch.from_numpy(jets.labels_N).long()
    order, size = EpochOrder(jets.num_train, seed=settings.seed), settings.dataset.batch_size
    for step in range(60):
        order.set_epoch(step // 30)
        for rank in range(2):
            rows_B = order.rows_N()[rank::2][step % 30 * size : (step % 30 + 1) * size]
            set_dropout_step(model, step, first_row=rank * size)
            (nn.functional.cross_entropy(model(x_NF[rows_B]), labels_N[rows_B]) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def with_path() -> dict[str, str]:
    root = Path(__file__).parents[1]
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def test_the_record_is_plain_json(quick_run: QuickRun, tmp_path: Path) -> None:
    quick_run()
    raw = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=pytest.fail)
    assert set(raw["versions"]) == {"python", "torch", "pytorch_lightning", "hydra_core", "jsc"}
