"""Windows of the kernel's flat arrays, each facing one torch tensor: copying through them costs a microsecond."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor


class Window:
    """A part of a flat array, in the shape of the tensor that it is copied from and to.

    Which tensor that is may change from call to call (loading a state dict makes new ones): it is looked at each time.
    """

    def __init__(self, flat: npt.NDArray[Any], start: int, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape))
        self._window = flat[start : start + size].reshape(shape)
        self._tensor: Tensor | None = None
        self._pointer = 0
        self._array = self._window

    def read(self, tensor: Tensor | None) -> None:
        """Copy the tensor into the flat array; None is zeros."""
        if tensor is None:
            self._window[...] = 0
        else:
            np.copyto(self._window, self._array_of(tensor))

    def write(self, tensor: Tensor) -> None:
        """Copy the flat array's part into the tensor, in place."""
        np.copyto(self._array_of(tensor), self._window)

    def _array_of(self, tensor: Tensor) -> npt.NDArray[Any]:
        if tensor is not self._tensor or tensor.data_ptr() != self._pointer:
            self._tensor, self._pointer, self._array = tensor, tensor.data_ptr(), tensor.detach().numpy()
        return self._array
