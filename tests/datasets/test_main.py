import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jsc.datasets.__main__ import main

SaidBy = Callable[..., str]


@pytest.fixture
def said_by(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> SaidBy:
    """`said_by("dataset=...", width=60)`: what the command says on a terminal of so many columns."""

    def say(*words: str, width: int = 200) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        main(words)
        return capsys.readouterr().out

    return say


def test_without_arguments_the_data_sets_are_listed(said_by: SaidBy, cache: Path) -> None:
    text = said_by()
    for yaml in Path("conf/dataset").glob("*.yaml"):
        assert f" {yaml.stem} " in text
        assert yaml.read_text().splitlines()[0].removeprefix("# ") in text
    assert "pip install 'jsc[openml]'" in text
    assert str(cache) in text


def test_a_data_set_gets_its_card_and_picture(said_by: SaidBy, tmp_path: Path, features, labels) -> None:
    np.savez(tmp_path / "my jets.npz", a=features[:, 0], b=features[:, 1], y=labels % 2)
    text = said_by("dataset=jsc_file", f"dataset.path='{tmp_path}/my jets.npz'", f"out={tmp_path}")
    assert "file:my jets" in text
    assert str(tmp_path / "features_file_my_jets.png") in text
    assert (tmp_path / "features_file_my_jets.png").stat().st_size > 10_000


def test_the_sum_can_be_copied_from_a_narrow_terminal(said_by: SaidBy, tmp_path: Path, features, labels) -> None:
    np.savez(tmp_path / "a.npz", a=features[:, 0], y=labels % 2)
    text = said_by("dataset=jsc_file", f"dataset.path={tmp_path}/a.npz", f"out={tmp_path}", width=60)
    assert hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest() in text


def test_lists_and_settings_reach_the_source(said_by: SaidBy, tmp_path: Path, features, labels) -> None:
    np.savez(tmp_path / "a.npz", a=features[:, 0], b=features[:, 1], kind=np.array(["x", "y"])[labels % 2])
    settings = ("dataset.features=[b]", "dataset.classes=[y,x]", "dataset.class_column=kind", "dataset.variant=v1")
    text = said_by("dataset=jsc_file", f"dataset.path={tmp_path}/a.npz", f"out={tmp_path}", *settings)
    assert "v1" in text
    assert "│ b " in text
    assert "│ a " not in text
    assert text.index("│ y ") < text.index("│ x ")


def test_a_data_set_that_needs_a_path_says_so(said_by: SaidBy) -> None:
    with pytest.raises(ValueError, match=r"dataset=jsc_file needs dataset\.path="):
        said_by("dataset=jsc_file")
