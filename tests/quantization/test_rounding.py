import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jsc.quantization.rounding import magnitude_exponent, power_of_two, quantize, round_bits

DTYPES = (torch.float32, torch.float64)


def rounded_exactly(x: float, fraction_bits: int) -> Fraction:
    scaled = Fraction(x) * Fraction(2) ** fraction_bits
    return Fraction(math.floor(scaled + Fraction(1, 2))) / Fraction(2) ** fraction_bits


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_two_are_exact(dtype: torch.dtype) -> None:
    exponents = torch.arange(-126, 128)
    assert power_of_two(exponents.to(dtype)).tolist() == [math.ldexp(1.0, n) for n in range(-126, 128)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_magnitudes_exponent_is_the_number_of_its_bits(dtype: torch.dtype) -> None:
    n = range(-300, 301)
    assert magnitude_exponent(torch.tensor(n, dtype=dtype)).tolist() == [abs(i).bit_length() for i in n]


@given(st.floats(-1000, 1000, width=32), st.integers(-12, 12))
def test_numbers_are_rounded_half_up_exactly(x: float, bits: int) -> None:
    for dtype in DTYPES:
        given_x = torch.tensor(x, dtype=dtype)
        assert Fraction(quantize(given_x, torch.tensor(float(bits), dtype=dtype)).item()) == rounded_exactly(x, bits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_up_and_what_is_just_below_does_not(dtype: torch.dtype) -> None:
    halves = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5], dtype=dtype)
    bits = torch.tensor(0.0, dtype=dtype)
    assert quantize(halves, bits).tolist() == [-1, 0, 1, 2, 3]
    below = torch.nextafter(halves, torch.tensor(-math.inf, dtype=dtype))
    assert quantize(below, bits).tolist() == [-2, -1, 0, 1, 2]


def test_saturation_comes_after_rounding() -> None:
    x = torch.tensor([-9.0, -1.3, -1.2, 0.7, 0.9, 9.0])
    f, low, high = torch.tensor([1.0]), torch.tensor([-2.0]), torch.tensor([1.0])
    assert quantize(x, f, low, high).tolist() == [-1.0, -1.0, -1.0, 0.5, 0.5, 0.5]


def test_the_gradient_goes_straight_through_inside_the_range_and_nowhere_else() -> None:
    x = torch.tensor([-9.0, -1.01, -1.0, -0.1, 0.5, 0.51, 9.0], requires_grad=True)
    quantize(x, torch.tensor([1.0]), torch.tensor([-2.0]), torch.tensor([1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (3, 2)])
def test_the_gradient_of_fraction_bits_is_ln_2_times_the_rounding_error_of_what_shares_them(
    shape: tuple[int, int],
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, slope = (torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    bits = torch.full(shape, 2.0, dtype=torch.float64, requires_grad=True)
    x_q = quantize(x, bits)
    (x_q * slope).sum().backward()
    errors = math.log(2) * (x - x_q.detach()) * slope
    dims = tuple(d for d in range(2) if shape[d] == 1)
    assert bits.grad is not None
    torch.testing.assert_close(bits.grad, errors.sum(dims, keepdim=True) if dims else errors, rtol=1e-12, atol=0)


def test_saturated_numbers_give_fraction_bits_no_gradient() -> None:
    bits = torch.tensor([1.0], requires_grad=True)
    quantize(torch.tensor([-9.0, 9.0]), bits, torch.tensor([-2.0]), torch.tensor([1.0])).sum().backward()
    assert bits.grad is not None
    assert bits.grad.tolist() == [0]


def test_learnt_bits_are_rounded_and_bounded_and_their_gradient_passes() -> None:
    bits = torch.tensor([-9.0, 0.49, 0.5, 7.9, 99.0], requires_grad=True)
    used = round_bits(bits, torch.tensor(-4.0), torch.tensor(16.0))
    used.sum().backward()
    assert used.tolist() == [-4, 0, 1, 8, 16]
    assert bits.grad is not None
    assert bits.grad.tolist() == [1] * 5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_keep_the_dtype(dtype: type) -> None:
    x = torch.tensor(np.array([0.3, 0.8], dtype), requires_grad=True)
    bits = torch.tensor(np.array([1.0], dtype), requires_grad=True)
    quantize(x, bits).sum().backward()
    assert x.grad is not None
    assert bits.grad is not None
    assert x.grad.dtype == bits.grad.dtype == x.dtype
