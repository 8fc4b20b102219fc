"""The labs, whole: which words each sweep gets, what becomes of exit codes, and one small lab from end to end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from jsc import lab
from jsc.cli.command import CONFIG_FOLDER, compose_command
from jsc.cli.settings import LabSettings
from jsc.results import read_result

QUESTIONS = ["batch_size", "max_epochs", "learning_rate", "lr_x_batch_size", "ten_times"]
TINY = [
    "questions=[batch_size,ten_times]",
    "seeds=[0]",
    "plugins=[failing]",
    "model.name=failing",  # but in ten_times, whose question is the network
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=5",
    "hydra.launcher.num_workers=1",
]

Started = list[list[str]]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Started]:
    """`started(0, 1, ...)`: sweeps are noted, not run, and end with these codes (0 from there on)."""
    monkeypatch.chdir(tmp_path)

    def answer_with(*codes: int) -> Started:
        sweeps: Started = []

        def run_sweep(words: Sequence[str]) -> int:
            sweeps.append(list(words))
            return codes[len(sweeps) - 1] if len(sweeps) <= len(codes) else 0

        monkeypatch.setattr(lab, "run_sweep", run_sweep)
        return sweeps

    return answer_with


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The paths of each report that is asked for; none is written."""
    asked: list[list[str]] = []

    def report(paths: list[str], *_: object, **__: object) -> Path:
        asked.append(paths)
        return tmp_path

    monkeypatch.setattr(lab, "report", report)
    return asked


def test_every_question_is_a_sweep_in_a_folder_of_its_own(started: Callable[..., Started], reports: list) -> None:
    sweeps = started()
    assert lab.main(["hydra.launcher.num_workers=3"]) == 0
    assert [sweep[1] for sweep in sweeps] == [f"experiment={question}" for question in QUESTIONS]
    assert sweeps[0] == [
        "-m",
        "experiment=batch_size",
        "hydra.launcher.num_workers=3",
        "seed=0,1,2",
        "sweep.resume='outputs/lab/sample/batch_size'",
        "hydra.sweep.dir='outputs/lab/sample/batch_size'",
    ]
    assert reports == [["outputs/lab/sample"]]


@pytest.mark.parametrize(
    ("word", "without"),
    [
        ("optimizer.lr=0.01", {"learning_rate", "lr_x_batch_size"}),
        ("dataset.batch_size=64", {"batch_size", "lr_x_batch_size"}),
        ("trainer.max_epochs=2", {"max_epochs"}),
        ("model=jsc_medium", {"ten_times"}),
        ("+model.options.width=3", {"ten_times"}),
        ("optimizer=adamw", set()),
    ],
)
def test_a_question_keeps_the_values_that_it_varies(
    started: Callable[..., Started], reports: list, word: str, without: set[str]
) -> None:
    sweeps = started()
    assert lab.main([word]) == 0
    assert {sweep[1].removeprefix("experiment=") for sweep in sweeps if word not in sweep} == without


def test_scale_seeds_and_a_data_set_of_ones_own(started: Callable[..., Started], reports: list, tmp_path: Path) -> None:
    sweeps = started()
    (tmp_path / "it's.npz").touch()
    assert lab.main(["scale=full", "seeds=[5]", "questions=[ten_times]"]) == 0
    assert lab.main(["scale=full", "dataset=jsc_file", "dataset.path=it's.npz", "out=mine"]) == 0
    assert {"dataset=jsc", "seed=5", "hydra.sweep.dir='outputs/lab/full/ten_times'"} < set(sweeps[0])
    assert {"dataset=jsc_file", r"dataset.path='it\'s.npz'", "hydra.sweep.dir='mine/batch_size'"} < set(sweeps[1])
    assert reports == [["outputs/lab/full"], ["mine"]]


@pytest.mark.parametrize(
    ("codes", "num_started", "code", "is_reported"),
    [
        ((0, 1, 0), 5, 1, True),
        ((0, 130), 2, 130, False),
        ((2,), 1, 2, False),
    ],
)
def test_a_failed_job_stops_no_other_question(
    started: Callable[..., Started],
    reports: list,
    codes: tuple[int, ...],
    num_started: int,
    code: int,
    is_reported: bool,
) -> None:
    sweeps = started(*codes)
    assert lab.main([]) == code
    assert len(sweeps) == num_started
    assert bool(reports) == is_reported


