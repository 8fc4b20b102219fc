import os
import pickle
import runpy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from hydra_plugins.jsc_launcher._task import task_of
from jsc.sweep.split import Part


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("code", "is_refused"), [(0, False), (1, False), (2, True), (130, True)])
def test_a_task_is_the_ordinary_command_in_its_heads_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_refused: bool
) -> None:
    sweep, elsewhere = tmp_path / "it's a sweep", tmp_path / "elsewhere"
    sweep.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("/where/models/are")
    monkeypatch.setenv("JSC_MARK", "here")
    task = pickle.loads(pickle.dumps(task_of(sweep, Part(3, 20), ["plugins=[mine]"])))  # as it is sent to a node
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", ["/of/the/node"])
    monkeypatch.setattr(sys, "argv", ["submitit"])
    monkeypatch.setenv("JSC_MARK", "there")
    monkeypatch.setenv("SLURM_NTASKS", "1")

    def train(name: str, *, run_name: str, alter_sys: bool) -> NoReturn:
        assert (name, run_name, alter_sys) == ("jsc.train", "__main__", True)
        assert sys.argv == [
            "jsc.train",
            "-m",
            "plugins=[mine]",
            f"sweep.resume='{tmp_path}/it\\'s a sweep'",
            "sweep.part=3/20",
        ]
        assert Path.cwd() == tmp_path
        assert sys.path[:2] == ["/of/the/node", "/where/models/are"]
        assert os.environ["JSC_MARK"] == "here"
        assert "SLURM_NTASKS" not in os.environ
        signal.raise_signal(signal.SIGUSR2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise SystemExit(code)

    monkeypatch.setattr(runpy, "run_module", train)
    if is_refused:
        with pytest.raises(RuntimeError, match=f"the command ended with exit code {code}"):
            task()
    else:
        task()


def test_a_node_that_does_not_see_the_sweep_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"sweep is not there on .*: start the sweep .* that every node sees"):
        task_of(tmp_path / "sweep", Part(1, 2))()
