from pathlib import Path

import torch

from jsc.checkpoint import AtomicCheckpointIO


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
    assert files.best is not None
    assert torch.equal(files.best.weights["weight"], torch.ones(3))
    files.teardown()
    assert torch.equal(torch.load(best)["weight"], torch.ones(3))


def test_without_another_checkpoint_the_best_is_written_at_once(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(3)}, tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").exists()