def test_a_dry_run_writes_no_report(started: Callable[..., Started], reports: list) -> None:
    started()
    assert lab.main(["sweep.dry_run=true"]) == 0
    assert reports == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("question=[ten_times]", "there is no setting 'question'. Did you mean questions?"),
        ("questions=[tentimes]", "experiment=tentimes: there is no such choice. Did you mean ten_times?"),
        ("scale=ful", "scale=ful: there is no such choice. Did you mean full?"),
        ("seeds=0", "seeds=0: must be a list; give seeds=[0]"),
        ("seeds=[]", "seeds=[]"),
        ("seed=1", "seed=1: the lab gives its sweeps that itself; its keys: out, scale, seeds"),
        ("experiment=batch_size", "experiment=batch_size: the lab gives"),
        ("sweep.resume=x", "sweep.resume=x: the lab gives"),
        ("-m", "-m: the lab gives"),
        ("optimizer.lr=1,2", "optimizer.lr=1,2: give one value"),
        ("report.titel=x", "Did you mean report.title?"),
        ("trainer.max_epoch=2", "Did you mean trainer.max_epochs?"),
        ("batchsize", "batchsize: not understood"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_written(
    started: Callable[..., Started], tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    sweeps = started()
    with pytest.raises(SystemExit) as ended:
        lab.main([word])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert sweeps == []
    assert list(tmp_path.iterdir()) == []


def test_every_question_there_is_is_asked() -> None:
    experiments = [file.stem for file in (CONFIG_FOLDER / "experiment").glob("*.yaml")]
    assert sorted(compose_command("lab", [], LabSettings).questions) == sorted(experiments)


def lab_command(folder: Path, *words: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-m", "jsc.lab", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


FAILING = """
from torch import nn
from jsc.models import ModelInfo, register

class Failing(nn.Linear):
    def forward(self, x):
        if self.training and len(x) >= 512:
            raise ValueError("more than it can chew")
        return super().forward(x)

@register(ModelInfo(name="failing", model_source="physical", task_type="physical",
                    physical_data_point_classification=True, is_fx_traceable=False))
def failing(*, num_features, num_classes):
    return Failing(num_features, num_classes)
"""


@pytest.mark.slow
def test_a_lab_from_end_to_end(tmp_path: Path) -> None:
    """Interrupted; gone on with, though jobs fail and a record was lost; reported; refused with other settings."""
    (tmp_path / "failing.py").write_text(FAILING)
    out = tmp_path / "outputs" / "lab" / "sample"
    process = lab_command(tmp_path, *TINY)
    while len(list(out.glob("batch_size/*/result.json"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command goes on in outputs/lab/sample" in said
    assert not (out / "report").exists()

    lost, *kept = (path for path in sorted(out.glob("*/*/result.json")) if read_result(path.parent).error is None)
    assert kept
    lost.unlink()
    before = {path: path.stat().st_mtime_ns for path in kept}
    process = lab_command(tmp_path, *TINY)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "2 of 6 jobs failed" in said
    assert "Question 2 of 2: ten_times" in said
    assert said.endswith("outputs/lab/sample/report/report.html\n")
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    results = [read_result(path.parent) for path in out.glob("*/*/result.json")]
    assert sorted(result.status for result in results) == ["completed"] * 9 + ["failed"] * 2
    text = (out / "report/report.md").read_text()
    assert "11 runs read: 9 completed and 2 failed." in text
    assert text.count("error: ValueError: more than it can chew") == 2
    assert "*Lab report 004 (CERNBox" in text
    assert (out / "report/figures/model_confusion_jsc_tiny_x10.png").is_file()

    process = lab_command(tmp_path, *TINY, "trainer.max_epochs=2")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "trainer.max_epochs was 1, is 2" in said
    assert "out=FOLDER starts another" in said
    assert "Traceback" not in said
