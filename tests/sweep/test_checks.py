import sys
from pathlib import Path

import pytest

from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher
from jsc.cli.command import compose
from jsc.errors import CommandError
from jsc.sweep.checks import check_jobs


@pytest.mark.parametrize(("launcher", "is_refused"), [("jsc", True), ("basic", True), ("submitit_slurm", False)])
def test_a_clusters_gpus_need_not_be_on_the_login_node(
    monkeypatch: pytest.MonkeyPatch, launcher: str, is_refused: bool
) -> None:
    monkeypatch.setattr("jsc.run.assembly.CUDAAccelerator.is_available", lambda: False)
    monkeypatch.setattr("jsc.run.assembly.MPSAccelerator.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["jsc.train", "-m"])
    monkeypatch.setattr(JscLauncher, "get_ready", lambda: None)
    config = compose("train", ["trainer=gpu", f"hydra/launcher={launcher}"])
    if is_refused:
        with pytest.raises(CommandError, match="torch finds no GPU here"):
            check_jobs([config])
    else:
        check_jobs([config])


@pytest.mark.parametrize("name", ["result.json", "metrics.csv"])
def test_a_folder_that_holds_a_run_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["jsc.train"])
    config = compose("train", [f"hydra.run.dir={tmp_path}"])
    check_jobs([config])
    (tmp_path / name).touch()
    with pytest.raises(CommandError, match="it holds a run already"):
        check_jobs([config])
    monkeypatch.setattr(sys, "argv", ["jsc.train", "-m"])
    monkeypatch.setattr(JscLauncher, "get_ready", lambda: None)
    check_jobs([config])
