import numpy as np
import pytest

from jsc.engine.memory import CACHE_LINE_BYTES, aligned_zeros, read_only, views_of


@pytest.mark.parametrize("shape", [(1,), (7, 3), (1_000, 16)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_begin_at_a_cache_line(shape: tuple[int, ...], dtype: type) -> None:
    for _ in range(5):
        zeros = aligned_zeros(shape, dtype)
        assert (zeros.shape, zeros.dtype, zeros.any()) == (shape, dtype, False)
        assert zeros.ctypes.data % CACHE_LINE_BYTES == 0
        assert zeros.flags.c_contiguous
        assert zeros.flags.writeable


def test_a_read_only_view_shares_memory_and_leaves_its_array_writable() -> None:
    array = np.arange(1_000.0)
    view = read_only(array)
    assert not view.flags.writeable
    assert array.flags.writeable
    assert np.shares_memory(view, array)


def test_views_of_a_flat_array_share_its_memory() -> None:
    flat = np.arange(10.0)
    views = views_of(flat, {"a": slice(0, 6), "b": slice(6, 10)}, {"a": (2, 3), "b": (4,)})
    assert {name: tuple(view.shape) for name, view in views.items()} == {"a": (2, 3), "b": (4,)}
    views["b"].zero_()
    assert flat.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0, 0]
