import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from quantized_networks import (
    GRANULARITIES,
    assert_inputs_equal,
    assert_integers_equal,
    chains,
    exported,
    inputs_of,
    quantized,
    real_jets,
    with_statistics,
)
from torch import nn

from jsc.errors import NetworkError
from jsc.hardware.network import Network
from jsc.models import build_model, model_names
from jsc.quantization import QuantizedNetwork, check_sums, prune


def registered(name: str) -> nn.Module:
    torch.manual_seed(0)
    return with_statistics(build_model(name, num_features=16, num_classes=5), seed=2)


def assert_equal_everywhere(network: QuantizedNetwork) -> None:
    assert_integers_equal(network, real_jets(3000))
    assert_inputs_equal(network, inputs_of(network, 500, seed=0))


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", model_names())
def test_integers_give_a_registered_networks_logits(name: str, granularity: str) -> None:
    made = quantized(registered(name), real_jets(2000), granularity=granularity)
    assert_equal_everywhere(made)


@pytest.mark.parametrize("name", model_names())
def test_integers_give_the_logits_of_learnt_bits_and_fan_in_and_pruning(name: str) -> None:
    made = quantized(registered(name), real_jets(2000), granularity="weight", is_learned=True, fan_in=7)
    prune(made, 0.6)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for bits_name, bits in made.named_parameters():
            if bits_name.endswith("fraction_bits"):
                bits += torch.randn(bits.shape, generator=generator) - 2
    assert_equal_everywhere(made)
    weights = np.concatenate([layer.weights.ravel() for layer in exported(made).layers if layer.kind == "linear"])
    assert (weights != 0).mean() < 0.5


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    chains(),
    st.sampled_from(GRANULARITIES),
    st.booleans(),
    st.fixed_dictionaries(
        {
            "weight_bits": st.integers(2, 7),
            "activation_bits": st.integers(1, 7),
            "input_bits": st.integers(1, 8),
            "bias_bits": st.integers(2, 9),
            "fan_in": st.sampled_from([None, 1, 2, 4]),
            "percentile": st.sampled_from([30.0, 95.0, 100.0]),
        }
    ),
    st.sampled_from([None, -5.0, -1.0, 2.0]),
    st.integers(0, 2**31),
)
def test_integers_give_the_logits_of_any_network(network, granularity, is_learned, options, spread, seed) -> None:  # type: ignore[no-untyped-def]
    sized = next(m for m in network if isinstance(m, (nn.Linear, nn.BatchNorm1d)))
    width = sized.in_features if isinstance(sized, nn.Linear) else sized.num_features
    generator = torch.Generator().manual_seed(seed)
    x_NF = torch.randn(300, width, generator=generator) * 3 ** torch.randn(width, generator=generator)
    try:
        made = quantized(network, x_NF, granularity=granularity, is_learned=is_learned, seed=seed, **options)
        for name, bits in made.named_parameters():
            if spread is not None and name.endswith("fraction_bits"):
                bits.data += spread * torch.rand(bits.shape, generator=generator)
        check_sums(made)
    except NetworkError:
        assume(False)
    assert_integers_equal(made, x_NF)
    assert_inputs_equal(made, inputs_of(made, 100, seed))


def plain(weights: list[list[float]], bias: list[float], **options: object) -> QuantizedNetwork:
    linear = nn.Linear(len(weights[0]), len(weights))
    linear.weight.data[:] = torch.tensor(weights)
    linear.bias.data[:] = torch.tensor(bias)
    return quantized(nn.Sequential(linear), torch.randn(100, len(weights[0])), **options)


def test_dead_outputs_and_dead_features_are_constants() -> None:
    made = plain([[0.0, 0.0], [0.5, -1.0], [0.0, 0.0]], [0.25, 0.0, 0.0], is_learned=True, granularity="weight")
    with torch.no_grad():
        made.input.fraction_bits[0] = -30.0
    record = exported(made)
    assert (record.input.low[0], record.input.high[0]) == (0, 0)
    assert_integers_equal(made, torch.randn(200, 2))


def test_negative_fraction_bits_are_exact() -> None:
    made = plain([[64.0, -96.0], [32.0, 900.0]], [1000.0, 0.0], weight_bits=3, input_bits=3)
    record = exported(made)
    assert (record.layers[0].weight_fraction_bits < 0).all()
    assert_integers_equal(made, torch.randn(200, 2) * 50)


def test_of_equal_logits_the_first_is_predicted() -> None:
    made = plain([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]], [0.5, 0.5, 0.5])
    x_NF = torch.tensor([[0.3, 0.4], [-0.3, -0.4], [0.0, 0.0]])
    assert made(x_NF).argmax(1).tolist() == exported(made).predict(x_NF.numpy()).tolist()
    relu = quantized(nn.Sequential(nn.Linear(16, 5), nn.ReLU()), real_jets(100))
    with torch.no_grad():
        relu.linears()[0][2].bias.fill_(-1000.0)
    assert exported(relu).predict(real_jets(5).numpy()).tolist() == [0] * 5
    assert_integers_equal(relu, real_jets(500))


def test_far_outliers_saturate_alike() -> None:
    made = quantized(registered("jsc-medium"), real_jets(500))
    x_NF = real_jets(64) * torch.logspace(0, 37, 64)[:, None]
    assert_integers_equal(made, x_NF)
    assert_integers_equal(made, -x_NF)


def test_the_sum_is_the_same_in_any_order() -> None:
    torch.manual_seed(0)
    made = quantized(nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 5)), real_jets(500), weight_bits=7)
    *_, (_, entering, last) = made.linears()
    x_BI = entering(torch.rand(200, 64) * 4)
    expected = last(x_BI)
    weight_OI = last.quantized_weight()
    for _ in range(20):
        order = torch.randperm(64)
        total = last.quantized_bias().expand_as(expected)
        for i in order:
            total = total + x_BI[:, i : i + 1] * weight_OI[:, i]
        assert torch.equal(total, expected)


def test_the_refusal_names_the_layer_when_training_has_let_sums_grow() -> None:
    made = plain([[1.0, 1.0]], [0.0], is_learned=True, granularity="weight", input_bits=12)
    check_sums(made)
    linear = made.linears()[0][2]
    with torch.no_grad():
        linear.weight.mul_(64.0)
        linear.weight_fraction_bits.fill_(16.0)
    with pytest.raises(NetworkError, match=r"layers\[0\] \(linear\).*2\^24"):
        check_sums(made)


def test_a_last_relu_cuts_exact_sums() -> None:
    made = quantized(registered("jsc-tiny"), real_jets(500))
    record = exported(made)
    assert [layer.kind for layer in record.layers] == ["linear", "quantize"]
    assert (record.layers[1].low == 0).all()
    sums = record.trace(record.quantize(real_jets(500).numpy()))
    assert np.array_equal(np.maximum(sums[1], 0), sums[2])


def test_the_record_is_what_was_given() -> None:
    record = exported(quantized(registered("jsc-tiny"), real_jets(500)))
    assert isinstance(record, Network)
    assert (record.model, record.selected_by, record.num_features, record.num_classes) == ("drawn", "val_loss", 16, 5)
