"""Importing torch and Lightning, which takes seconds."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from jsc.cli.lightning_utilities_internals import plots_put_off

NEW_OBJECTS = 10_000  # between two looks; Python's 700 take a twentieth of a short run


@contextmanager
def lean_imports() -> Iterator[None]:
    """To be put around a process's first import of torch and Lightning, which then takes half the time."""
    if "torch" in sys.modules:
        yield
    else:
        with _spared_from_collection(), plots_put_off():
            yield


@contextmanager
def _spared_from_collection() -> Iterator[None]:
    """What is imported now is never looked through for garbage, and the rest more rarely.

    That would take a fifth of the import's time, and later as long as several epochs of a tiny network.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS)
        gc.enable()
