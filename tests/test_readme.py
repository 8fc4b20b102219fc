"""The README's words are run: its example as it stands, and every jsc command that needs no network and no GPU."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jsc.models import registry
from tests.conftest import Command
from tests.test_house import FLOORS, room_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

CI_RUNS = ("pip install", "pytest")  # .ci/run takes the two commands of "Start" word by word
RUN_SMALLER = ("python -m jsc.lab",)  # by tests/test_lab.py: all of it takes minutes
OUT_OF_REACH = ("--config-dir my_conf", "dataset.path=jets.csv")  # templates for files of the reader's own


def commands() -> list[str]:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"`(python -m jsc[^`]*)`", README)
    found = [line.partition("  #")[0].strip() for line in (*lines, *inline)]
    wanted = [
        c
        for c in found
        if c.startswith("python -m jsc.") and "<" not in c and not any(part in c for part in OUT_OF_REACH)
    ]
    return list(dict.fromkeys(wanted))


def in_folder(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        timeout=900,
    )


def write_examples(folder: Path) -> None:
    for name, code in re.findall(r"```python\n# (\S+)\n(.*?)```", README, re.DOTALL):
        (folder / name).write_text(code)


def test_the_readme_has_commands_and_an_example() -> None:
    assert len(commands()) > 12
    assert {"python -m jsc.train model=jsc_medium trainer.max_epochs=50", *RUN_SMALLER} < set(commands())
    assert re.findall(r"```python\n# my_models.py\n", README)


def test_files_and_folders_that_the_readme_names_are_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    for path in re.findall(r"`((?:jsc|conf|tests|benchmarks|\.ci)/[\w/.]*)`", README):
        assert (ROOT / path).exists(), path


def test_the_layout_is_that_of_the_house() -> None:
    """A row names files or folders of one room, and its floor."""
    rows = re.findall(r"^\| (\d+) \| `((?:jsc|hydra_plugins)/[^`]*)`", README, re.MULTILINE)
    rooms = {path.removesuffix(".py").strip("/").replace("/", "."): int(floor) for floor, path in rows}
    assert {room_of(module): floor for module, floor in rooms.items()} == FLOORS


def test_the_two_commands_are_in_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert "pip install -q -c constraints.txt -e . && python -m jsc.train" in ci
    assert "pip install -q -c constraints.txt -e '.[test]'" in ci


def test_the_example_trains(tmp_path: Path) -> None:
    write_examples(tmp_path)
    done = in_folder(
        tmp_path, shlex.split("python -m jsc.train plugins=[my_models] model.name=my-net trainer.max_epochs=1")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "my-net with 565 parameters" in done.stdout
    assert "engine: fused" in done.stdout
    assert len(list(tmp_path.glob("outputs/runs/my-net/*/result.json"))) == 1


@pytest.mark.slow
def test_every_command_runs(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_examples(tmp_path)
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    others = [line for line in commands() if line not in (*EXPERIMENTS, *RUN_SMALLER)]
    for line in ["python -m jsc.train trainer.max_epochs=2", *others]:
        run = max(tmp_path.glob("outputs/runs/*/*"), key=os.path.getmtime, default=tmp_path)
        real = line.replace("PATH", str(run / "checkpoints" / "best.ckpt")).replace("RUN", str(run))
        assert command(*shlex.split(real)[2:]) == 0, real
    assert len(list(tmp_path.glob("outputs/sweeps/lr/**/result.json"))) == 3


EXPERIMENTS = {
    "python -m jsc.train -m experiment=batch_size": 6,
    "python -m jsc.train -m experiment=learning_rate": 6,
    "python -m jsc.train -m experiment=max_epochs": 8,
    "python -m jsc.train -m experiment=lr_x_batch_size": 16,
    "python -m jsc.train -m experiment=ten_times": 15,
}


@pytest.mark.slow
@pytest.mark.parametrize("line", EXPERIMENTS)
def test_every_experiment_runs(command: Command, tmp_path: Path, line: str) -> None:
    assert line in commands()
    assert command(*shlex.split(line)[2:]) == 0
    assert len(list(tmp_path.glob("outputs/sweeps/*/*/*/result.json"))) == EXPERIMENTS[line]
