import os

import pytest

from hydra_plugins.jsc_launcher import _server
from hydra_plugins.jsc_launcher._server import ask, get_ready


def test_the_first_sweep_forks_itself_and_the_next_asks_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "may_have_gpus", lambda: False)
    monkeypatch.setattr(_server, "_was_started", False)
    first = get_ready()
    assert first is not None
    assert first is not ask
    assert get_ready() is ask


def test_where_there_may_be_gpus_torch_is_imported_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "may_have_gpus", lambda: True)
    assert get_ready() is None
    assert ask(os.getpid) == os.getpid()


def test_what_is_asked_is_answered_by_a_process_that_has_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "may_have_gpus", lambda: False)
    monkeypatch.delitem(_server.sys.modules, "torch", raising=False)
    assert ask(os.getpid) != os.getpid()
    assert ask(has_torch)


def has_torch() -> bool:
    import sys

    return "torch" in sys.modules
