"""Importing torch and Lightning, which takes seconds."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def spared_from_collection() -> Iterator[None]:
    """What a process imports within this context is never looked through for garbage.

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
        gc.enable()
