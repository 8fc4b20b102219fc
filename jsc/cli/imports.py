"""Importing torch and Lightning, which takes seconds, and leaving them to another process."""

import gc
import importlib
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

Answer = TypeVar("Answer")

NEW_OBJECTS = 10_000  # between two looks; Python's 700 take a twentieth of a short run


def call_elsewhere(context: BaseContext, function: Callable[..., Answer], *arguments: object) -> Answer:
    """What a function returns, or raises, in a process of this context: what it imports is not imported here.

    Where torch has been imported already, or that process comes to grief, it is called here.
    """
    if "torch" in sys.modules:
        return function(*arguments)
    ours, theirs = context.Pipe(duplex=False)
    process: BaseProcess = context.Process(target=_send_outcome, args=(theirs, function, arguments))  # type: ignore[attr-defined]
    try:
        process.start()
        theirs.close()
        answer, error = ours.recv()
    except KeyboardInterrupt:
        if process.pid is not None:
            process.kill()
        raise
    except Exception:  # it did not start, or died, or what it had to say cannot be pickled
        return function(*arguments)
    finally:
        if process.pid is not None:
            process.join()
    if error is not None:
        raise error
    return answer  # type: ignore[no-any-return]


def _send_outcome(pipe: Connection, function: Callable[..., object], arguments: Sequence[object]) -> None:
    answer: object = None
    error: BaseException | None = None
    try:
        answer = function(*arguments)
    except KeyboardInterrupt:  # which the process that asked has received as well
        return
    except BaseException as raised:
        error = raised
    with suppress(Exception):  # it cannot be pickled, or nobody waits for it any more
        if str(pickle.loads(pickle.dumps(error))) == str(error):  # its class may make up the message anew
            pipe.send((answer, error and ExceptionWithTraceback(error, error.__traceback__)))


@contextmanager
def lean_imports() -> Iterator[None]:
    """To be put around a process's first import of torch and Lightning, which then takes two thirds of the time."""
    if "torch" in sys.modules:
        yield
    else:
        with _spared_from_collection(), _plots_put_off():
            yield


@contextmanager
def _spared_from_collection() -> Iterator[None]:
    """What is imported now is never looked through for garbage, and the rest more rarely.

    That would take a seventh of the import's time, and later as long as several epochs of a tiny network.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS)
        gc.enable()


@contextmanager
def _plots_put_off() -> Iterator[None]:
    """torchmetrics, of which Lightning needs one class, is told that there is neither matplotlib nor SciPy.

    It would import the one for its plots and the other to mend a package of audio: a quarter of the time. Afterwards
    it may know, and has matplotlib when it plots.
    """
    try:
        installed: Any = importlib.import_module("lightning_utilities.core.imports")
        requirement, package_available = installed.RequirementCache, installed.package_available
    except (ImportError, AttributeError):  # another version of it: then the import takes longer
        yield
        return
    put_off = {"matplotlib", "scipy"}

    class Requirement(requirement):  # type: ignore[valid-type, misc]
        def __bool__(self) -> bool:
            return self.requirement not in put_off and bool(super().__bool__())

    installed.RequirementCache = Requirement
    installed.package_available = lambda name: name not in put_off and package_available(name)
    try:
        yield
    finally:
        installed.RequirementCache, installed.package_available = requirement, package_available
        put_off.clear()
        plot: Any = sys.modules.get("torchmetrics.utilities.plot")
        if plot is not None:
            plot.matplotlib, plot.plt = _Later("matplotlib"), _Later("matplotlib.pyplot")


class _Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
