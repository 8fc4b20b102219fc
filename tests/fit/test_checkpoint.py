from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jsc.fit.checkpoint import AtomicCheckpointIO, BestCheckpoint
from jsc.results import LAST_CHECKPOINT, RunResult


def test_the_best_waits_in_memory_for_the_next_checkpoint(tmp_path: Path) -> None:
    files = AtomicCheckpointIO(best_waits=True)
    best, last = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    weight = torch.zeros(3)
    files.save_checkpoint({"optimizer_states": [{"state": {0: weight}}]}, best)
    assert not best.exists()
    weight.add_(1.0)  # as training does
    files.save_checkpoint({"weight": weight}, last)
    assert torch.equal(torch.load(best)["optimizer_states"][0]["state"][0], torch.zeros(3))
    assert torch.equal(torch.load(last)["weight"], torch.ones(3))
    files.save_checkpoint({"weight": weight}, best)
    assert "weight" not in torch.load(best)
    files.teardown()
    assert torch.equal(torch.load(best)["weight"], torch.ones(3))


def test_without_another_checkpoint_the_best_is_written_at_once(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(3)}, tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").exists()


@pytest.mark.parametrize(("seconds", "num_saves"), [(0, 3), (1000, 1)])
def test_the_last_checkpoint_is_saved_at_the_end_and_now_and_then_before(
    quick_run: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch, seconds: int, num_saves: int
) -> None:
    saved: list[Path] = []
    by_us = AtomicCheckpointIO.save_checkpoint

    def save(files: AtomicCheckpointIO, checkpoint: dict[str, object], path: Path, **rest: object) -> None:
        saved.append(Path(path))
        by_us(files, checkpoint, path, **rest)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
    quick_run("trainer.max_epochs=3", f"callbacks.last_checkpoint.seconds_between={seconds}")
    assert [path.name for path in saved].count(LAST_CHECKPOINT) == num_saves
    assert saved[-1].is_file()


@pytest.mark.parametrize(("monitor", "mode"), [("val_acc_epoch", "max"), ("val_loss_epoch", "min"), ("mine", "max")])
def test_the_best_is_not_the_worst(monitor: str, mode: str) -> None:
    BestCheckpoint(monitor=monitor, mode=mode)
    if monitor != "mine":
        other = {"max": "min", "min": "max"}[mode]
        with pytest.raises(ValueError, match=f"mode={other} keeps the worst {monitor}; give mode={mode}"):
            BestCheckpoint(monitor=monitor, mode=other)
