import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from jsc.cli.command import (
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG_COMMAND,
    compose,
    compose_command,
    last_value,
    quote_path,
    run_hydra,
)
from jsc.cli.run_names import job_name, run_id, sweep_name
from jsc.cli.settings import TrainSettings
from jsc.errors import CommandError, JobFailed


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("model=jsc_huge", ["model=jsc_huge: there is no such choice", "Allowed: jsc_medium, jsc_mlp"]),
        ("model=jsc_tny", ["Did you mean jsc_tiny?"]),
        ("optimizer.lr=fast", ["optimizer.lr=fast: must be a valid number"]),
        ("optimizer.lr=0", ["optimizer.lr=0", "must be greater than 0"]),
        ("optimizer.lr=nan", ["optimizer.lr=nan: must be a finite number"]),
        ("dataset.batch_size=0", ["dataset.batch_size=0: must be greater than or equal to 2"]),
        ("dataset.batch_size=10000000000", ["batch_size=10000000000: must be less than or equal to 2147483647"]),
        ("dataset.batch_size=1.5", ["dataset.batch_size=1.5: must be a valid integer"]),
        ("trainer.max_epoch=5", ["no setting 'trainer.max_epoch'. Did you mean trainer.max_epochs?"]),
        ("trainer.precision=32", ["trainer.precision=32: must be '64-true', '32-true'"]),
        ("optimizer=sgd optimizer.momentun=0.9", ["Did you mean optimizer.momentum?"]),
        ("lr=0.1", ["there is no setting 'lr'. Did you mean optimizer.lr?"]),
        ("batch_size=4", ["Did you mean dataset.batch_size?"]),
        ("modle=jsc_tiny", ["there is no setting 'modle'. Did you mean model?"]),
        ("seed=-1", ["seed=-1: must be greater than or equal to 0"]),
        ("seed=4294967296", ["seed=4294967296: must be less than or equal to 4294967295"]),
        ("plugins=my_models", ["plugins=my_models: must be a list; give plugins=[my_models]"]),
        ("+trainer.speed=9", ["+trainer.speed=9: there is no setting 'trainer.speed'. "]),
        ("+trainer.max_epoch=7", ["+trainer.max_epoch=7: there is no setting", "Did you mean trainer.max_epochs?"]),
        ("+sed=7", ["+sed=7: there is no setting 'sed'. Did you mean seed?"]),
        ("++sed=7", ["++sed=7: there is no setting 'sed'. Did you mean seed?"]),
        ("+foo.bar=3", ["+foo.bar=3: there is no setting 'foo'. Allowed: callbacks, "]),
        ("+lr=0.1", ["+lr=0.1: there is no setting 'lr'. Did you mean optimizer.lr?"]),
        ("+sweep.dryrun=true", ["+sweep.dryrun=true: there is no setting", "Did you mean sweep.dry_run?"]),
        ("seed=0,1", ["seed=0,1: several values: for a sweep add -m; a text with a comma goes in quotes"]),
        ("model=jsc_tiny,jsc_toy", ["model=jsc_tiny,jsc_toy: several values: for a sweep add -m"]),
        ("seed=range(0,3) optimizer.lr=1", ["seed=range(0,3): several values: for a sweep add -m"]),
        ("dataset.batch_size=0 optimizer.lr=fast", ["dataset.batch_size=0", "optimizer.lr=fast"]),
        ("engine=gpu", ["engine=gpu: there is no such choice", "auto, fused, torch"]),
        ("seed", ["seed: not understood", "key=value"]),
        ("hydra.run.dirr=x", ["Did you mean hydra.run.dir?"]),
    ],
)
def test_a_wrong_command_is_answered_on_one_screen(
    command: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        compose_command("train", command.split(), TrainSettings)
    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" not in message
    assert len(message.splitlines()) < 25
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    "word",
    ["+model.options.width=3", "+mine=a", "+callbacks.spy._target_=spies.Spy", "+resume=3", "++seed=3",
     "+sweep.name=x", "+hydra.job.env_set.A=1", "++hydra.job.num=3", "+optimizer.amsgrad=true"],
)  # fmt: skip
def test_a_word_may_add_what_is_read(word: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.yaml").write_text("# @package _global_\nseed: 5\n")
    searchpath = f"hydra.searchpath=[{tmp_path}]"
    told = compose("train", [word, searchpath]).hydra.overrides
    assert word in [*told.task, *told.hydra]


def test_the_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit):
        compose_command("train", ["model=jsc_huge"], TrainSettings)
    assert "Traceback" in capsys.readouterr().err


