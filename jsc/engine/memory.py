"""Memory as compiled code wants it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

CACHE_LINE_BYTES = 64  # a register holds no more, so that what begins here may be loaded into one at once


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin at a cache line.

    NumPy asks the system for large pages where they are worth it, as torch does not: random rows are found sooner.
    """
    num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(num_bytes + CACHE_LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE_BYTES
    return raw[start : start + num_bytes].view(dtype).reshape(shape)


def views_of(
    flat: npt.NDArray[Any], places: Mapping[str, slice], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Parts of a flat array as tensors of the given shapes, by name: the memory is shared."""
    return {name: torch.from_numpy(flat[places[name]]).view(shape) for name, shape in shapes.items()}


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, marked read-only as another's may be: to Numba the two are types that it compiles for apart."""
    view = array.view()
    view.flags.writeable = False
    return view
