"""What is said of keys that are not there: advice to add one is given only where the command then works."""

import contextlib
import sys
from pathlib import Path

import pytest

from jsc.cli.command import compose_command, explained_errors
from jsc.cli.settings import TrainSettings
from jsc.models import registry
from jsc.run.assembly import prepare

PLUGIN = """
from torch import nn
from jsc.models import ModelInfo, register

@register(ModelInfo(name="optional", model_source="physical", task_type="physical",
                    physical_data_point_classification=True))
def optional(*, num_features, num_classes, width=3):
    return nn.Sequential(nn.Linear(num_features, width), nn.Linear(width, num_classes))
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "optional_model.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    monkeypatch.delitem(sys.modules, "optional_model", raising=False)


def said_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """On one screen; empty if the run could begin."""
    with contextlib.suppress(SystemExit), explained_errors("train", words):
        prepare(compose_command("train", words, TrainSettings), Path())
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert len(message) < 1000
    return message.strip()


MINE = "plugins=[optional_model] model.name=optional"
STOPPING = "callbacks.early_stopping"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("model.options.width=32", "model.options.width=32: model 'jsc-tiny' does not take width; it has no options"),
        ("+model.options.width=32", "model 'jsc-tiny' does not take width; it has no options"),
        (f"{MINE} model.options.widht=3", "its options are width, given as +model.options.OPTION=VALUE"),
        ("model.options.width=3 plugins=[nowhere]", "plugins=[nowhere]: ModuleNotFoundError"),
        ("model.options.width=3 model.name=jsc-tny", "Did you mean 'jsc-tiny'?"),
        ("optimizer.momentum=0.9", "no setting 'optimizer.momentum'. Allowed: optimizer.betas, optimizer.eps"),
        ("+optimizer.momentum=0.9", "torch.optim.Adam does not take momentum; it takes lr, betas, eps"),
        ("optimizer.betas=3", "torch.optim.Adam(lr=0.001, weight_decay=0.0, betas=3, eps=1e-08): 'int' object"),
        ("scheduler.gamma=0.5", "no setting 'scheduler.gamma'. Allowed: scheduler.name."),
        ("+scheduler.gamma=0.5", "scheduler: none takes no gamma; choose another, such as scheduler=step"),
        ("dataset.path=jets.npz", "no setting 'dataset.path'. Allowed: dataset.batch_size, dataset.name."),
        ("+dataset.path=jets.npz", "jsc.datasets.JetSample does not take path; it takes nothing"),
        ("dataset=jsc_file dataset.pth=a", "Did you mean dataset.path?"),
        ("callbacks.progress.x=3", "callbacks.progress has no keys"),
        ("callbacks.early_stoping.patience=3", f"Did you mean {STOPPING}?"),
        ("callbacks.best_checkpoint.x.y=3", "no setting 'callbacks.best_checkpoint.x'. Allowed: callbacks.best_"),
        ("+callbacks.mine._target_=a.B", "a.B: No module named 'a'"),
        ("+callbacks.mine._target_=math.pi", "math.pi: it makes no Callback"),
        ("+callbacks.mine=3", "callbacks.mine=3: must be a section; give callbacks.mine.KEY=VALUE"),
        ("trainer.max_epochs.x=3", "trainer.max_epochs has no keys of its own: give trainer.max_epochs=VALUE"),
        ("seed.x=3", "seed has no keys of its own: give seed=VALUE"),
        ("plugins.x=3", "plugins has no keys of its own: give plugins=VALUE"),
        ("experiment.x=3", "experiment has no keys of its own: give experiment=VALUE"),
        ("hydra.job.envset.A=3", "Did you mean hydra.job.env_set?"),
        ("+model=jsc_s", "+model=jsc_s: model is chosen already; give model=jsc_s"),
        ("model=3", "model=3: Config group override must be a string"),
        ("--cfg", "--cfg: not understood. Settings are given as key=value, and --help lists them"),
    ],
)
def test_what_cannot_work_is_not_advised(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = said_of(command.split(), capsys)
    assert message in said
    assert "give +" not in said
    assert "add " not in said


@pytest.mark.parametrize(
    ("command", "advised", "others"),
    [
        (f"{MINE} model.options.width=8", "+model.options.width=8", MINE),
        ("optimizer.amsgrad=true", "+optimizer.amsgrad=true", ""),
        ("hydra.job.env_set.A=1", "+hydra.job.env_set.A=1", ""),
        (f"{STOPPING}.patience=3", "callbacks=early_stopping", f"{STOPPING}.patience=3"),
        (f"+{STOPPING}.monitor=val_loss_epoch", f"+{STOPPING}._target_=CLASS", f"+{STOPPING}.monitor=val_loss_epoch"),
        (
            "callbacks.mine._target_=jsc.fit.progress.FitProgress",
            "+callbacks.mine._target_=jsc.fit.progress.FitProgress",
            "",
        ),
        ("logger=none logger.csv.name=a", "+logger.csv._target_=CLASS", "logger=none +logger.csv.name=a"),
    ],
)
def test_what_is_advised_works(command: str, advised: str, others: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert advised in said_of(command.split(), capsys)
    of_lightning = {"callbacks": "callbacks.EarlyStopping", "logger": "loggers.CSVLogger"}.get(
        advised[1:].split(".")[0]
    )
    followed = advised.replace("CLASS", f"pytorch_lightning.{of_lightning}")
    assert said_of([*others.split(), followed], capsys) == ""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("model=jsc_tiny,jsc_s optimizer.foo=1", "no setting 'optimizer.foo'. Allowed: optimizer.betas"),
        ("model=jsc_tiny,jsc_s model.options.width=1,2", "'jsc-tiny' does not take width; it has no options"),
    ],
)
def test_a_sweeps_keys_are_explained_too(
    command: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jsc import train

    monkeypatch.setattr("sys.argv", ["jsc.train", "-m", *command.split()])
    with pytest.raises(SystemExit) as ended:
        train.entry()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
