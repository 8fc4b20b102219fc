"""Networks to test with: built from plain lists, drawn by hypothesis, and interpreted in fractions."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from jsc.errors import NetworkError
from jsc.hardware.network import InputQuantizer, Integers, Layer, Linear, Network, Quantize


def integers(values: Any) -> Integers:
    return np.array(values, dtype=np.int64)


def inputs(low: Sequence[int], high: Sequence[int], fraction_bits: Sequence[int] | None = None) -> InputQuantizer:
    """Features that are integers already, but for their fraction bits."""
    f = integers(fraction_bits or [0] * len(low))
    return InputQuantizer(
        offset=np.zeros(len(low)), scale=np.ones(len(low)), fraction_bits=f, low=integers(low), high=integers(high)
    )


def linear(
    weights: Sequence[Sequence[int]], bias: Sequence[int] | None = None, bits: Any = 0, bias_bits: Any = 0
) -> Linear:
    """`bits` and `bias_bits`: fraction bits, one for all or each its own."""
    w = integers(weights)
    return Linear(
        weights=w,
        weight_fraction_bits=np.broadcast_to(integers(bits), w.shape).copy(),
        bias=integers(bias or [0] * len(w)),
        bias_fraction_bits=np.broadcast_to(integers(bias_bits), len(w)).copy(),
    )


def quantize(low: Sequence[int], high: Sequence[int], fraction_bits: Sequence[int] | None = None) -> Quantize:
    return Quantize(fraction_bits=integers(fraction_bits or [0] * len(low)), low=integers(low), high=integers(high))


def network(q: InputQuantizer, *layers: Layer, **given: Any) -> Network:
    width = next(len(getattr(layer, "bias", getattr(layer, "low", None))) for layer in reversed(layers))
    plain: dict[str, Any] = {
        "model": "by-hand",
        "feature_names": tuple(f"f{i}" for i in range(len(q.low))),
        "class_names": tuple(f"c{i}" for i in range(width)),
        "dataset": "none",
        "dataset_variant": "none",
        "dataset_sha256": "0" * 64,
        "seed": 1,
        "selected_by": "val_loss",
        "jsc": "0",
    }
    return Network(input=q, layers=layers, **(plain | given))


def drawn_inputs(net: Network, num: int = 200, seed: int = 0) -> Integers:
    generator = np.random.default_rng(seed)
    return generator.integers(net.input.low, net.input.high, (num, net.num_features), endpoint=True)


def in_fractions(net: Network, row: Sequence[int]) -> list[Fraction]:
    """What leaves the last layer, computed term by term with Python's fractions: contract 1, read aloud."""
    values = [Fraction(int(n)) / Fraction(2) ** int(f) for n, f in zip(row, net.input.fraction_bits, strict=True)]
    for layer in net.layers:
        if isinstance(layer, Linear):
            values = [
                sum(
                    (
                        Fraction(int(w)) / Fraction(2) ** int(f) * x
                        for w, f, x in zip(layer.weights[o], layer.weight_fraction_bits[o], values, strict=True)
                    ),
                    Fraction(int(layer.bias[o])) / Fraction(2) ** int(layer.bias_fraction_bits[o]),
                )
                for o in range(len(layer.bias))
            ]
        else:
            saturated = []
            for x, f, low, high in zip(values, layer.fraction_bits, layer.low, layer.high, strict=True):
                n = math.floor(x * Fraction(2) ** int(f) + Fraction(1, 2))
                saturated.append(Fraction(min(max(n, int(low)), int(high))) / Fraction(2) ** int(f))
            values = saturated
    return values


@st.composite
def bounds(draw: st.DrawFn, width: int) -> tuple[list[int], list[int]]:
    """Ranges of all kinds: one bit, one value, powers of two and others, signed, unsigned and negative alone."""
    kinds = st.one_of(
        st.integers(0, 6).map(lambda b: (0, 2**b - 1)),
        st.integers(0, 6).map(lambda b: (-(2**b), 2**b - 1)),
        st.tuples(st.integers(-70, 70), st.integers(-70, 70)).map(lambda p: (min(p), max(p))),
        st.just((-1, 0)),
    )
    pairs = draw(st.lists(kinds, min_size=width, max_size=width))
    return [p[0] for p in pairs], [p[1] for p in pairs]


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Small ones of any shape: any order of layers, fraction bits a weight, pruned rows and inputs, any rounding."""
    width = draw(st.integers(1, 5))
    fraction_bits = st.integers(-3, 3)

    def bits(n: int) -> list[int]:
        return draw(st.lists(fraction_bits, min_size=n, max_size=n))

    low, high = draw(bounds(width))
    q = inputs(low, high, bits(width))
    layers: list[Layer] = []
    for kind in draw(st.lists(st.sampled_from("lqlql"), min_size=1, max_size=5)):
        if kind == "l":
            outputs = draw(st.integers(1, 5))
            weight = st.one_of(st.just(0), st.integers(-3, 3), st.sampled_from([-8, 8, 4, 7]))
            row = st.one_of(st.just([0] * width), st.lists(weight, min_size=width, max_size=width))
            weights = draw(st.lists(row, min_size=outputs, max_size=outputs))
            bias = draw(st.lists(st.integers(-9, 9), min_size=outputs, max_size=outputs))
            layers.append(linear(weights, bias, [bits(width) for _ in range(outputs)], bits(outputs)))
            width = outputs
        else:
            low, high = draw(bounds(width))
            layers.append(quantize(low, high, bits(width)))
    try:
        return network(q, *layers)
    except NetworkError:  # too wide sums
        reject()
