"""The example that docs/quantization.md works by hand, number for number."""

import torch
from quantized_networks import assert_integers_equal, exported
from torch import nn

from jsc.quantization import InputEncoder, QuantizedLinear, QuantizedNetwork, Quantizer, ebops


def by_hand() -> QuantizedNetwork:
    offset, scale = torch.tensor([2.0, 10.0]), torch.tensor([0.5, 0.2], dtype=torch.float64)
    hidden = QuantizedLinear(2, 2, weight_bits=4, bias_bits=5)
    hidden.start_from(torch.tensor([[0.62, -0.40], [-0.20, 0.90]]), torch.tensor([0.1, -0.3]))
    last = QuantizedLinear(2, 2, bias=False, weight_bits=4, bias_bits=5)
    last.start_from(torch.tensor([[0.5, -1.0], [-0.25, 0.75]]), None)
    first, between = Quantizer(4, num_groups=2, is_signed=True), Quantizer(3, num_groups=1, is_signed=False)
    network = QuantizedNetwork(InputEncoder(offset, scale), first, nn.Sequential(hidden, between, last))
    first.set_range(torch.tensor([1.0, 1.0]))
    network.encoder.integer_bits.copy_(first.integer_bits)
    between.set_range(torch.tensor([1.0]))
    return network


def test_the_example_by_hand_is_what_is_computed() -> None:
    network = by_hand()
    record = exported(network)
    hidden, between, last = record.layers
    assert (record.input.fraction_bits.tolist(), record.input.low.tolist()) == ([2, 2], [-8, -8])
    assert (hidden.weights.tolist(), hidden.weight_fraction_bits[0, 0]) == ([[5, -3], [-2, 7]], 3)
    assert (hidden.bias.tolist(), hidden.bias_fraction_bits[0]) == ([3, -10], 5)
    assert (between.fraction_bits[0], between.low[0], between.high[0]) == (2, 0, 7)
    assert (last.weights.tolist(), last.weight_fraction_bits[0, 0]) == ([[2, -4], [-1, 3]], 2)
    x_NF = torch.tensor([[3.3, 20.0]])
    steps = record.trace(record.quantize(x_NF.numpy()))
    assert [step.tolist()[0] for step in steps] == [[3, 7], [-3, 33], [0, 4], [-16, 12]]
    assert (record.wires[1].low[1], record.wires[1].high[1]) == (-80, 55)  # 65 before the bias of -10
    assert network(x_NF).tolist() == [[-1.0, 0.75]]
    assert record.predict(x_NF.numpy()).tolist() == [1]
    assert [cost.ebops for cost in record.costs] == [40, 24]
    assert ebops(network).item() == 64
    assert_integers_equal(network, torch.randn(200, 2) * 20)
