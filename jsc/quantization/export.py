"""A quantised network's integers, exactly as its forward uses them, as the `Network` of network.json."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jsc.hardware.network import InputQuantizer, Layer, Linear, Network, Quantize
from jsc.quantization.layers import QuantizedLinear, QuantizedNetwork, Quantizer
from jsc.quantization.rounding import power_of_two

Integers = npt.NDArray[np.int64]


def to_network(
    network: QuantizedNetwork,
    *,
    model: str,
    feature_names: Sequence[str],
    class_names: Sequence[str],
    dataset: str,
    dataset_variant: str,
    dataset_sha256: str,
    seed: int,
    selected_by: str,
    version: str,
) -> Network:
    """The record of a quantised network. Raises NetworkError, with the layer's name, if a sum could reach 2^24."""

    entrance = _quantize(network.input, len(feature_names))

    def record(layers: Sequence[Layer]) -> Network:
        return Network(
            model=model,
            feature_names=tuple(feature_names),
            class_names=tuple(class_names),
            input=InputQuantizer(
                offset=network.encoder.offset.cpu().numpy(),
                scale=network.encoder.scale.cpu().numpy(),
                fraction_bits=entrance.fraction_bits,
                low=entrance.low,
                high=entrance.high,
            ),
            layers=tuple(layers),
            dataset=dataset,
            dataset_variant=dataset_variant,
            dataset_sha256=dataset_sha256,
            seed=seed,
            selected_by=selected_by,
            jsc=version,
        )

    layers: list[Layer] = []
    width = len(feature_names)
    for module in network.layers:
        if isinstance(module, QuantizedLinear):
            width = module.out_features
            layers.append(_linear(module))
        elif isinstance(module, Quantizer):
            layers.append(_quantize(module, width))
        elif isinstance(module, nn.ReLU):  # on exact sums, of which it cuts off the negative alone
            sums = record(layers).wires[-1]
            layers.append(Quantize(fraction_bits=sums.fraction_bits, low=0 * sums.high, high=np.maximum(sums.high, 0)))
    return record(layers)


def check_sums(network: QuantizedNetwork) -> None:
    """Raises NetworkError, with the layer's name, if one of its sums could reach 2^24: float32 would not be exact."""
    *_, (_, _, last) = network.linears()
    to_network(
        network,
        model="",
        feature_names=[f"{i}" for i in range(len(network.encoder.offset))],
        class_names=[f"{i}" for i in range(last.out_features)],
        dataset="",
        dataset_variant="",
        dataset_sha256="",
        seed=0,
        selected_by="",
        version="",
    )


@torch.no_grad()
def _linear(linear: QuantizedLinear) -> Linear:
    weight_OI, bits_OI = linear.quantized_weight(), linear.used_weight_fraction_bits()
    bias_O = linear.quantized_bias()
    bits_O = linear.used_bias_fraction_bits()
    if bias_O is None:
        bias_O = torch.zeros_like(weight_OI[:, 0])
    return Linear(
        weights=_integers(weight_OI * power_of_two(bits_OI)),
        weight_fraction_bits=_integers(bits_OI.expand_as(weight_OI)),
        bias=_integers(bias_O * power_of_two(bits_O)),
        bias_fraction_bits=_integers(bits_O.expand_as(bias_O)),
    )


@torch.no_grad()
def _quantize(quantizer: Quantizer, width: int) -> Quantize:
    parts = (quantizer.used_fraction_bits(), *quantizer.limits())
    fraction_bits, low, high = (_integers(value.expand(width)) for value in parts)
    return Quantize(fraction_bits=fraction_bits, low=low, high=high)


def _integers(values: Tensor) -> Integers:
    integers: Integers = values.cpu().numpy().astype(np.int64)
    return integers
