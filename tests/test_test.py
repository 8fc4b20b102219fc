"""`python -m jsc.test` and `resume=`, called in this process as their entries call themselves."""

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.metrics import confusion_matrix, precision_score, recall_score, roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from jsc.datasets import JetSample, load_jets, prepare
from jsc.errors import CheckpointError
from jsc.fit.checkpoint import load_weights, read_checkpoint
from jsc.fit.engine import TorchEngine
from jsc.models import build_model, registry
from jsc.results import RunResult, read_predictions, read_test
from jsc.run import assembly
from jsc.run.testing import class_scores, confusion_of, score_model
from tests.conftest import Command

QuickRun = Callable[..., RunResult]


@pytest.fixture
def checkpoint(quick_run: QuickRun, tmp_path: Path) -> Path:
    quick_run("engine=torch")
    return tmp_path / "run" / "checkpoints" / "best.ckpt"


def test_a_checkpoint_is_all_that_it_needs(
    checkpoint: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = read_test(checkpoint.parent / "test.json")
    (checkpoint.parent / "test.json").unlink()
    assert command("jsc.test", f"checkpoint={checkpoint}") == 0
    assert read_test(checkpoint.parent / "test.json") == trained
    printed = capsys.readouterr().out
    for part in ("jsc-tiny (127 parameters) on 20,000 test jets", "precision", "recall", "AUC", "Confusion"):
        assert part in printed
    assert (checkpoint.parent / "confusion.png").stat().st_size > 10_000
    files = {path.name.partition(".")[0] for path in checkpoint.parent.parent.iterdir()}
    assert files == {"checkpoints", "events", "metrics", "result"}
    events = [EventAccumulator(str(path)) for path in checkpoint.parent.parent.glob("events.out.tfevents.*")]
    assert ["test_confusion"] in [event.Reload().Tags()["images"] for event in events]


@pytest.mark.parametrize("given", ["run", "run/checkpoints"])
def test_a_runs_folder_stands_for_its_best_checkpoint(checkpoint: Path, command: Command, given: str) -> None:
    (checkpoint.parent / "test.json").unlink()
    assert command("jsc.test", f"checkpoint={given}") == 0
    assert read_test(checkpoint.parent / "test.json").checkpoint == "run/checkpoints/best.ckpt"


MINE = """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from jsc.models import ModelInfo, register

INFO = dict(model_source="physical", task_type="physical", physical_data_point_classification=True)

@register(ModelInfo(name="mine-alone", is_fx_traceable=True, **INFO))
def mine_alone(*, num_features: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(num_features, num_classes))
"""


def test_a_model_of_ones_own_is_tested_with_plugins_that_the_command_names(
    quick_run: QuickRun,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine.py").write_text(MINE)

    def forget() -> None:
        monkeypatch.setattr(registry, "_MODELS", {n: m for n, m in registry._MODELS.items() if n != "mine-alone"})
        monkeypatch.delitem(sys.modules, "mine", raising=False)

    forget()
    quick_run("plugins=[mine]", "model.name=mine-alone")
    quick_run("plugins=[mine]", folder=tmp_path / "jscs")
    forget()
    assert command("jsc.test", "checkpoint=run") == 2
    assert "because a file says so. If you know it, give plugins=[mine]" in capsys.readouterr().err
    assert "mine" not in sys.modules
    assert command("jsc.test", "checkpoint=run", "plugins=[mine]") == 0
    forget()
    assert command("jsc.test", "checkpoint=run", "plugins=[json]") == 2
    assert "there is no model 'mine-alone'" in capsys.readouterr().err
    (tmp_path / "mine.py").rename(tmp_path / "elsewhere.py")
    assert command("jsc.test", "checkpoint=run", "plugins=[elsewhere]") == 0
    assert command("jsc.test", "checkpoint=jscs") == 0


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_alone_need_a_model_and_a_data_set(
    checkpoint: Path, tmp_path: Path, command: Command, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {f"seq_blocks.{n.removeprefix('model.')}": t for n, t in read_checkpoint(checkpoint).weights.items()}
    path = tmp_path / f"alone{suffix}"
    torch.save(weights, path) if suffix == ".pt" else safetensors.torch.save_file(weights, path)
    assert command("jsc.test", f"checkpoint={path}") == 2
    assert "holds weights alone" in capsys.readouterr().err
    assert command("jsc.test", f"checkpoint={path}", "model=jsc_tiny", "dataset=jsc_sample") == 0
    assert read_test(tmp_path / "test.json").test_acc == read_test(checkpoint.parent / "test.json").test_acc


NOT_READABLE = (
    r"^\S+: not a readable checkpoint, or one cut short; give a run's folder, a \.ckpt.* \.safetensors file\n$"
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("checkpoint=nowhere.ckpt", "nowhere.ckpt: there is no such file; give a run"),
        ("checkpoint=.", "^best.ckpt: there is no such file; give a run's folder, a .ckpt"),
        ("checkpoint=broken.pt", NOT_READABLE),
        ("checkpoint=run/result.json", NOT_READABLE),
        ("checkpoint=whole.pt", NOT_READABLE),
        ("", "checkpoint: needs a value|Missing mandatory value: checkpoint"),
        ("checkpoint=CHECKPOINT model=jsc_s", "does not fit the model: .* Give the right one with model="),
        ("checkpoint=CHECKPOINT model=jsc_huge", "model=jsc_huge: there is no such choice"),
        ("checkpoint=CHECKPOINT dataset=jsc_file dataset.path=other.npz", "was trained on feature names j_zlogz"),
    ],
)
def test_a_wrong_command_is_explained(
    checkpoint: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    torch.save(nn.Linear(16, 5), tmp_path / "whole.pt")
    y = np.arange(100) % 2
    np.savez(tmp_path / "other.npz", a=y + np.linspace(0, 1, 100), b=np.linspace(1, 2, 100), y=np.array(["u", "v"])[y])
    assert command("jsc.test", *words.replace("CHECKPOINT", str(checkpoint)).split()) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(message, error), error


def test_a_runs_own_scores_stay_when_another_of_its_checkpoints_is_tested(checkpoint: Path, command: Command) -> None:
    own = (checkpoint.parent / "test.json").read_bytes()
    last = checkpoint.with_name("last.ckpt")
    assert command("jsc.test", f"checkpoint={last}") == 0
    assert (checkpoint.parent / "test.json").read_bytes() == own
    assert read_test(checkpoint.parent / "last.test.json").checkpoint == str(last)
    assert (checkpoint.parent / "last.confusion.png").is_file()
    assert command("jsc.report", "compare", str(checkpoint), str(last)) == 0


def test_other_jets_of_the_same_kind_are_standardised_as_in_training_and_warned_of(
    checkpoint: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    table = JetSample().read()
    np.savez(
        tmp_path / "shifted.npz", X=table.features_NF[::2] * 1.0, y=table.labels_N[::2],
        feature_names=np.array(table.feature_names), class_names=np.array(table.class_names),
    )  # fmt: skip
    before = read_test(checkpoint.parent / "test.json")
    words = [f"checkpoint={checkpoint}", "dataset=jsc_file", f"dataset.path={tmp_path}/shifted.npz"]
    assert command("jsc.test", *words) == 0
    after = read_test(checkpoint.parent / "test.json")
    assert "scores on different variants do not compare" in capsys.readouterr().err
    assert after.warnings
    assert after.num_test == 10_000
    assert abs(after.test_acc - before.test_acc) < 0.02


def test_the_trained_standardisation_gives_the_same_logits() -> None:
    jets = prepare(JetSample().read())
    other = dataclasses.replace(
        jets, x_NF=((jets.x_NF * jets.std_F) / (2 * jets.std_F)).astype(np.float32), std_F=2 * jets.std_F
    )
    from jsc.datasets import restandardised

    back = restandardised(other, mean_F=jets.mean_F, std_F=jets.std_F)
    np.testing.assert_allclose(back.x_NF, jets.x_NF, rtol=1e-6, atol=1e-6)  # float32 there and back


def test_scores_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_NC = torch.randn(500, 5, generator=generator)
    labels_N = torch.randint(5, (500,), generator=generator)
    predicted = logits_NC.argmax(1)
    confusion_CC = confusion_of(logits_NC, labels_N)
    scores = class_scores(logits_NC, labels_N, confusion_CC, tuple("gqwzt"))
    assert confusion_CC.tolist() == confusion_matrix(labels_N, predicted).tolist()
    precision = precision_score(labels_N, predicted, average=None)
    recall = recall_score(labels_N, predicted, average=None)
    auc = roc_auc_score(labels_N, logits_NC.softmax(1), multi_class="ovr", average=None)
    for c, score in enumerate(scores):
        assert (score.precision, score.recall) == (precision[c], recall[c])
        assert score.auc == pytest.approx(auc[c], abs=1e-6)  # float32


def test_a_silent_class_has_no_precision() -> None:
    logits_NC = torch.tensor([[1.0, 0, -1], [1, 0, -1], [0, 1, -1]])
    labels_N = torch.tensor([0, 2, 1])
    scores = class_scores(logits_NC, labels_N, confusion_of(logits_NC, labels_N), ("a", "b", "c"))
    assert (scores[2].precision, scores[2].recall) == (None, 0.0)


def test_an_output_that_is_no_class_is_predicted_too(tmp_path: Path) -> None:
    network = nn.Linear(16, 6)
    nn.init.constant_(network.bias[5:], 100.0)
    result = score_model(
        network, TorchEngine(network), load_jets(JetSample()), checkpoint=tmp_path / "a.ckpt",
        model_name="wide", dataset_name="jsc_sample", accelerator="cpu", precision="32-true",
    )  # fmt: skip
    assert [row[5] for row in result.confusion] == [c.num_jets for c in result.classes] + [0]


@pytest.mark.parametrize("name", ["jsc-tiny", "jsc-mlp", "jsc-trt"])
@pytest.mark.parametrize("prefix", ["", "model.", "model.seq_blocks."])
def test_weights_load_under_any_prefix(name: str, prefix: str) -> None:
    source, target = (build_model(name, num_features=16, num_classes=5) for _ in range(2))
    load_weights(target, {f"{prefix}{n}": t for n, t in source.state_dict().items()}, Path("a.pt"))
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_weights_of_another_network_are_refused_by_name() -> None:
    wrong = build_model("jsc-s", num_features=16, num_classes=5).state_dict()
    with pytest.raises(
        CheckpointError, match=r"a\.pt does not fit the model: .*2\.weight is \(64, 16\) there and \(5, 16\)"
    ):
        load_weights(build_model("jsc-tiny", num_features=16, num_classes=5), wrong, Path("a.pt"))


def test_a_damaged_sample_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jsc.datasets.sample.SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"the installation is damaged; install jsc again"):
        JetSample().read()


def test_the_sample_is_what_the_design_says() -> None:
    table = JetSample().read()
    assert table.features_NF.shape == (100_000, 16)
    assert np.bincount(table.labels_N).tolist() == [20_000] * 5
    assert len(np.unique(table.features_NF, axis=0)) == 100_000


def test_predictions_are_those_of_the_test_split(checkpoint: Path) -> None:
    labels, predicted = read_predictions(checkpoint.parent / "predictions.npz")
    jets = prepare(JetSample().read())
    np.testing.assert_array_equal(labels, jets.labels_N[jets.rows_of("test")])
    assert (labels == predicted).mean() == read_test(checkpoint.parent / "test.json").test_acc


def test_jobs_of_one_process_read_a_data_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conftest import settings_of

    monkeypatch.setattr(assembly, "_jets", {})
    reads: list[object] = []
    monkeypatch.setattr(assembly, "load_jets", lambda source: reads.append(source) or prepare(source.read()))
    first = assembly.jets_of(settings_of("dataset.batch_size=64").dataset)
    assert assembly.jets_of(settings_of("dataset.batch_size=128").dataset) is first
    assert len(reads) == 1


def test_ties_count_half_in_the_auc_and_a_class_without_jets_has_none() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_NC = torch.randint(0, 5, (3000, 3), generator=generator).float()
    labels_N = torch.randint(0, 2, (3000,), generator=generator)
    scores = class_scores(logits_NC, labels_N, confusion_of(logits_NC, labels_N), ("a", "b", "c"))
    expected = roc_auc_score(labels_N == 1, logits_NC.softmax(1)[:, 1])
    assert scores[1].auc == pytest.approx(expected, abs=1e-6)
    assert scores[2].auc is None
