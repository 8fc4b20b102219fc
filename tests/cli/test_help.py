"""Every entry answers --help on one screen, from conf/ and the settings, before it imports torch."""

import subprocess
import sys

import pytest

from jsc.cli.command import CONFIG_FOLDER
from tests.conftest import Command

ENTRIES = {
    "test": ["checkpoint", "(needed)", "model", "jsc_tiny", "dataset", "jsc_openml", "auto, cpu, gpu", "plugins"],
    "models": ["num_features", "16", "whole number above 0", "num_classes", "plugins", "[text, ...]"],
    "datasets": ["dataset", "jsc_sample", "jsc_simulated", "out", "the folder that the picture is written to"],
    "simulate": ["num_jets", "100000", "whole number from 5", "num_workers", "seed", "outputs/simulated"],
    "report": ["title", "Lab report", "confidence", "number above 0 below 1", "overfitting_tolerance", "text or null"],
    "hardware": ["checkpoint", "circuit", "jsc_openml", "hardware.KEY", "latency_cutoff", "how the circuit is made"],
    "lab": ["outputs/lab/sample", "scale", "full, sample", "seeds", "questions", "report.KEY", "stagnation_epochs"],
}


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_says_what_it_does_its_keys_and_examples(
    entry: str, flag: str, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert command(f"jsc.{entry}", flag) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) < 30
    assert said.out.count(f"python -m jsc.{entry}") >= 2
    for part in ENTRIES[entry]:
        assert part in said.out
    monkeypatch.setenv("COLUMNS", "80")
    assert command(f"jsc.{entry}", flag, "nonsense") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) <= 80


def test_every_key_says_what_it_is() -> None:
    from jsc.cli import help, settings

    for entry in ENTRIES:
        schema = getattr(settings, f"{entry.capitalize()}Settings")
        rows = list(help._settings(entry, schema))
        assert [key.partition(".")[0] for key, *_ in rows] == list(schema.model_fields)
        assert [key for key, _, _, what in rows if not what] == []


def test_trains_help_has_groups_keys_and_examples(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("jsc.train", "--help", "model=jsc_s") == 0
    said = capsys.readouterr().out
    for folder in (CONFIG_FOLDER / "model", CONFIG_FOLDER / "optimizer", CONFIG_FOLDER / "experiment"):
        assert f"{folder.name}: {', '.join(sorted(file.stem for file in folder.glob('*.yaml')))}\n" in said
    assert "name: jsc-s" in said
    assert "max_epochs: 20" in said
    assert "python -m jsc.train -m model=jsc_tiny optimizer.lr=1e-1,1e-3,1e-5" in said


@pytest.mark.parametrize("entry", ["train", *ENTRIES])
def test_help_does_not_wait_for_torch(entry: str) -> None:
    code = (
        f"import atexit, runpy, sys; sys.argv[1:] = ['--help']\n"
        f"atexit.register(lambda: print('torch' in sys.modules))\n"
        f"runpy.run_module('jsc.{entry}', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
