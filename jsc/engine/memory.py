"""Memory as compiled code wants it."""

from typing import Any

import numpy as np
import numpy.typing as npt

CACHE_LINE_BYTES = 64  # a register holds no more, so that what begins here may be loaded into one at once


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin at a cache line.

    NumPy asks the system for large pages where they are worth it, as torch does not: random rows are found sooner.
    """
    num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(num_bytes + CACHE_LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE_BYTES
    return raw[start : start + num_bytes].view(dtype).reshape(shape)


def writable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, not marked read-only: to Numba that is another type, which it would compile for anew."""
    if array.flags.writeable:
        return array
    address, _ = array.__array_interface__["data"]
    view = _Memory({**array.__array_interface__, "data": (address, False)})
    view.owner = array
    return np.asarray(view)


class _Memory:
    """What NumPy makes an array of without looking at who owns the memory; the array keeps this alive."""

    owner: npt.NDArray[Any]

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface
