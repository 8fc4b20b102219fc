import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jsc import simulate
from jsc.simulation import production

REPOSITORY = Path(__file__).parents[1]


def test_without_the_extra_the_error_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(production, "EXTRA_PACKAGES", ("numpy", "no_such_pythia"))
    monkeypatch.setattr(sys, "argv", ["simulate", f"out={tmp_path / 'out'}"])
    assert simulate.main() == 2
    captured = capsys.readouterr()
    assert captured.err == "jsc.simulate: not installed: no_such_pythia; install with: pip install 'jsc[simulate]'\n"
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("override", ["num_jets=4", "num_workers=0", "seed=-1", "num_jests=5", "out=''"])
def test_a_wrong_command_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["simulate", override])
    with pytest.raises(SystemExit) as raised:
        simulate.main()
    assert raised.value.code == 2
    assert list(tmp_path.iterdir()) == []


def workers_of(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
def test_an_interrupt_ends_the_workers_and_says_how_to_go_on(tmp_path: Path) -> None:
    pytest.importorskip("fastjet", reason="the extra jsc[simulate] is not installed")
    pytest.importorskip("pythia8mc", reason="the extra jsc[simulate] is not installed")
    command = [sys.executable, "-m", "jsc.simulate", "num_jets=100000", "num_workers=2", f"out={tmp_path}"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    workers: list[int] = []
    while len(workers) < 2 and process.poll() is None:
        workers = workers_of(process.pid)
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == (
        f"jsc.simulate: interrupted; finished shards are kept in {tmp_path}; the same command goes on from there\n"
    )
    assert not any(is_running(pid) for pid in workers)
