import os
import time

import pytest

from hydra_plugins.jsc_launcher import _server
from hydra_plugins.jsc_launcher._server import ask, ask_early
from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a sweep's own process on a machine without GPUs."""
    monkeypatch.setattr(_server, "may_have_gpus", lambda: False)
    monkeypatch.delitem(_server.sys.modules, "torch", raising=False)


@pytest.mark.parametrize(("seconds_ago", "is_own_child"), [(0.0, True), (_server.HEAD_START + 1, False)])
def test_a_server_that_has_just_begun_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, seconds_ago: float, is_own_child: bool
) -> None:
    assert JscLauncher.get_ready() is ask_early
    monkeypatch.setattr(_server, "_started_at", time.monotonic() - seconds_ago)
    assert (ask_early(os.getppid) == os.getpid()) == is_own_child


def test_where_there_may_be_gpus_torch_is_imported_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "may_have_gpus", lambda: True)
    assert JscLauncher.get_ready() is None
    assert ask(os.getpid) == os.getpid()


def test_what_is_asked_is_answered_by_a_process_that_has_torch() -> None:
    assert ask(os.getpid) != os.getpid()
    assert ask(has_torch)


def has_torch() -> bool:
    import sys

    return "torch" in sys.modules
