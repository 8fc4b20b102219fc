"""Quantised layers: what a network is made of that an integer circuit can run. The numbers: docs/quantization.md.

Shapes: B jets of a batch, F features, I inputs and O outputs of a layer, G groups that share a number of bits (1 for
all together, or one a neuron).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from jsc.quantization.rounding import magnitude_exponent, power_of_two, quantize, round_bits, round_half_up

Granularity = Literal["tensor", "output", "weight"]

MAX_BITS = 16  # of a learnt number
MAX_SPREAD = 3  # bits by which groups of one tensor may be finer than its coarsest, so that sums have few bits
ENCODED_BITS = 23  # float32 holds every integer of so many bits, and its half


class InputEncoder(nn.Module):
    """Raw features to t = (x - offset) * scale, in float64, on a grid so fine that it changes no Quantizer's rounding.

    The grid is 2^(i - 23) and the range [-2^i, 2^i] for `integer_bits` i, so that t is exact in float32. Rounding
    half up is a floor on a coarser grid than that, and floors compose: quantising t gives the integers
    clip(floor((x - offset) * scale * 2^f + 1/2), low, high) of float64 arithmetic, bit for bit.

    `offset_bits` and `scale_bits` int64 [F] are the float64 numbers' bits, which `network.float()` cannot round.
    """

    offset_bits: Tensor
    scale_bits: Tensor
    integer_bits: Tensor

    def __init__(self, offset_F: Tensor, scale_F: Tensor) -> None:
        super().__init__()
        self.register_buffer("offset_bits", offset_F.to(torch.float64).clone().view(torch.int64))
        self.register_buffer("scale_bits", scale_F.to(torch.float64).clone().view(torch.int64))
        self.register_buffer("integer_bits", torch.zeros(len(offset_F)))

    @property
    def offset(self) -> Tensor:
        """float64 [F], in the features' units."""
        return self.offset_bits.view(torch.float64)

    @property
    def scale(self) -> Tensor:
        """float64 [F], one over the features' units."""
        return self.scale_bits.view(torch.float64)

    def scaled(self, x_BF: Tensor) -> Tensor:
        """(x - offset) * scale in float64 [B, F], of raw features [B, F] of any dtype."""
        return (x_BF.to(torch.float64) - self.offset) * self.scale

    def forward(self, x_BF: Tensor) -> Tensor:
        """Encoded features [B, F], of the network's dtype, from raw ones [B, F], of any."""
        t_BF = self.scaled(x_BF)
        mantissa, exponent = torch.frexp(t_BF)
        # The float64 just below 1/2 becomes 1 when 1/2 is added, alone of all that a sum with 1/2 could carry over.
        is_just_below = mantissa == 1.0 - 2.0**-53
        t_BF = torch.where(is_just_below, power_of_two(exponent.clamp(-1022, 1023).to(torch.float64)), t_BF)
        limit_F = power_of_two(self.integer_bits.to(torch.float64))
        grid_F = limit_F * 2.0**-ENCODED_BITS
        t_BF = torch.floor(torch.minimum(torch.maximum(t_BF, -limit_F), limit_F) / grid_F) * grid_F
        return t_BF.to(self.integer_bits.dtype)


