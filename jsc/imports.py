"""Importing torch and Lightning, which takes seconds."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OBJECTS = 10_000  # between two looks; Python's 700 take a twentieth of a short run


@contextmanager
def spared_from_collection() -> Iterator[None]:
    """What a process imports within this context is never looked through for garbage, and the rest more rarely.

    That would take a seventh of the import's time, and later as long as several epochs of a tiny network.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS)
        gc.enable()
