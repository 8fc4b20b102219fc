"""The kernels, compiled once a dtype and a machine, then loaded from Numba's cache on disk."""

import functools
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

from jsc.engine import kernels

_log = logging.getLogger(__name__)

# Numba notices a changed file only if it is the entry function's own; these decide over what is compiled, too.
_SOURCES = ("elementary.py", "kernels.py", "layers.py", "program.py", "tiles.py", "vectors.py")
_LOCK_SECONDS = 300.0


class Kernel:
    """A compiled function of any number of arguments that is on disk after its first compilation."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name = name
        self._entry = _cached(function)
        self._ready: set[np.dtype[Any]] = set()

    def __call__(self, dtype: np.dtype[Any], *args: Any) -> int:
        """Run it. Arrays of float `dtype`, and all else always of one type, so that `dtype` tells what is compiled."""
        if dtype not in self._ready:
            self._prepare(tuple(numba.typeof(a) for a in args), str(dtype))
            self._ready.add(dtype)
        return int(self._entry(*args))

    def _prepare(self, types: tuple[Any, ...], dtype: str) -> None:
        started = time.perf_counter()
        with self._lock():  # of processes that start at once, one compiles and the others load
            self._entry.compile(types)
        if not self._entry.stats.cache_hits.get(types):
            _log.info(
                "compiled the fused engine for %s in %.1f s; %s",
                dtype,
                time.perf_counter() - started,
                f"later processes load it from {self._folder}" if self._folder else "no folder to keep it in",
            )

    @property
    def _folder(self) -> Path | None:
        path = self._entry.stats.cache_path
        return None if path is None else Path(path)

    def _lock(self) -> AbstractContextManager[Any]:
        if self._folder is None:
            return nullcontext()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self._folder / f"{self._name}.lock", timeout=_LOCK_SECONDS)
            with lock:
                pass
        except (OSError, filelock.Timeout):  # then this process compiles for itself
            return nullcontext()
        return lock


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()


def _cached(function: Callable[..., Any]) -> Any:
    options = {"nogil": True, "error_model": "numpy", "_nrt": False}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written to
        return numba.njit(**options)(function)


@functools.cache
def kernel() -> Kernel:
    """The only one; see `kernels.make_run` for its arguments."""
    return Kernel("kernel", kernels.make_run(_fingerprint()))
