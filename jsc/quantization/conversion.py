"""From a float network to a quantised one: fold, put quantisers in, calibrate their ranges.

Shapes: N jets, F features, I inputs and O outputs of a Linear.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from jsc.quantization.export import check_sums
from jsc.quantization.folding import fold
from jsc.quantization.layers import Granularity, InputEncoder, QuantizedLinear, QuantizedNetwork, Quantizer
from jsc.quantization.sparsity import fan_in_mask


def quantize_network(
    network: nn.Module,
    *,
    mean_F: Tensor,
    std_F: Tensor,
    x_NF: Tensor | None,
    weight_bits: int,
    activation_bits: int,
    input_bits: int,
    bias_bits: int,
    granularity: Granularity = "tensor",
    is_learned: bool = False,
    fan_in: int | None = None,
    seed: int = 0,
    percentile: float = 100.0,
) -> QuantizedNetwork:
    """The quantised network that begins where a float one is. `network` is left as it is.

    Args:
        network: takes (x - mean) / std; a chain of Linear, BatchNorm1d, ReLU, Identity, Flatten and Dropout.
        mean_F, std_F: of the raw features, [F].
        x_NF: raw features of training jets, [N, F], from which ranges are calibrated (`calibrate`); None leaves them
            to a state_dict that is loaded afterwards.
        weight_bits, activation_bits, input_bits, bias_bits: of each number, sign included; where bits are learnt (all
            but the biases'), what they begin with.
        granularity: what shares fraction bits: a layer's weights, those of an output, or each weight has its own.
            Activations share them within a layer under "tensor", and have their own otherwise; features always.
        fan_in: inputs that each output keeps, drawn from `seed` (`fan_in_mask`); None for all.
        percentile: of the jets, that each range covers.

    Raises:
        QuantizationError: a layer or place that cannot be quantised, or a sum that could pass 2^24; with its name.
    """
    chain = fold(network, mean_F=mean_F, std_F=std_F)
    quantizer = Quantizer(input_bits, num_groups=len(mean_F), is_signed=not chain.input.has_relu, is_learned=is_learned)
    layers = OrderedDict(_dropouts(0, chain.input.dropout_rates))
    num_in = len(mean_F)
    number = 0  # the layer's in network.json
    for stage in chain.stages:
        num_out = len(stage.weight)
        layers[f"{number}"] = QuantizedLinear(
            num_in,
            num_out,
            stage.bias is not None,
            weight_bits=weight_bits,
            bias_bits=bias_bits,
            granularity=granularity,
            is_learned=is_learned,
        )
        if stage is not chain.stages[-1]:
            layers[f"{number + 1}"] = Quantizer(
                activation_bits,
                num_groups=1 if granularity == "tensor" else num_out,
                is_signed=not stage.has_relu,
                is_learned=is_learned,
            )
        elif stage.has_relu:
            layers[f"{number + 1}"] = nn.ReLU()
        number += 2
        layers.update(_dropouts(number, stage.dropout_rates))
        num_in = num_out
    encoder = InputEncoder(chain.input.offset_F, chain.input.scale_F)
    quantized = QuantizedNetwork(encoder, quantizer, nn.Sequential(layers)).to(chain.dtype)
    for index, ((_, _, linear), stage) in enumerate(zip(quantized.linears(), chain.stages, strict=True)):
        if fan_in is not None:
            num_in, num_out = linear.in_features, linear.out_features
            linear.connect(fan_in_mask(num_in=num_in, num_out=num_out, fan_in=fan_in, seed=seed, layer=index))
        linear.start_from(stage.weight, stage.bias)
    quantized.train(network.training)
    if x_NF is not None:
        calibrate(quantized, x_NF, percentile=percentile)
        check_sums(quantized)
    return quantized


@torch.no_grad()
def calibrate(network: QuantizedNetwork, x_NF: Tensor, *, percentile: float = 100.0) -> None:
    """Set the range of each Quantizer, from the first on, to what the quantised network before it gives for `x_NF`.

    Ranges cover `percentile` percent of the raw features x [N, F], and of what becomes of them. Sums are exact, so that
    ranges are the same on every processor. Learnt bits of activations begin anew.
    """
    was_training = network.training
    network.eval()
    network.input.calibrate(network.encoder.scaled(x_NF), percentile)
    network.encoder.integer_bits.copy_(network.input.integer_bits)
    values_NW = network.input(network.encoder(x_NF))
    for layer in network.layers:
        if isinstance(layer, Quantizer):
            layer.calibrate(values_NW, percentile)
        values_NW = layer(values_NW)
    network.train(was_training)


def _dropouts(number: int, rates: list[float]) -> dict[str, nn.Module]:
    return {f"{number}_dropout{index}": nn.Dropout(rate) for index, rate in enumerate(rates)}
