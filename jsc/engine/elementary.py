"""exp, log, tanh, erf and the logistic function of the vectors in `jsc.engine.vectors`.

Accuracy, over the ranges that networks use (tests state it): within 3 units in the last place of the vector's own
precision. NaN in, NaN out. Reductions and rational functions follow Cephes (S. Moshier, Methods and Programs for
Mathematical Functions, 1989); the float64 polynomials are Taylor series cut below the rounding error.
"""

from collections.abc import Callable
from math import factorial
from typing import Any, NamedTuple

from numba import njit, types
from numba.extending import overload, register_jitable

from jsc.engine.vectors import absolute, bits_of, from_bits, select, splat, with_sign

LOG2_E = 1.4426950408889634
SQRT_2 = 1.4142135623730951


class Precision(NamedTuple):
    """What differs between float32 and float64."""

    lowest: float  # from here
    highest: float  # to here exp(x) is a normal number
    ln2_high: float  # ln 2 in two parts; the first has so few bits that n * ln2_high is exact
    ln2_low: float
    rounder: float  # added to a float, it leaves the nearest integer in the low bits
    fraction_bits: int
    fraction_mask: int
    one: int  # the bits of 1.0
    bias: int  # bits that make a float of the exponent's bits, which is larger by
    biased: float
    exp: tuple[float, ...]  # (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2, highest power first
    log: tuple[float, ...]  # atanh(s) / s in powers of s^2, highest first, on |s| <= 0.1716


FLOAT32 = Precision(
    -87.0, 88.0, 0.693359375, -2.12194440e-4, 1.5 * 2.0**23,
    23, 0x007FFFFF, 0x3F800000, 0x4B000000, 2.0**23 + 127.0,
    (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
    tuple(1.0 / (2 * n + 1) for n in range(5, -1, -1)),
)  # fmt: skip
FLOAT64 = Precision(
    -708.0, 709.0, 6.93147180369123816490e-01, 1.90821492927058770002e-10, 1.5 * 2.0**52,
    52, 0x000FFFFFFFFFFFFF, 0x3FF0000000000000, 0x4330000000000000, 2.0**52 + 1023.0,
    tuple(1.0 / factorial(n) for n in range(14, 1, -1)),
    tuple(1.0 / (2 * n + 1) for n in range(11, -1, -1)),
)  # fmt: skip

# Cephes ndtr.c: erf(x) = x T(x^2) / U(x^2) up to 1; erfc(x) = exp(-x^2) P(x) / Q(x) from 1 to 8.
ERF_T = (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
         5.55923013010394962768e4)  # fmt: skip
ERF_U = (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
         4.92673942608635921086e4)  # fmt: skip
ERFC_P = (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
          1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
          5.57535335369399327526e2)  # fmt: skip
ERFC_Q = (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
          1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3,
          5.57535340817727675546e2)  # fmt: skip


def precision_of(x: Any) -> Precision:
    """The constants of a vector's own precision, in compiled code."""
    raise NotImplementedError("compiled code only")


@overload(precision_of)
def _precision_of(x: Any) -> Callable[..., Any]:
    precision = FLOAT32 if x.dtype == types.float32 else FLOAT64

    def of(x: Any) -> Any:
        return precision

    return of


@register_jitable
def _polynomial(x: Any, coefficients: Any) -> Any:
    """Horner's scheme, highest power first."""
    y = splat(x, coefficients[0])
    for n in range(1, len(coefficients)):
        y = y * x + coefficients[n]
    return y


@register_jitable
def _reduced(x: Any) -> Any:
    """(n, as bits; exp(r) - 1) with x = n ln 2 + r; x must lie where 2^n is a normal number."""
    p = precision_of(x)
    rounded = x * LOG2_E + p.rounder
    n = rounded - p.rounder
    r = (x - n * p.ln2_high) - n * p.ln2_low
    return bits_of(rounded) << p.fraction_bits, _polynomial(r, p.exp) * r * r + r


@njit(nogil=True)
def exp(x: Any) -> Any:
    """e^x; past the range of normal numbers (-87 to 88, or -708 to 709) it stays at the range's end."""
    p = precision_of(x)
    x = select(x < p.lowest, p.lowest, x)
    shift, minus_one = _reduced(select(x > p.highest, p.highest, x))
    return from_bits(bits_of(minus_one + 1.0) + shift)


@njit(nogil=True)
def tanh(x: Any) -> Any:
    """Through exp(2 |x|) - 1, which keeps small x exact."""
    size = absolute(x)
    size = select(size > 20.0, 20.0, size)  # where tanh has long been 1
    shift, minus_one = _reduced(size + size)
    power = from_bits(bits_of(splat(x, 1.0)) + shift)
    grown = power * minus_one + (power - 1.0)
    return with_sign(grown / (grown + 2.0), x)


@njit(nogil=True)
def logistic(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return 1.0 / (exp(0.0 - x) + 1.0)


@njit(nogil=True)
def erf(x: Any) -> Any:
    """The error function, by Cephes' two rational functions, both computed and one picked."""
    size = absolute(x)
    small = size * size
    small = select(small > 1.0, 1.0, small)
    near = x * _polynomial(small, ERF_T) / _polynomial(small, ERF_U)
    large = select(size > 6.0, 6.0, size)  # where erf has long been 1
    far = 1.0 - exp(0.0 - large * large) * (_polynomial(large, ERFC_P) / _polynomial(large, ERFC_Q))
    return select(size > 1.0, with_sign(far, x), near)


@njit(nogil=True)
def log(x: Any) -> Any:
    """ln x, for positive normal x."""
    p = precision_of(x)
    bits = bits_of(x)
    exponent = from_bits((bits >> p.fraction_bits) | p.bias) - p.biased
    fraction = from_bits((bits & p.fraction_mask) | p.one)
    large = fraction > SQRT_2
    exponent = select(large, exponent + 1.0, exponent)
    fraction = select(large, fraction * 0.5, fraction)
    s = (fraction - 1.0) / (fraction + 1.0)
    near_one = (s + s) * _polynomial(s * s, p.log)
    return select(x == x, exponent * p.ln2_high + (exponent * p.ln2_low + near_one), x)
