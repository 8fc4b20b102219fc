"""Dropout whose bits are a function of (seed, step, layer, element), so that both engines drop the same elements.

The element is `row of the optimizer step * width + feature`, 32 bits of it. A 64-bit key is mixed from seed, step and
layer with splitmix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"); its
two halves key two rounds of the 32-bit mixer "lowbias32" (C. Wellons, "Prospecting for hash functions", 2018). An
element is dropped if the outcome is below rate * 2^32.
"""

import math

import torch
from torch import Tensor, nn

_MASK_32, _MASK_64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def mix(bits: Tensor) -> Tensor:
    """lowbias32 of int64 tensors that hold 32-bit values."""
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D & _MASK_32  # int64 wraps modulo 2^64, which keeps the low 32 bits right
    bits = (bits ^ (bits >> 15)) * 0x846CA68B & _MASK_32
    return bits ^ (bits >> 16)


def mix_64(key: int) -> int:
    """splitmix64's finaliser."""
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 & _MASK_64
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB & _MASK_64
    return key ^ (key >> 31)


def dropout_key(seed: int, step: int, layer: int) -> int:
    """The 64-bit key of one layer at one step."""
    return mix_64((mix_64((mix_64(seed & _MASK_64) + step) & _MASK_64) + layer) & _MASK_64)


def dropout_factors(x: Tensor, *, seed: int, step: int, layer: int, rate: float, first_row: int = 0) -> Tensor:
    """Dropout's factors for an input [B, ...], in its dtype and on its device: 0 at `rate`, else 1 / (1 - rate).

    `first_row` counts the rows of the same step that are not among these B.
    """
    key = dropout_key(seed, step, layer)
    before = first_row * math.prod(x.shape[1:])
    elements = torch.arange(before, before + x.numel(), dtype=torch.int64, device=x.device)
    bits = mix(mix((elements + (key & _MASK_32)) & _MASK_32) ^ (key >> 32))
    threshold = min(round(rate * 2**32), _MASK_32)
    factor = 1.0 / (1.0 - rate) if rate < 1.0 else 0.0
    return (bits >= threshold).to(x.dtype).mul_(factor).view(x.shape)


class CounterDropout(nn.Module):
    """Stands in for an `nn.Dropout` of rate `p`, on inputs [B, ...] or of any other shape.

    `step` and `first_row`, to which the next forward belongs, are set from outside: see `set_dropout_step`.
    """

    def __init__(self, p: float, *, seed: int, layer: int) -> None:
        super().__init__()
        self.p = p
        self.seed = seed
        self.layer = layer
        self.step = 0
        self.first_row = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        return x * dropout_factors(
            x, seed=self.seed, step=self.step, layer=self.layer, rate=self.p, first_row=self.first_row
        )

    def extra_repr(self) -> str:
        return f"p={self.p}, seed={self.seed}, layer={self.layer}"


def dropout_names(model: nn.Module) -> list[str]:
    """Paths of a model's Dropout modules; a layer's number is its place among them."""
    return [name for name, module in model.named_modules() if isinstance(module, (nn.Dropout, CounterDropout))]


def count_dropout(model: nn.Module, *, seed: int) -> list[CounterDropout]:
    """Put a CounterDropout in the place of each `nn.Dropout`, in place; state-dict keys stay as they are.

    Returns them all; set their `step` before each training forward (`set_dropout_step`). A model that is itself an
    `nn.Dropout` cannot be changed in place: ValueError.
    """
    if type(model) is nn.Dropout:
        raise ValueError("the model is itself an nn.Dropout; put it into an nn.Sequential")
    for layer, name in enumerate(dropout_names(model)):
        parent_name, _, child_name = name.rpartition(".")
        module = model.get_submodule(name)
        if type(module) in (nn.Dropout, CounterDropout):
            counted = CounterDropout(module.p, seed=seed, layer=layer)  # type: ignore[arg-type]  # p is a float
            counted.train(module.training)
            setattr(model.get_submodule(parent_name), child_name, counted)
    return [m for m in model.modules() if isinstance(m, CounterDropout)]


def set_dropout_step(model: nn.Module, step: int, first_row: int = 0) -> None:
    """Tell every CounterDropout of a model which optimizer step its next forwards belong to.

    `first_row` counts the rows of that step that other processes and earlier micro-batches hold, so that each draws
    its own bits, and together the bits that one large batch would draw.
    """
    for module in model.modules():
        if isinstance(module, CounterDropout):
            module.step = step
            module.first_row = first_row
