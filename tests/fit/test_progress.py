import logging
import sys
from collections.abc import Callable

import pytest

from jsc.fit import progress
from jsc.results import RunResult


def test_a_terminal_has_one_line_for_the_fit(
    quick_run: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    result = quick_run()
    shown = capsys.readouterr().out
    assert f"epoch 2 of 2, validation accuracy {result.val_acc:.4f}" in shown
    assert "60/60" in shown


def test_elsewhere_a_line_is_said_now_and_then(
    quick_run: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO)
    quick_run()
    lines = [record.message for record in caplog.records if record.name == "jsc.fit.progress"]
    assert [line.partition(",")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert lines[-1].endswith(", step 60")