def test_paths_are_taken_literally(tmp_path: Path) -> None:
    folder = tmp_path / "0_lr=0.1,batch_size=64 it's"
    folder.mkdir()
    quoted = quote_path(f"resume={folder}")
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert OverridesParser.create().parse_override(quoted).value() == str(folder)
    assert quote_path("optimizer.lr=0.1,0.2") == "optimizer.lr=0.1,0.2"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["optimizer.lr=0.1", "dataset.batch_size=64"], "lr=0.1,batch_size=64"),
        (["model=jsc_tiny", "experiment=batch_size", "seed=1"], "model=jsc_tiny,seed=1"),
        (["dataset.path=/a b/c"], "path=_a_b_c"),
        ([], "default"),
    ],
)
def test_job_names_read_well(overrides: list[str], name: str) -> None:
    assert job_name(overrides) == name


def test_long_job_names_stay_apart() -> None:
    names = {job_name([f"model.options.width={'9' * 200}{i}"]) for i in range(5)}
    assert len(names) == 5
    assert all(len(name) <= 120 for name in names)


def test_a_sweep_keeps_its_name_for_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jsc.cli.run_names._names_of_sweeps", {})
    assert sweep_name(None, ["optimizer.lr=1,2", "seed=0", "dataset.batch_size=3,4"]) == "lr_x_batch_size"
    assert sweep_name(None, ["optimizer.lr=1", "seed=0"]) == "lr_x_batch_size"


def test_runs_of_one_instant_have_names_of_their_own() -> None:
    command = [sys.executable, "-c", "from jsc.cli.run_names import run_id; print(run_id())"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(10)]
    names = {process.communicate()[0].strip() for process in processes}
    assert len(names) == 10
    assert "" not in names
    assert run_id() == run_id()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, DONE),
        (JobFailed(), FAILED),
        (ValueError("of a job's surroundings"), FAILED),
        (KeyboardInterrupt(), INTERRUPTED),
        (CommandError("no"), WRONG_COMMAND),
    ],
)
def test_exit_codes(error: BaseException | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def main(config: DictConfig) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr("jsc.sweep.checks.prepare_run", main)  # a callback of Hydra's calls it
    monkeypatch.setattr(sys, "argv", ["jsc.train", f"hydra.run.dir={tmp_path / 'run'}"])
    with pytest.raises(SystemExit) as ended:
        run_hydra(lambda config: None, "train")
    assert ended.value.code == code
    assert (tmp_path / "run").exists() == (error is None)
    monkeypatch.setattr("jsc.sweep.checks.prepare_run", lambda config: None)
    with pytest.raises(SystemExit) as ended:
        run_hydra(main, "train")
    assert ended.value.code == code


def test_the_last_value_counts() -> None:
    words = ["resume=a", "sweep.resume=b", "resume='c d'", "seed"]
    assert last_value(words, "resume") == "c d"
    assert last_value([*words, "resume=null"], "resume") is None
    assert last_value(words, "seed") is None


@pytest.mark.parametrize("module", ["jsc.cli.command", "jsc.cli.settings", "jsc.train", "jsc.results", "jsc.reporting"])
def test_a_misspelt_word_is_answered_before_torch_is_loaded(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, *shlex.split("-c"), code], check=False).returncode == 0
