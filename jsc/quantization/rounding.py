"""Fixed-point numbers in torch: n * 2^-f for an integer n, rounded half up, with gradients straight through.

Everything here is exact in float32 and float64: powers of two are built from their bits, since `exp2` and `pow` are not
exact on every processor.
"""

import math
from typing import Any

import torch
from torch import Tensor

LOG_2 = math.log(2.0)


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


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, fraction_bits: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
        step = power_of_two(-fraction_bits)
        n = round_half_up(x * power_of_two(fraction_bits))
        inside = None
        if low is not None and high is not None:
            n = torch.minimum(torch.maximum(n, low), high)
            inside = (x >= low * step) & (x <= high * step)
        x_q = n * step
        ctx.fraction_shape = fraction_bits.shape
        ctx.save_for_backward(inside, x - x_q if fraction_bits.requires_grad else None)
        return x_q

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inside, error = ctx.saved_tensors
        gradient = gradients[0] if inside is None else gradients[0] * inside
        bits_gradient = (gradient * error).sum_to_size(ctx.fraction_shape) * LOG_2 if error is not None else None
        return gradient, bits_gradient, None, None


def quantize(x: Tensor, fraction_bits: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """floor(x * 2^f + 1/2), saturated to the integers [low, high] if they are given, times 2^-f.

    Shapes: `fraction_bits` (whole numbers), `low` and `high` broadcast to that of `x`, and have its dtype.
    Gradients: of `x`, one, and zero where x lies outside [low * 2^-f, high * 2^-f]; of f, ln 2 * (x - x_q) there (the
    rounding error halves with each bit; HGQ, arXiv 2405.00645, section III).
    """
    x_q: Tensor = _Quantize.apply(x, fraction_bits, low, high)  # type: ignore[no-untyped-call]
    return x_q


class _RoundBits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bits: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(round_half_up(bits), low), high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None, None


def round_bits(bits: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Learnt numbers of bits as they are used: rounded half up, within [low, high]; the gradient passes unchanged."""
    rounded: Tensor = _RoundBits.apply(bits, low, high)  # type: ignore[no-untyped-call]
    return rounded
