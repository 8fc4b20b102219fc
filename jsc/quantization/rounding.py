"""Fixed-point numbers in torch: n * 2^-f for an integer n, rounded half up, with gradients straight through.

All of it is exact in float32 and float64: powers of two are built from their bits, since `exp2` and `pow` are not exact
on every processor, and what only carries a gradient, x - x.detach(), is 0.
"""

import math

import torch
from torch import Tensor


def power_of_two(exponents: Tensor) -> Tensor:
    """2^n, exactly, of a float tensor of whole numbers from -126 to 127; its shape and dtype."""
    if exponents.dtype == torch.float64:
        return ((exponents.to(torch.int64) + 1023) << 52).view(torch.float64)
    return ((exponents.to(torch.int32) + 127) << 23).view(torch.float32)


def magnitude_exponent(x: Tensor) -> Tensor:
    """The smallest e with |x| < 2^e, 0 for 0; the shape and dtype of `x`. Of an integer: how many bits |n| has."""
    return torch.frexp(x)[1].to(x.dtype)


def round_half_up(x: Tensor) -> Tensor:
    """floor(x + 1/2), whatever the size of x: adding 1/2 itself is not exact just below it."""
    down = torch.floor(x)
    return down + (x - down >= 0.5)


def quantize(x: Tensor, fraction_bits: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """floor(x * 2^f + 1/2), saturated to the integers [low, high] if they are given, times 2^-f.

    Shapes: `fraction_bits` (whole numbers), `low` and `high` broadcast to that of `x`, and have its dtype.
    Gradients: of `x`, one, and zero where x lies outside [low * 2^-f, high * 2^-f]; of f, ln 2 * (x - x_q) there (the
    rounding error halves with each bit; HGQ, arXiv 2405.00645, section III).
    """
    with torch.no_grad():
        step = power_of_two(-fraction_bits)
        n = round_half_up(x * power_of_two(fraction_bits))
        inside: Tensor | float = 1.0
        if low is not None and high is not None:
            n = torch.minimum(torch.maximum(n, low), high)
            inside = ((x >= low * step) & (x <= high * step)).to(x.dtype)
        x_q = n * step
    through = x - x.detach()
    if fraction_bits.requires_grad:
        through = through + (fraction_bits - fraction_bits.detach()) * (math.log(2) * (x.detach() - x_q))
    return x_q + through * inside


def round_bits(bits: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Learnt numbers of bits as they are used: rounded half up, within [low, high]; the gradient passes unchanged."""
    rounded = torch.minimum(torch.maximum(round_half_up(bits.detach()), low), high)
    return rounded + (bits - bits.detach())
