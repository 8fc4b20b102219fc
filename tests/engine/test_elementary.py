import math
from typing import Any

import numpy as np
import pytest
from numba import njit

from jsc.engine import elementary
from jsc.engine.vectors import lanes, load, store

# The range that a network meets, and the bound in units of the last place.
CASES = {
    "exp": (math.exp, -80.0, 80.0),
    "log": (math.log, 1.0, 1000.0),
    "tanh": (math.tanh, -12.0, 12.0),
    "logistic": (lambda x: 1 / (1 + math.exp(-x)), -30.0, 30.0),
    "erf": (math.erf, -7.0, 7.0),
}


def apply(name: str, x: np.ndarray) -> np.ndarray:
    function = getattr(elementary, name)

    @njit
    def loop(x: Any, y: Any) -> None:
        for at in range(0, len(x), lanes(x)):
            store(y, at, function(load(x, at)))

    y = np.zeros_like(x)
    loop(x, y)
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_within_three_units_in_the_last_place(name: str, dtype: Any) -> None:
    exact, low, high = CASES[name]
    x = np.linspace(low, high, 32000).astype(dtype)
    x[:16] = np.nan
    y = apply(name, x)
    assert np.isnan(y[:16]).all()
    expected = np.array([exact(float(v)) for v in x[16:]])
    error = np.abs(y[16:].astype(np.float64) - expected) / np.spacing(np.abs(expected).astype(dtype)).astype(np.float64)
    assert error.max() <= 3.0
