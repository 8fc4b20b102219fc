"""What a stranger's file asks for is not done; what the reader types is."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from jsc.cli.construction import check_kind
from jsc.cli.trust import check_recorded
from jsc.errors import CommandError
from jsc.results import RunResult
from jsc.sweep.plan import resumed_sweep
from tests.conftest import QUICK, Command

QuickRun = Callable[..., RunResult]
FILE = Path("run/.hydra/overrides.yaml")


@pytest.mark.parametrize(
    ("recorded", "allowing"),
    [
        ("+callbacks.x._target_=os.system", "trusted=[os]"),
        ("+callbacks.x={_target_: os.system, command: touch PWNED}", "trusted=[os]"),
        ("callbacks.x._target_=os.system,os.popen", "trusted=[os]"),
        ("dataset._target_=jsctwo.datasets.Jets", "trusted=[jsctwo]"),
        ("++optimizer._target_=torch.hub.load", "trusted=[torch]"),
        ("plugins=[evil]", "plugins=[evil]"),
        ("dataset.url=http://127.0.0.1:9/jets.h5", "dataset.url=http://127.0.0.1:9/jets.h5"),
        ("hydra.searchpath=[pkg://evil]", "hydra.searchpath="),
        ("hydra.job_logging={handlers: {x: {(): os.system}}}", ""),
        ("hydra.callbacks.x._target_=os.system", "trusted=[os]"),
        ("hydra.job.env_set={PYTHONPATH: evil}", "hydra.job.env_set="),
        ("hydra.launcher._target_=os.system", "trusted=[os]"),
        ("hydra.launcher.setup=[touch PWNED]", "hydra.launcher.setup="),
        ("+hydra.launcher.additional_parameters={wrap: touch PWNED}", "hydra.launcher.additional_parameters="),
    ],
)
def test_what_a_file_may_not_ask_for_is_named_with_the_way_to_allow_it(recorded: str, allowing: str) -> None:
    with pytest.raises(CommandError) as raised:
        check_recorded(["seed=1", recorded], ["trainer.max_epochs=9"], FILE)
    assert str(FILE) in str(raised.value)
    assert allowing in str(raised.value)


def test_what_is_no_override_at_all_is_said_with_the_file() -> None:
    with pytest.raises(CommandError, match=r"overrides\.yaml: "):
        check_recorded(["=["], [], FILE)


def test_what_jsc_records_of_its_own_goes_through_and_what_the_reader_types_is_the_readers() -> None:
    recorded = [
        *("model=jsc_mlp", "optimizer.lr=1e-1,1e-3", "loss.class_weights=[1,1,2,2,1]", "plugins=[]"),
        "+callbacks.average={_target_: pytorch_lightning.callbacks.StochasticWeightAveraging, swa_lrs: 0.01}",
        *("optimizer._target_=torch.optim.RAdam", "dataset=jsc_file", "dataset.path='it,s=mine.csv'"),
        *("hydra/launcher=submitit_slurm", "hydra.launcher.num_tasks=20", "hydra.sweep.subdir=${hydra.job.num}"),
    ]
    assert check_recorded(recorded, [], FILE) == recorded
    of_ones_own = ["callbacks.x._target_=mine.Callback", "dataset.url=ftp://mine", "plugins=[mine]"]
    typed = ["-m", "trusted=[mine]", "plugins=[mine]", "dataset.url=ftp://mine"]
    assert check_recorded(["trusted=[os]", *of_ones_own], typed, FILE) == of_ones_own
    with pytest.raises(CommandError, match=r"names callbacks\.x\._target_"):
        check_recorded(["trusted=[mine]", *of_ones_own], [], FILE)


def test_a_sweeps_plan_is_read_so_too(tmp_path: Path) -> None:
    plan = {"words": ["+callbacks.x._target_=os.system", "seed=0,1"], "settings": {}, "jobs": []}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    with pytest.raises(CommandError, match=r"sweep\.json names callbacks\.x\._target_: _target_=os\.system"):
        resumed_sweep(tmp_path, [])
    assert "seed=0,1" in resumed_sweep(tmp_path, ["trusted=[os]"])


def test_a_run_of_a_strangers_is_not_resumed_into_a_program(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("jsc.train", *QUICK, "hydra.run.dir=run") == 0
    evil = "+callbacks.x={_target_: os.system, command: touch PWNED}"
    OmegaConf.save(OmegaConf.create([*QUICK, evil]), tmp_path / FILE)
    assert command("jsc.train", "resume=run", "trainer.max_epochs=3") == 2
    assert "overrides.yaml names callbacks.x: _target_=os.system" in capsys.readouterr().err
    assert command("jsc.train", "resume=run", "trainer.max_epochs=3", "trusted=[os]") == 2  # it is no callback either
    assert not (tmp_path / "PWNED").exists()


def forge(checkpoint_file: Path, **dataset: Any) -> None:
    """A checkpoint with another data set than it was trained on."""
    checkpoint = torch.load(checkpoint_file, weights_only=True)
    section = checkpoint["hyper_parameters"]["settings"]["dataset"]
    section.clear()
    section.update(batch_size=64, **dataset)
    torch.save(checkpoint, checkpoint_file)


def test_a_checkpoint_builds_no_program_and_reads_nothing_that_it_alone_names(
    quick_run: QuickRun, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    quick_run()
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    forge(best, name="jsc_sample", _target_="os.system", command="touch PWNED")
    assert command("jsc.test", "checkpoint=run") == 2
    error = capsys.readouterr().err
    assert "best.ckpt names dataset: _target_=os.system" in error
    assert "trusted=[os]" in error
    assert command("jsc.test", "checkpoint=run", "trusted=[os]") == 2
    assert "it makes no JetSource" in capsys.readouterr().err
    assert not (tmp_path / "PWNED").exists()
    forge(best, name="jsc_file", _target_="jsc.datasets.JetFile", path="/etc/passwd", variant="x", classes=None)
    assert command("jsc.test", "checkpoint=run") == 2
    assert "give it yourself: dataset=jsc_file dataset.path=/etc/passwd" in capsys.readouterr().err
    forge(best, name="jsc", _target_="jsc.datasets.CernboxJets", path=None, md5=None, url="http://127.0.0.1:9/x")
    assert command("jsc.test", "checkpoint=run") == 2
    assert "dataset.url=http://127.0.0.1:9/x, which is not read" in capsys.readouterr().err
    assert command("jsc.test", "checkpoint=run", "dataset=jsc_sample") == 0


def annotated() -> "torch.optim.Optimizer":
    raise AssertionError("it is looked at, not called")


def not_annotated():  # type: ignore[no-untyped-def]
    raise AssertionError("it is looked at, not called")


@pytest.mark.parametrize(
    "target", ["os.system", "os.getcwd", "builtins.exec", "tests.cli.test_trust.not_annotated", "os"]
)
def test_what_makes_another_thing_is_not_called(target: str) -> None:
    with pytest.raises(CommandError, match=f"_target_={target}: it makes no Optimizer"):
        check_kind(target, torch.optim.Optimizer)


def test_classes_and_annotated_functions_are_taken() -> None:
    check_kind("torch.optim.Adam", torch.optim.Optimizer)
    check_kind("tests.cli.test_trust.annotated", torch.optim.Optimizer)


@pytest.mark.parametrize(
    "override",
    [
        "+callbacks.x._target_=os.system",
        "dataset._target_=os.getcwd",
        "+logger.x._target_=os.getcwd",
        "optimizer._target_=builtins.dict",
        "+scheduler._target_=os.getcwd",
    ],
)
def test_a_typed_target_of_another_kind_is_refused_before_there_is_a_folder(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    assert command("jsc.train", *QUICK, "hydra.run.dir=run", override) == 2
    assert "it makes no " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_job_may_not_lie_outside_its_sweep(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["hydra.sweep.dir=sweep", "hydra.sweep.subdir=../neighbour"]
    assert command("jsc.train", "-m", *QUICK, "seed=0,1", *folders) == 2
    assert "a job's folder lies in the sweep's" in capsys.readouterr().err
    assert not (tmp_path / "neighbour").exists()
    assert not (tmp_path / "sweep").exists()
    assert "evil" not in sys.modules
