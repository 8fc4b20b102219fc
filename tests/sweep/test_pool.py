import signal
import subprocess
from multiprocessing import Pipe
from typing import Any

import pytest

from jsc.sweep.display import duration
from jsc.sweep.pool import WorkerPool, _Worker, gpu_of


def test_workers_are_dealt_out_over_the_gpus() -> None:
    assert [gpu_of(slot, ["0", "GPU-7f"]) for slot in range(3)] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "GPU-7f"},
        {"CUDA_VISIBLE_DEVICES": "0"},
    ]
    assert gpu_of(0, []) == {}


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (200, "3:20 min"), (7500, "2:05 h")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class TakenForDead:
    """What multiprocessing makes of a worker that goes on when the server that it is a fork of is killed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def join(self) -> None: ...


@pytest.mark.parametrize(("stop", "number"), [("interrupt", signal.SIGTERM), ("close", signal.SIGKILL)])
def test_workers_are_stopped_though_their_server_is_dead(stop: str, number: int) -> None:
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        process: Any = TakenForDead(sleeper.pid)
        pool = WorkerPool(1, b"", _workers={0: _Worker(process, Pipe()[0], num=7)})
        pool.interrupt() if stop == "interrupt" else pool.close(kill=True)
        assert sleeper.wait(10) == -number
    pool.interrupt()  # it is gone