class Quantizer(nn.Module):
    """Rounds activations half up to f fraction bits and saturates them at `num_bits` bits; unsigned is a ReLU.

    A number has i = `integer_bits` (a buffer [G], from calibration) and f fraction bits, and a sign if `is_signed`:
    its integers go from low = -2^(i+f), or 0, to high = 2^(i+f) - 1. Given bits: f = num_bits - sign - i. Learnt
    bits: `fraction_bits`, a parameter [G], begins there; with no bits left the neuron is 0.
    """

    integer_bits: Tensor

    def __init__(self, num_bits: int, *, num_groups: int, is_signed: bool, is_learned: bool = False) -> None:
        super().__init__()
        self.num_bits = num_bits
        self.sign_bits = int(is_signed)
        self.register_buffer("integer_bits", torch.zeros(num_groups))
        self.fraction_bits = nn.Parameter(torch.zeros(num_groups)) if is_learned else None
        self.set_range(self.integer_bits)

    @torch.no_grad()
    def set_range(self, integer_bits_G: Tensor) -> None:
        """Let numbers reach 2^i; learnt bits begin anew at `num_bits` in all."""
        self.integer_bits.copy_(integer_bits_G)
        if self.fraction_bits is not None:
            self.fraction_bits.copy_(self.num_bits - self.sign_bits - self.integer_bits)

    @torch.no_grad()
    def calibrate(self, x_NW: Tensor, percentile: float) -> None:
        """Set the range [G] that covers so many percent of each neuron's values x [N, W], or of the widest neuron's."""
        size_NW = x_NW.abs() if self.sign_bits else x_NW.clamp(min=0)
        rank = max(1, -(-len(x_NW) * percentile // 100))  # the smallest value that so many percent do not exceed
        reach_W = size_NW.kthvalue(int(min(rank, len(x_NW))), dim=0).values
        reach_G = reach_W.amax(0, keepdim=True) if len(self.integer_bits) == 1 else reach_W
        bits_G = magnitude_exponent(reach_G)
        widest = bits_G[reach_G > 0].max() if (reach_G > 0).any() else bits_G.new_zeros(())
        self.set_range(torch.where(reach_G > 0, bits_G, widest).clamp(min=widest - MAX_SPREAD))

    def used_fraction_bits(self) -> Tensor:
        """f as the forward uses it: whole numbers [G]."""
        magnitude = -self.integer_bits - self.sign_bits
        if self.fraction_bits is None:
            return magnitude + self.num_bits
        return round_bits(self.fraction_bits, magnitude, magnitude + MAX_BITS)

    def bits(self) -> Tensor:
        """How many bits a number has, with its sign: [G], differentiable in learnt bits."""
        return functional.relu(self.integer_bits + self.used_fraction_bits() + self.sign_bits)

    @torch.no_grad()
    def limits(self) -> tuple[Tensor, Tensor]:
        """(low, high), integers as floats [G]."""
        size_G = torch.floor(power_of_two(self.integer_bits + self.used_fraction_bits()))
        return -size_G * self.sign_bits, (size_G - 1).clamp(min=0)

    def forward(self, x_BW: Tensor) -> Tensor:
        return quantize(x_BW, self.used_fraction_bits(), *self.limits())


def fitting_fraction_bits(x: Tensor, num_bits: int, group_shape: tuple[int, ...]) -> Tensor:
    """The most fraction bits with which all numbers of a group round to `num_bits` bits, sign included.

    Of `x` [O, I] or [O], whose groups `group_shape` says ([1, 1], [O, 1], [O, I], [1] or [O]); whole numbers of that
    shape. A group is at most MAX_SPREAD bits finer than the coarsest, and one of zeros as coarse as that.
    """
    size = x.abs()
    for dim, length in enumerate(group_shape):
        if length == 1:
            size = size.amax(dim, keepdim=True)
    bits = num_bits - 1 - magnitude_exponent(size)
    n = round_half_up(size * power_of_two(bits.clamp(-64, 64)))
    bits = bits - (magnitude_exponent(n) >= num_bits).to(bits.dtype)
    coarsest = bits[size > 0].min() if (size > 0).any() else bits.new_zeros(())
    return torch.where(size > 0, bits, coarsest).clamp(max=coarsest + MAX_SPREAD).clamp(-32, 32)


class QuantizedLinear(nn.Linear):
    """y = x W' + b in exact sums, with weights and biases rounded half up.

    Given bits: `weight_bits` and `bias_bits` in all, sign included; how many of them are fraction bits follows from
    the largest of the numbers that share them (`granularity`: all, those of one output, each weight), so that weights
    cannot overflow. Learnt bits: `weight_fraction_bits`, a parameter [1, 1], [O, 1] or [O, I], begins at what all
    together would have; integer bits follow from the value. Biases have given bits always.

    `mask` [O, I] is False for weights that are kept at the integer 0.
    """

    mask: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_bits: int,
        bias_bits: int,
        granularity: Granularity = "tensor",
        is_learned: bool = False,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.weight_bits = weight_bits
        self.bias_bits = bias_bits
        self.num_connections = out_features * in_features  # that are not masked from the beginning
        self.group_shape = {
            "tensor": (1, 1),
            "output": (out_features, 1),
            "weight": (out_features, in_features),
        }[granularity]
        self.register_buffer("mask", torch.ones(out_features, in_features, dtype=torch.bool))
        self.weight_fraction_bits = nn.Parameter(torch.zeros(self.group_shape)) if is_learned else None
        self.start_from(self.weight, self.bias)

    @torch.no_grad()
    def connect(self, mask_OI: Tensor) -> None:
        """Let there be these weights alone, from the beginning."""
        self.mask.copy_(mask_OI)
        self.num_connections = int(mask_OI.sum())

    @torch.no_grad()
    def start_from(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        """Take these weights, which `mask` cuts; learnt bits begin anew."""
        self.weight.copy_(weight_OI)
        if bias_O is not None:
            self.bias.copy_(bias_O)
        if self.weight_fraction_bits is not None:
            bits = fitting_fraction_bits(self.weight * self.mask, self.weight_bits, (1, 1))
            self.weight_fraction_bits.copy_(bits)

    def used_weight_fraction_bits(self) -> Tensor:
        """f of the weights as the forward uses it: whole numbers [1, 1], [O, 1] or [O, I]."""
        if self.weight_fraction_bits is None:
            return fitting_fraction_bits(self.weight.detach() * self.mask, self.weight_bits, self.group_shape)
        limit = self.weight_fraction_bits.new_tensor(float(MAX_BITS))
        return round_bits(self.weight_fraction_bits, -limit, limit)

    def used_bias_fraction_bits(self) -> Tensor:
        """f of the biases as the forward uses it: whole numbers [1] or [O]; at most `bias_bits` beyond the weights'."""
        bias_O = self.weight.new_zeros(self.out_features) if self.bias is None else self.bias.detach()
        finest = self.used_weight_fraction_bits().detach().amax(1)  # a tiny bias shall not make sums fine
        bits = fitting_fraction_bits(bias_O, self.bias_bits, self.group_shape[:1])
        return torch.minimum(bits, (finest if len(bits) > 1 else finest.amax(0, keepdim=True)) + self.bias_bits)

    def quantized_weight(self) -> Tensor:
        """[O, I]; exactly 0 where `mask` is False."""
        return quantize(self.weight * self.mask, self.used_weight_fraction_bits())

    def quantized_bias(self) -> Tensor | None:
        """[O]"""
        return None if self.bias is None else quantize(self.bias, self.used_bias_fraction_bits())

    def bits(self) -> Tensor:
        """How many bits each weight's magnitude has: [O, I], 0 for a weight of 0; differentiable in learnt bits."""
        weight_OI = self.quantized_weight().detach()
        bits_OI = magnitude_exponent(weight_OI) + self.used_weight_fraction_bits()
        return torch.where(weight_OI != 0, bits_OI, torch.zeros_like(bits_OI))

    def forward(self, x_BI: Tensor) -> Tensor:
        return functional.linear(x_BI, self.quantized_weight(), self.quantized_bias())


class QuantizedNetwork(nn.Module):
    """An encoder of raw features, the input's Quantizer, and a chain with a Quantizer behind each QuantizedLinear.

    A ReLU between two Linears is an unsigned Quantizer; logits are exact sums, of which a last ReLU keeps the positive.
    Children of `layers` bear the numbers of network.json's layers, and `<number>_dropout` those that it does not have.
    """

    def __init__(self, encoder: InputEncoder, quantizer: Quantizer, layers: nn.Sequential) -> None:
        super().__init__()
        self.encoder = encoder
        self.input = quantizer
        self.layers = layers

    def forward(self, x_BF: Tensor) -> Tensor:
        """Logits [B, C] of raw features [B, F] of any dtype."""
        return self.classify(self.encoder(x_BF))

    def classify(self, t_BF: Tensor) -> Tensor:
        """Logits [B, C] of encoded features [B, F]: those of `encoder`, which can be made once for all steps."""
        logits_BC: Tensor = self.layers(self.input(t_BF))
        return logits_BC

    def linears(self) -> list[tuple[str, Quantizer, QuantizedLinear]]:
        """The Linears in order, each with its path in the network and the Quantizer whose numbers it sums."""
        found = []
        entering = self.input
        for name, layer in self.layers.named_children():
            if isinstance(layer, Quantizer):
                entering = layer
            elif isinstance(layer, QuantizedLinear):
                found.append((f"layers.{name}", entering, layer))
        return found
