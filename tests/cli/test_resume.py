import shutil
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from jsc.cli import command
from jsc.cli.command import compose
from jsc.cli.resume import check_unchanged, resumed_overrides
from jsc.cli.settings import TrainSettings, flat
from jsc.errors import CommandError
from jsc.results import read_metrics, read_result
from tests.conftest import Command


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """What a run of two epochs leaves for `resume=`, its checkpoint empty."""
    return stored_run(
        tmp_path / "0_lr=0.01,batch_size=64", "optimizer.lr=0.01", "dataset.batch_size=64", "trainer.max_epochs=2"
    )


def stored_run(folder: Path, *words: str) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / ".hydra").mkdir()
    overrides = [*words, "resume=null"]
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")
    config = {key: value for key, value in compose("train", overrides).items() if key != "hydra"}
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
    return folder


def test_a_folder_becomes_its_own_command(run_folder: Path) -> None:
    checkpoint = run_folder / "checkpoints" / "last.ckpt"
    for path in (run_folder, checkpoint):
        overrides = resumed_overrides(path, ["trainer.max_epochs=5"])
        assert overrides[:3] == ["optimizer.lr=0.01", "dataset.batch_size=64", "trainer.max_epochs=5"]
        config = compose("train", overrides)
        assert (config.hydra.run.dir, config.resume) == (str(run_folder), str(checkpoint))
        check_unchanged(config, settings_of(config), checkpoint)


def settings_of(config: DictConfig) -> TrainSettings:
    return command.check(config, TrainSettings)


def check(folder: Path, *further: str) -> TrainSettings:
    config = compose("train", resumed_overrides(folder, list(further)))
    settings = settings_of(config)
    check_unchanged(config, settings, folder / "checkpoints" / "last.ckpt")
    return settings


def test_a_default_that_has_changed_since_is_named(run_folder: Path) -> None:
    path = run_folder / ".hydra" / "config.yaml"
    stored = OmegaConf.load(path)
    stored.optimizer.eps = 0.5
    OmegaConf.save(stored, path)
    with pytest.raises(CommandError, match=r"optimizer\.eps was 0\.5, is 1e-08"):
        check(run_folder)
    check(run_folder, "optimizer.eps=0.5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=0.1"], r"optimizer\.lr was 0\.01, is 0\.1\. It goes on"),
        (["dataset.batch_size=32", "seed=5"], r"dataset\.batch_size was 64, is 32; seed was 0, is 5"),
        (["model=jsc_medium"], r"model\.name was jsc-tiny, is jsc-medium"),
        (["trainer.precision=64-true"], r"trainer\.precision was 32-true, is 64-true"),
        (["scheduler=step"], r"scheduler\.name was none, is step"),
    ],
)
def test_a_run_goes_on_with_its_own_settings(run_folder: Path, words: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        check(run_folder, *words)


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("trainer.max_epochs=9", "trainer.max_epochs", 9),
        ("trainer=gpu", "trainer.accelerator", "gpu"),
        ("engine=torch", "engine.name", "torch"),
        ("callbacks=early_stopping", "callbacks.early_stopping.patience", 10),
        ("logger=none", "logger", {}),
        ("plugins=[mine]", "plugins", ["mine"]),
    ],
)
def test_how_long_where_and_what_is_kept_may_change(run_folder: Path, word: str, key: str, value: object) -> None:
    before, after = (flat(settings.model_dump()) for settings in (check(run_folder), check(run_folder, word)))
    assert before.get(key) != after[key] == value
    outcome = ("optimizer.lr", "dataset.batch_size", "model.name", "seed")
    assert {name: before[name] for name in outcome} == {name: after[name] for name in outcome}


def test_the_message_names_what_may_change(run_folder: Path) -> None:
    with pytest.raises(CommandError) as raised:
        check(run_folder, "seed=5")
    told = str(raised.value).partition("but for ")[2].partition(". For others")[0].split(", ")
    assert {"trainer.max_epochs", "engine.name", "callbacks", "logger", "dataset.path"} < set(told)
    assert not {"seed", "optimizer.lr", "model.name", "trainer.precision"} & set(told)


