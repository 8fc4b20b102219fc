import pytest
import torch
from quantized_networks import GRANULARITIES, exported, quantized, real_jets, with_statistics
from torch import nn

from jsc.models import build_model, model_names
from jsc.quantization import QuantizedNetwork, beta_at, bits_by_layer, ebops


def two_layers(**options: object) -> QuantizedNetwork:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5))
    return quantized(network, real_jets(300), **options)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", model_names())
def test_ebops_are_those_of_the_integers(name: str, granularity: str) -> None:
    network = with_statistics(build_model(name, num_features=16, num_classes=5), seed=1)
    for is_learned in (False, True):
        made = quantized(network, real_jets(300), granularity=granularity, is_learned=is_learned, fan_in=9)
        record = exported(made)
        assert ebops(made).item() == record.ebops
        layers = bits_by_layer(made)
        assert [layer.ebops for layer in layers] == [cost.ebops for cost in record.costs]
        assert [layer.num_nonzero_weights for layer in layers] == [cost.num_nonzero_weights for cost in record.costs]


def test_one_layers_ebops_by_hand() -> None:
    made = quantized(nn.Sequential(nn.Linear(2, 2)), torch.randn(100, 2), input_bits=4, weight_bits=4)
    linear = made.linears()[0][2]
    linear.start_from(torch.tensor([[0.75, -0.125], [0.0, 0.5]]), None)  # integers 6, -1, 0, 4 at three fraction bits
    assert ebops(made).item() == 4 * (3 + 1) + 4 * (0 + 3)
    (layer,) = bits_by_layer(made)
    assert (layer.num_weights, layer.num_nonzero_weights) == (4, 3)
    assert (layer.mean_weight_bits, layer.mean_activation_bits) == (pytest.approx(7 / 3), 4)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_derivative_counts_the_bits_on_the_other_side(granularity: str) -> None:
    made = two_layers(granularity=granularity, is_learned=True)
    ebops(made).backward()
    for _, entering, linear in made.linears():
        weight_bits, x_bits = linear.bits().detach(), entering.bits().detach().expand(linear.in_features)
        slope = (weight_bits > 0) * x_bits
        dims = tuple(d for d in range(2) if linear.group_shape[d] == 1)
        expected = slope.sum(dims, keepdim=True) if dims else slope
        assert linear.weight_fraction_bits is not None
        assert linear.weight_fraction_bits.grad is not None
        torch.testing.assert_close(linear.weight_fraction_bits.grad, expected)
        assert entering.fraction_bits is not None
        assert entering.fraction_bits.grad is not None
        by_neuron = weight_bits.sum(0)
        groups = len(entering.fraction_bits)
        torch.testing.assert_close(entering.fraction_bits.grad, by_neuron if groups > 1 else by_neuron.sum()[None])


def test_a_bit_less_costs_as_much_less_as_the_derivative_says() -> None:
    made = two_layers(granularity="weight", is_learned=True)
    (_, entering, _), (_, between, _) = made.linears()
    for quantizer in (entering, between):
        assert quantizer.fraction_bits is not None
        before = ebops(made)
        (slope,) = torch.autograd.grad(before, quantizer.fraction_bits)
        with torch.no_grad():
            quantizer.fraction_bits[3] -= 1
        assert (before - ebops(made)).item() == slope[3].item()


def test_numbers_without_bits_cost_nothing_and_have_no_slope() -> None:
    made = two_layers(granularity="weight", is_learned=True)
    (_, entering, linear), _ = made.linears()
    with torch.no_grad():
        entering.fraction_bits[0] = -30.0
        linear.weight_fraction_bits[2, 3] = -16.0
    ebops(made).backward()
    assert entering.fraction_bits.grad[0] == 0
    assert linear.weight_fraction_bits.grad[2, 3] == 0
    assert (linear.weight_fraction_bits.grad[:, 0] == 0).all()


def test_a_penalty_on_ebops_takes_bits_away() -> None:
    made = two_layers(granularity="weight", is_learned=True)
    before = ebops(made).item()
    optimizer = torch.optim.SGD([p for n, p in made.named_parameters() if n.endswith("fraction_bits")], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        ebops(made).backward()
        optimizer.step()
    assert ebops(made).item() < 0.2 * before


def test_beta_rises_by_equal_factors() -> None:
    assert [beta_at(p, first=1e-6, last=1e-4) for p in (0.0, 0.5, 1.0)] == pytest.approx([1e-6, 1e-5, 1e-4])
    assert beta_at(0.3, first=0.0, last=0.0) == 0
    assert beta_at(0.3, first=1e-5, last=1e-5) == 1e-5
