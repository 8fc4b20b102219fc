"""What `prepare` builds, and finds wrong before a run has a folder."""

import math
from pathlib import Path

import pytest
import torch

from jsc.errors import CommandError
from jsc.models import build_model
from jsc.run.assembly import prepare
from tests.conftest import settings_of


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("scheduler=step scheduler.step_size=0", r"scheduler step \(step_size=0, gamma=0.5\): ZeroDivisionError: "),
        (
            "trainer.max_epochs=3 scheduler=step scheduler._target_=torch.optim.lr_scheduler.MultiStepLR "
            "~scheduler.step_size +scheduler.milestones=[2] scheduler.gamma=-1",
            r"the learning rate is -0.001 after epoch 2; ",
        ),
        (
            "scheduler=step scheduler.step_size=1 scheduler.gamma=-1",
            r"\(step_size=1, gamma=-1\): the learning rate is -0.001 after epoch 1; ",
        ),
        ("scheduler=step scheduler.step_size=abc", r"scheduler step \(step_size=abc, gamma=0.5\): TypeError: "),
        ("scheduler=cosine scheduler.T_max=0", r"scheduler cosine \(T_max=0, eta_min=0.0\): ZeroDivisionError: "),
        ("scheduler=onecycle scheduler.pct_start=2", r"scheduler onecycle .*pct_start=2.*: ValueError: "),
        ("optimizer.betas=[0.9]", r"optimizer adam \(.*betas=\[0.9\].*\): list index out of range"),
        ("engine=torch optimizer.betas=[0.9]", "list index out of range"),
        ("optimizer.betas=[0.9,1.5]", "Invalid beta parameter at index 1: 1.5"),
        ("loss.class_weights=[0,0,0,0,0]", "one of them at least is above 0"),
        ("loss.class_weights=[1,1]", "give 5 weights, one for each of"),
        (
            "callbacks=early_stopping callbacks.early_stopping.monitor=val_los",
            r"callbacks\.early_stopping\.monitor=val_los: nothing of .* Did you mean val_loss_epoch\? Allowed: train_",
        ),
        ("callbacks.best_checkpoint.monitor=val_acc", "Did you mean val_acc_epoch"),
        (
            "scheduler=plateau scheduler.monitor=val_loss",
            r"scheduler\.monitor=val_loss: .* mean val_loss_epoch",
        ),
        ("callbacks=early_stopping callbacks.early_stopping.mode=down", "^trainer, callbacks or logger: "),
        ("trainer.devices=3", "trainer.strategy=auto cannot start several .* give trainer=ddp trainer.devices=3$"),
        ("trainer.devices=2 trainer.strategy=ddp", "give trainer=ddp trainer.devices=2$"),
    ],
)
def test_what_a_run_cannot_use_is_said_beforehand(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(settings_of(*words.split()), tmp_path)


def test_a_gpu_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDAAccelerator", "MPSAccelerator"):
        monkeypatch.setattr(f"jsc.run.assembly.{name}.is_available", lambda: False)
    with pytest.raises(CommandError, match=r"trainer\.accelerator=gpu: torch finds no GPU here; take "):
        prepare(settings_of("trainer=gpu"), tmp_path)


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        ("scheduler=none", [1e-3, 1e-3, 1e-3]),
        ("scheduler=step scheduler.step_size=2", [1e-3, 1e-3, 5e-4]),
        ("scheduler=cosine trainer.max_epochs=150", [1e-3, 0.5e-3 * (1 + math.cos(math.pi / 150))]),
        ("scheduler=plateau", [1e-3, 1e-3, 1e-3]),
        ("scheduler=onecycle scheduler.cycle_momentum=true", [4e-5]),
    ],
)
def test_a_trial_of_the_schedule_leaves_the_runs_own_optimizer_as_it_is(
    tmp_path: Path, words: str, rates: list[float]
) -> None:
    task = prepare(settings_of(*words.split()), tmp_path).task
    optimizer = task.make_optimizer(task.model.parameters())
    scheduler = task.schedule.start(optimizer, total_steps=100) if task.schedule else None
    for rate in rates:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        if scheduler is not None:
            optimizer.step()
            scheduler.step(1.0) if "plateau" in words else scheduler.step()


@pytest.mark.parametrize(
    ("words", "monitor"),
    [
        ("callbacks=early_stopping callbacks.early_stopping.monitor=val_acc_epoch", "val_acc_epoch"),
        ("callbacks=early_stopping callbacks.early_stopping.monitor=lr-Adam", "lr-Adam"),
        (
            "callbacks=early_stopping callbacks.early_stopping.monitor=val_auc_epoch "
            "+callbacks.auc._target_=tests.run.test_training.ValidationHooks",
            "val_auc_epoch",
        ),
    ],
)
def test_a_score_that_another_callback_may_log_is_watched(tmp_path: Path, words: str, monitor: str) -> None:
    trainer = prepare(settings_of(*words.split()), tmp_path).trainer
    assert [c.monitor for c in trainer.early_stopping_callbacks] == [monitor]


def test_processes_that_train_together_are_as_many_as_asked_for(tmp_path: Path) -> None:
    assert prepare(settings_of("trainer=ddp", "trainer.devices=3"), tmp_path).trainer.world_size == 3


def test_weights_are_those_that_the_seed_alone_gives(tmp_path: Path) -> None:
    settings = settings_of("seed=3", "model=jsc_trt")
    torch.manual_seed(3)
    expected = build_model("jsc-trt", num_features=16, num_classes=5).state_dict()
    torch.rand(7)
    drawn = prepare(settings, tmp_path).task.model.state_dict()
    assert all(torch.equal(drawn[name], weights) for name, weights in expected.items())
    assert not list(tmp_path.iterdir())