@pytest.mark.parametrize(("schedule", "key"), [("cosine", "T_max"), ("onecycle", "length")])
def test_a_schedule_made_for_a_length_keeps_it(tmp_path: Path, schedule: str, key: str) -> None:
    folder = stored_run(tmp_path / "run", f"scheduler={schedule}", "trainer.max_epochs=2")
    check(folder)
    with pytest.raises(CommandError, match=rf"scheduler\.{key} was 2, is 4"):
        check(folder, "trainer.max_epochs=4")


def test_a_run_is_not_cut_short(run_folder: Path) -> None:
    rows = ["epoch,step,lr,train_loss,train_acc,val_loss,val_acc,seconds,jets_per_second"]
    rows += [f"{epoch},{epoch + 1},0.01,1.0,0.5,1.0,0.5,1.0,1000.0" for epoch in range(2)]
    (run_folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    check(run_folder, "trainer.max_epochs=2")
    with pytest.raises(CommandError, match="2 epochs have been run"):
        check(run_folder, "trainer.max_epochs=1")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "checkpoints"), "there is no .*last.ckpt"),
        (lambda folder: shutil.rmtree(folder / ".hydra"), "holds no .*overrides.yaml"),
    ],
)
def test_what_cannot_be_resumed_is_said(run_folder: Path, break_it, message: str) -> None:
    break_it(run_folder)
    with pytest.raises(CommandError, match=message):
        resumed_overrides(run_folder, [])


@pytest.mark.parametrize("word", ["resume", "+resume", "++resume"])
def test_a_resume_is_not_swept(
    run_folder: Path, word: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("jsc.train", "-m", f"{word}={run_folder}", "seed=0,1") == 2
    assert "cannot be swept with -m" in capsys.readouterr().err


def test_commands_from_end_to_end(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run, its resumption in the same folder, a sweep, and a command that is wrong: folders and exit codes."""
    quick = "trainer.limit_train_batches=30"
    assert command("jsc.train", "trainer.max_epochs=2", quick) == 0
    output = capfd.readouterr().out
    assert "trainer.max_epochs" in output
    assert "test" in output
    [folder] = tmp_path.glob("outputs/runs/jsc-tiny/*")
    assert {p.name for p in folder.iterdir()} >= {".hydra", "result.json", "metrics.csv", "checkpoints", "train.log"}
    assert read_result(folder).command == f"python -m jsc.train trainer.max_epochs=2 {quick}"
    tables = [line for line in output.splitlines() if line.startswith(("╭", "│", "╰"))]
    assert len(tables) > 8
    assert set(tables) <= set((folder / "train.log").read_text().splitlines())

    kept = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert command("jsc.train", f"hydra.run.dir={folder}") == 2
    assert f"resume='{folder}'" in capfd.readouterr().err
    assert command("jsc.train", f"resume={folder}", "model=jsc_medium") == 2
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == kept

    assert command("jsc.train", f"resume={folder}", "trainer.max_epochs=4") == 0
    assert read_result(folder).command == f"python -m jsc.train {quick} trainer.max_epochs=4"
    assert [row.epoch for row in read_metrics(folder)] == [0, 1, 2, 3]
    assert len(list(tmp_path.glob("outputs/runs/jsc-tiny/*"))) == 1

    assert command("jsc.train", "-m", "optimizer.lr=0.1,0.001", "trainer.max_epochs=1", quick) == 0
    jobs = sorted(p.parent.name for p in tmp_path.glob("outputs/sweeps/lr/*/*/result.json"))
    assert [job.split(",")[0] for job in jobs] == ["0_lr=0.1", "1_lr=0.001"]

    before = sorted(tmp_path.rglob("*"))
    capfd.readouterr()
    assert command("jsc.train", "model.name=jsc-huge") == 2
    message = capfd.readouterr().err
    assert "there is no model 'jsc-huge'" in message
    assert "Traceback" not in message
    assert sorted(tmp_path.rglob("*")) == before
