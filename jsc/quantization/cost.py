"""What a quantised network costs in hardware: bits, non-zero weights, effective bit operations (EBOPs).

EBOPs are the sum over all multiplications of the activation's bits times the weight's (HGQ, arXiv 2405.00645): an
activation's with its sign, a weight's of its magnitude, so that a weight of 0 costs nothing. Biases are not counted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from jsc.quantization.layers import QuantizedNetwork


def ebops(network: QuantizedNetwork) -> Tensor:
    """A number, exact for the bits as they are used, and differentiable in learnt bits.

    A weight that is not 0 has e + f bits, with 2^(e-1) <= |w_q| < 2^e; an activation has max(sign + i + f, 0). Only f
    is differentiated, and straight through its rounding: dE/df_w is the sum of the bits of the activations that the
    weights of f multiply, dE/df_x that of the bits of the weights, where a number has bits at all, and else 0.
    """
    return torch.stack(
        [(linear.bits().sum(0) * entering.bits()).sum() for _, entering, linear in network.linears()]
    ).sum()


def beta_at(progress: float, *, first: float, last: float) -> float:
    """The weight of EBOPs in the loss at `progress`, 0 to 1, of a fit, rising by equal factors from first to last."""
    return first if first == last else first * (last / first) ** min(progress, 1.0)


@dataclass(frozen=True)
class LayerBits:
    """A Linear's bits: means over its non-zero weights (of their magnitudes) and over its inputs (with their signs)."""

    name: str
    num_weights: int
    num_nonzero_weights: int
    mean_weight_bits: float
    mean_activation_bits: float
    ebops: int


@torch.no_grad()
def bits_by_layer(network: QuantizedNetwork) -> list[LayerBits]:
    """One a Linear, in order; the sum of `ebops` is that of the network."""
    rows = []
    for name, entering, linear in network.linears():
        weight_OI, x_I = linear.bits(), entering.bits().expand(linear.in_features)
        num_nonzero = int((weight_OI > 0).sum())
        rows.append(
            LayerBits(
                name,
                weight_OI.numel(),
                num_nonzero,
                float(weight_OI.sum()) / max(num_nonzero, 1),
                float(x_I.mean()),
                int((weight_OI.sum(0) * x_I).sum()),
            )
        )
    return rows
