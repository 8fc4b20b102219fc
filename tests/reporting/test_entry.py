"""`python -m jsc.report` as a user types it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jsc.report import main
from jsc.reporting import find_run_folders

RunWriter = Callable[..., Path]


def test_a_report_lies_beside_the_runs(tmp_path: Path, run_writer: RunWriter, capsys: pytest.CaptureFixture) -> None:
    for lr in (0.1, 0.01):
        run_writer(tmp_path / f"sweeps/a/0_lr={lr}", lr=lr)
    sweep = tmp_path / "sweeps" / "a"
    assert main([str(sweep)]) == 0
    assert capsys.readouterr().out == f"{sweep / 'report' / 'report.html'}\n"
    assert {path.name for path in (sweep / "report").iterdir()} == {"report.md", "report.html", "table.csv", "figures"}
    assert find_run_folders([str(sweep)]) == [sweep / "0_lr=0.01", sweep / "0_lr=0.1"], "a report is no run"


def test_out_title_and_tolerances_are_taken(tmp_path: Path, run_writer: RunWriter) -> None:
    run_writer(tmp_path / "0_lr=0.1", max_epochs=40)
    words = [str(tmp_path / "0_lr=0.1"), f"out={tmp_path / 'out'}", "title=Mine", "stagnation_tolerance=0.01"]
    assert main([*words, "confidence=0.99"]) == 0
    text = (tmp_path / "out/report.md").read_text()
    assert text.startswith("# Mine\n")
    assert "`min_delta=0.01`" in text
    assert "99 % Student t" in text


def test_compare(tmp_path: Path, run_writer: RunWriter, capsys: pytest.CaptureFixture) -> None:
    a, b = run_writer(tmp_path / "a"), run_writer(tmp_path / "b", model="jsc-mlp")
    assert main(["compare", str(a), str(b / "checkpoints" / "best.ckpt")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'comparison' / 'report.html'}\n"
    assert "McNemar" in (tmp_path / "comparison/report.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "python -m jsc.report PATH..."),
        (["nowhere"], "jsc.report: nowhere: no such folder"),
        (["compare", "a"], "compare takes two run folders or checkpoints, not 1"),
        (["compare", "a", "b"], "a: no such run folder or checkpoint"),
    ],
)
def test_a_wrong_command_is_exit_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key_is_no_path(tmp_path: Path, run_writer: RunWriter) -> None:
    with pytest.raises(SystemExit) as raised:
        main([str(run_writer(tmp_path / "run")), "ouy=x"])
    assert raised.value.code == 2


def test_a_folder_named_like_a_key_is_a_path(
    tmp_path: Path, run_writer: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_writer(tmp_path / "lr=0.1", status="failed", epochs_run=0)
    monkeypatch.chdir(tmp_path)
    assert main(["lr=*"]) == 0
    assert (tmp_path / "lr=0.1" / "report" / "report.html").is_file()


def test_help_names_every_key(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    assert "overfitting_tolerance" in capsys.readouterr().out


def test_nothing_slow_is_imported_before_it_is_needed() -> None:
    slow = ("torch", "lightning", "matplotlib", "scipy", "jinja2")
    code = f"import sys, jsc.report; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
