import pytest
import torch
from quantized_networks import moments, quantized, real_jets
from torch import nn

from jsc.errors import NetworkError
from jsc.models import build_model, model_names
from jsc.quantization import QuantizedLinear, Quantizer, calibrate


@pytest.mark.parametrize("name", model_names())
def test_with_many_bits_a_registered_network_computes_what_it_did(name: str) -> None:
    torch.manual_seed(0)
    network = build_model(name, num_features=16, num_classes=5)
    x_NF = real_jets(2000)
    standard = moments(x_NF)
    standard_NF = ((x_NF.double() - standard["mean_F"]) / standard["std_F"]).float()
    for _ in range(20):
        network(standard_NF)  # the BatchNorms' statistics
    expected = network.eval()(standard_NF)
    made = quantized(
        network, x_NF, weight_bits=8, activation_bits=8, input_bits=10, bias_bits=8, percentile=100.0,
        granularity="output",
    )  # fmt: skip
    error = (made(x_NF) - expected).abs()
    assert error.mean() < 0.1 * expected.abs().mean()


def test_layers_bear_the_numbers_of_network_json() -> None:
    made = quantized(build_model("jsc-trt", num_features=16, num_classes=5).eval(), real_jets(100))
    names = {name: type(layer).__name__ for name, layer in made.layers.named_children()}
    assert names == {
        "0": "QuantizedLinear",
        "1": "Quantizer",
        "2": "QuantizedLinear",
        "3": "Quantizer",
        "4_dropout0": "Dropout",
        "4": "QuantizedLinear",
        "5": "Quantizer",
        "6": "QuantizedLinear",
        "7": "ReLU",
    }
    assert made.input.sign_bits == 0  # BN16 ReLU: the ReLU is the input's low


def test_two_linears_in_a_row_get_a_signed_quantizer() -> None:
    made = quantized(nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 2)), real_jets(100))
    assert [(q.sign_bits, q.num_bits) for q in made.modules() if isinstance(q, Quantizer)] == [(1, 8), (1, 6)]


@pytest.mark.parametrize(
    ("granularity", "weights", "activations"), [("tensor", 1, 1), ("output", 8, 8), ("weight", 128, 8)]
)
def test_granularity_says_what_shares_fraction_bits(granularity: str, weights: int, activations: int) -> None:
    network = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5))
    made = quantized(network, real_jets(100), granularity=granularity, is_learned=True)
    (_, entering, first), (_, between, _) = made.linears()
    assert first.weight_fraction_bits is not None
    assert first.weight_fraction_bits.numel() == weights
    assert entering.used_fraction_bits().numel() == 16
    assert between.used_fraction_bits().numel() == activations


def test_calibration_is_deterministic_and_leaves_the_mode() -> None:
    torch.manual_seed(0)
    network = build_model("jsc-trt", num_features=16, num_classes=5).eval()
    x_NF = real_jets(1000)
    made, again = quantized(network, x_NF), quantized(network, x_NF)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in made.state_dict().items())
    assert not made.training
    made.train()
    calibrate(made, x_NF[:500] * 4, percentile=99.0)
    assert made.training
    assert not torch.equal(made.input.integer_bits, again.input.integer_bits)
    assert torch.equal(made.encoder.integer_bits, made.input.integer_bits)


def test_without_jets_ranges_come_from_a_state_dict() -> None:
    torch.manual_seed(0)
    network = build_model("jsc-medium", num_features=16, num_classes=5).eval()
    x_NF = real_jets(1000)
    made = quantized(network, x_NF)
    empty = build_model("jsc-medium", num_features=16, num_classes=5).eval()
    loaded = quantized(empty, x_NF[:2], x_NF=None)
    assert not torch.equal(loaded(x_NF), made(x_NF))
    loaded.load_state_dict(made.state_dict())
    assert torch.equal(loaded(x_NF), made(x_NF))


def test_precision_is_the_networks_own() -> None:
    network = nn.Sequential(nn.Linear(16, 5)).double()
    made = quantized(network, real_jets(100), granularity="weight", weight_bits=8)
    assert {p.dtype for p in made.parameters()} == {torch.float64}
    assert torch.equal(made.linears()[0][2].weight, network[0].weight)
    assert made(real_jets(10)).dtype == torch.float64


def test_a_sum_that_could_reach_2_to_the_24_is_refused_with_its_layer() -> None:
    network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 5))
    with pytest.raises(NetworkError, match=r"layers\[2\] \(linear\): the sum of output \d could reach"):
        quantized(network, real_jets(100), weight_bits=12, activation_bits=12)


def test_a_quantised_step_trains_weights_biases_and_bits() -> None:
    torch.manual_seed(0)
    network = build_model("jsc-medium", num_features=16, num_classes=5).eval()
    made = quantized(network, real_jets(300), granularity="weight", is_learned=True).train()
    made(real_jets(300)).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert sum(isinstance(m, QuantizedLinear) for m in made.modules()) == 4
