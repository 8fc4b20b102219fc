import numpy as np
import pytest

from jsc.engine.memory import CACHE_LINE_BYTES, aligned_zeros, writable


@pytest.mark.parametrize("shape", [(1,), (7, 3), (1_000, 16)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_begin_at_a_cache_line(shape: tuple[int, ...], dtype: type) -> None:
    for _ in range(5):
        zeros = aligned_zeros(shape, dtype)
        assert (zeros.shape, zeros.dtype, zeros.any()) == (shape, dtype, False)
        assert zeros.ctypes.data % CACHE_LINE_BYTES == 0
        assert zeros.flags.c_contiguous
        assert zeros.flags.writeable


def test_read_only_memory_is_shared_and_outlives_its_owner() -> None:
    array = np.arange(1_000.0)
    array.flags.writeable = False
    view = writable(array)
    assert view.flags.writeable
    assert np.shares_memory(view, array)
    del array
    assert view.sum() == 999 * 500
    assert writable(view) is view
