import os
import signal
import sys
from multiprocessing import get_context
from typing import Any

import pytest

from jsc.errors import CommandError, WorkerError
from jsc.sweep.fork_server import Death, ask


class UnsendableError(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)


def answer(how: Any) -> Any:
    if isinstance(how, BaseException):
        raise how
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    return "torch" in sys.modules, os.getpid(), os.environ.get("JSC_MARK")


def test_what_is_asked_is_answered_by_a_process_that_has_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSC_MARK", "of this test")
    ((has_torch, pid, mark),) = ask(answer, ["answer"])
    assert has_torch
    assert pid != os.getpid()
    assert mark == "of this test"
    assert list(ask(answer, [])) == []


def test_what_kills_its_process_is_told_and_the_rest_is_answered() -> None:
    answers = list(ask(answer, ["kill", "answer", "exit", "kill", "answer"], get_context("fork")))
    assert answers[0] == answers[3] == Death("its process was killed by SIGKILL (out of memory?)")
    assert answers[2] == Death("its process ended with exit code 3")
    assert all(isinstance(answers[i], tuple) and answers[i][1] != os.getpid() for i in (1, 4))


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        (ValueError("too wide"), CommandError, "^too wide$"),
        (CommandError("no such key"), CommandError, "^no such key$"),
        (UnsendableError("no", "really"), WorkerError, "(?s)in answer.*UnsendableError: no"),
    ],
)
def test_errors_come_back(raised: Exception, expected: type[Exception], text: str) -> None:
    with pytest.raises(expected, match=text):
        list(ask(answer, ["answer", raised, "kill"], get_context("fork")))
