from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from numba.core import entrypoints

from jsc.engine.compilation import Compiled
from jsc.engine.numba_internals import UNCOUNTED

NUMBA = f"numba {numba.__version__} has changed: mend jsc/engine/numba_internals.py"


def ones(num: int) -> npt.NDArray[np.float64]:
    return np.ones(num)


def double(x_N: npt.NDArray[np.float64]) -> None:
    for i in range(len(x_N)):
        x_N[i] *= 2.0


def outcome_of(function: Callable[[], Any]) -> str:
    """What it says when it fails, or "done"."""
    try:
        function()
    except Exception as error:  # whatever Numba makes of it
        return str(error)
    return "done"


def test_references_need_not_be_counted() -> None:
    assert outcome_of(lambda: numba.njit(ones)(3)) == "done"
    # What makes an array needs the counting, so that the option is understood.
    assert "No implementation of function" in outcome_of(lambda: numba.njit(**UNCOUNTED)(ones)(3)), NUMBA


def test_packages_that_extend_numba_are_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> None:
        raise AssertionError("they are asked for")

    assert hasattr(entrypoints, "_already_initialized"), NUMBA
    monkeypatch.setattr(entrypoints.importlib_metadata, "entry_points", refuse)
    x_N = np.ones(3)
    for run, outcome in (
        (lambda: numba.njit(double)(x_N), "they are asked for"),
        (lambda: Compiled("a test", double)(x_N.dtype, x_N), "done"),
    ):
        monkeypatch.setattr(entrypoints, "_already_initialized", False)
        assert outcome_of(run) == outcome, NUMBA
    assert (x_N == 2.0).all()
    assert not entrypoints._already_initialized
