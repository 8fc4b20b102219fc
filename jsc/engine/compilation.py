"""Functions compiled once a dtype and a machine, then loaded from Numba's cache on disk."""

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import filelock
import numba
import numpy as np

from jsc.engine.numba_internals import UNCOUNTED, without_extensions

_log = logging.getLogger(__name__)

_LOCK_SECONDS = 300.0

# For `numba.njit`: needs no interpreter, owns no memory, and divides as IEEE says.
BARE = {"nogil": True, "error_model": "numpy", **UNCOUNTED}


class Compiled:
    """A compiled function of any number of arguments that is on disk after its first compilation.

    `title` names it in the log. It allocates nothing and runs without the interpreter's lock.
    """

    def __init__(self, title: str, function: Callable[..., Any]) -> None:
        self._title = title
        self._entry = _on_disk(function)
        self._ready: dict[np.dtype[Any], Callable[..., Any]] = {}

    def is_ready(self, dtype: np.dtype[Any]) -> bool:
        """Whether this process has it for `dtype`."""
        return dtype in self._ready

    def __call__(self, dtype: np.dtype[Any], *args: Any) -> Any:
        """Run it. Arrays of `dtype`, and all else always of one type, so that `dtype` tells what is compiled."""
        if not self.is_ready(dtype):
            self._ready[dtype] = self._prepare(tuple(numba.typeof(a) for a in args), dtype)
        return self._ready[dtype](*args)

    def _prepare(self, types: tuple[Any, ...], dtype: np.dtype[Any]) -> Callable[..., Any]:
        started = time.perf_counter()
        with self._lock(), without_extensions():  # of processes that start at once, one compiles and the others load
            compiled: Callable[..., Any] = self._entry.compile(types)
        if not self._entry.stats.cache_hits.get(types):
            _log.info(
                "compiled %s for %s in %.1f s; %s",
                self._title,
                dtype,
                time.perf_counter() - started,
                f"later processes load it from {self._folder}" if self._folder else "no folder to keep it in",
            )
        return compiled

    @property
    def _folder(self) -> Path | None:
        path = self._entry.stats.cache_path
        return None if path is None else Path(path)

    def _lock(self) -> AbstractContextManager[Any]:
        if self._folder is None:
            return nullcontext()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self._folder / f"{self._entry.__name__}.lock", timeout=_LOCK_SECONDS)
            with lock:
                pass
        except (OSError, filelock.Timeout):  # then this process compiles for itself
            return nullcontext()
        return lock


def fingerprint(files: list[Path]) -> str:
    """Changes when one of them does: Numba itself looks only at the file that the function is in."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _on_disk(function: Callable[..., Any]) -> Any:
    try:
        return numba.njit(cache=True, **BARE)(function)
    except RuntimeError:  # no folder can be written to
        return numba.njit(**BARE)(function)
