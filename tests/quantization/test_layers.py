import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from quantized_networks import GRANULARITIES, quantized, real_jets
from torch import nn

from jsc.quantization import InputEncoder, QuantizedLinear, Quantizer
from jsc.quantization.layers import MAX_BITS, MAX_SPREAD, fitting_fraction_bits


def quantizer(
    num_bits: int, integer_bits: list[int], *, is_signed: bool = False, is_learned: bool = False
) -> Quantizer:
    made = Quantizer(num_bits, num_groups=len(integer_bits), is_signed=is_signed, is_learned=is_learned)
    made.set_range(torch.tensor(integer_bits, dtype=torch.float32))
    return made


JUST_BELOW_HALF = math.nextafter(0.5, 0)


@given(
    st.floats(-(2.0**20), 2.0**20, width=32),
    st.floats(-10, 10),
    st.floats(-10, 10),
    st.integers(-4, 8),
    st.integers(2, 12),
    st.booleans(),
)
@example(JUST_BELOW_HALF, 0.0, 1.0, 0, 8, False)  # float64 carries it over when 1/2 is added, and so must we
@example(JUST_BELOW_HALF / 16, 0.0, 1.0, 0, 5, True)
@example(-JUST_BELOW_HALF, 0.0, 1.0, 0, 8, True)
@example(1.0, 0.0, 1e300, 0, 8, True)
@example(2.0**20, -1.0, -math.pi, 8, 12, True)
def test_encoded_features_are_quantised_to_the_integers_of_float64_arithmetic(
    x: float, offset: float, scale: float, integer_bits: int, num_bits: int, is_signed: bool
) -> None:
    encoder = InputEncoder(torch.tensor([offset], dtype=torch.float64), torch.tensor([scale], dtype=torch.float64))
    first = quantizer(num_bits, [integer_bits], is_signed=is_signed)
    encoder.integer_bits.copy_(first.integer_bits)
    bits = int(first.used_fraction_bits())
    low, high = (int(limit) for limit in first.limits())
    with np.errstate(over="ignore"):
        expected = np.clip(np.floor(np.ldexp((np.float64(x) - offset) * scale, bits) + 0.5), low, high)
    for dtype in (torch.float32, torch.float64):
        encoder, first = encoder.to(dtype), first.to(dtype)
        encoded = encoder(torch.tensor([[x]], dtype=torch.float64))
        assert encoded.dtype == dtype
        assert math.ldexp(first(encoded).item(), bits) == expected


def test_offset_and_scale_stay_float64_whatever_the_networks_precision() -> None:
    offset, scale = torch.tensor([1 / 3], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
    encoder = InputEncoder(offset, scale).double().float().half()
    assert torch.equal(encoder.offset, offset)
    assert torch.equal(encoder.scale, scale)


@pytest.mark.parametrize(
    ("num_bits", "integer_bits", "is_signed", "expected"),
    [
        (6, 2, False, (4, 0, 63)),
        (6, 2, True, (3, -32, 31)),
        (1, 0, False, (1, 0, 1)),
        (1, 0, True, (0, -1, 0)),
        (3, 5, False, (-2, 0, 7)),
        (4, -3, True, (6, -8, 7)),
    ],
)
def test_a_quantizers_limits_hold_as_many_bits_as_it_is_given(
    num_bits: int, integer_bits: int, is_signed: bool, expected: tuple[int, int, int]
) -> None:
    given_bits = quantizer(num_bits, [integer_bits], is_signed=is_signed)
    learnt = quantizer(num_bits, [integer_bits], is_signed=is_signed, is_learned=True)
    for made in (given_bits, learnt):
        low, high = made.limits()
        assert (int(made.used_fraction_bits()), int(low), int(high)) == expected
        assert made.bits().tolist() == [num_bits]


@pytest.mark.parametrize("is_signed", [False, True])
def test_a_neuron_whose_learnt_bits_are_used_up_is_0(is_signed: bool) -> None:
    made = quantizer(6, [2], is_signed=is_signed, is_learned=True)
    with torch.no_grad():
        made.fraction_bits.fill_(-40.0)
    assert made.bits().tolist() == [0]
    assert made(torch.tensor([[-9.0], [0.3], [9.0]])).abs().tolist() == [[0], [0], [0]]


def test_learnt_bits_end_at_sixteen() -> None:
    made = quantizer(6, [2], is_learned=True)
    with torch.no_grad():
        made.fraction_bits.fill_(99.0)
    assert made.bits().tolist() == [MAX_BITS]


def test_calibration_covers_the_given_percentage_of_jets() -> None:
    x_NW = torch.stack([torch.arange(1.0, 101.0), torch.arange(1.0, 101.0) / 4], dim=1)
    for percentile, expected in ((100.0, [7, 5]), (63.0, [6, 4]), (64.0, [7, 5]), (31.0, [5, 3]), (1.0, [1, -1])):
        each = quantizer(6, [0, 0])
        each.calibrate(x_NW, percentile)
        assert each.integer_bits.tolist() == expected
        together = quantizer(6, [0])
        together.calibrate(x_NW, percentile)
        assert together.integer_bits.tolist() == [max(expected)]


def test_calibration_of_a_relu_looks_at_what_it_passes() -> None:
    x_NW = torch.tensor([[-100.0], [1.5]])
    unsigned, signed = quantizer(6, [0]), quantizer(6, [0], is_signed=True)
    unsigned.calibrate(x_NW, 100.0)
    signed.calibrate(x_NW, 100.0)
    assert (unsigned.integer_bits.item(), signed.integer_bits.item()) == (1, 7)


def test_a_small_or_dead_neuron_is_not_much_finer_than_the_largest() -> None:
    made = quantizer(6, [0, 0, 0])
    made.calibrate(torch.tensor([[1000.0, 0.001, -1.0]]), 100.0)
    assert made.integer_bits.tolist() == [10, 10 - MAX_SPREAD, 10]


def test_calibration_of_nothing_but_zeros_is_harmless() -> None:
    made = quantizer(6, [5, 5])
    made.calibrate(torch.zeros(3, 2), 100.0)
    assert made.integer_bits.tolist() == [0, 0]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6), st.integers(2, 9))
def test_numbers_get_the_most_fraction_bits_that_fit(values: list[float], num_bits: int) -> None:
    x = torch.tensor(values).view(-1, 1)
    bits = int(fitting_fraction_bits(x, num_bits, (1, 1)))
    largest = max(abs(v) for v in values)
    limit = 2 ** (num_bits - 1) - 1

    def rounded(f: int) -> int:
        return math.floor(math.ldexp(largest, f) + 0.5)

    assert rounded(bits) <= limit
    assert largest == 0 or bits == 32 or rounded(bits + 1) > limit


def test_a_group_of_small_numbers_is_at_most_three_bits_finer() -> None:
    x = torch.tensor([[1.5, 0.3], [0.001, 0.0]])
    assert fitting_fraction_bits(x, 4, (1, 1)).tolist() == [[2]]
    assert fitting_fraction_bits(x, 4, (2, 1)).tolist() == [[2], [2 + MAX_SPREAD]]
    assert fitting_fraction_bits(x, 4, (2, 2)).tolist() == [[2, 4], [2 + MAX_SPREAD, 2]]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("is_learned", [False, True])
def test_a_linear_multiplies_rounded_weights_and_leaves_masked_ones_at_zero(granularity: str, is_learned: bool) -> None:
    torch.manual_seed(0)
    linear = QuantizedLinear(5, 3, weight_bits=5, bias_bits=6, granularity=granularity, is_learned=is_learned)
    linear.connect(torch.rand(3, 5) > 0.4)
    linear.start_from(linear.weight.clone(), linear.bias.clone())
    weight, bias = linear.quantized_weight(), linear.quantized_bias()
    integers = weight * 2.0 ** linear.used_weight_fraction_bits()
    assert torch.equal(integers, integers.round())
    assert integers.abs().max() <= 15
    assert (weight[~linear.mask] == 0).all()
    assert (weight - linear.weight * linear.mask).abs().max() <= 2.0 ** -linear.used_weight_fraction_bits().min() / 2
    x = torch.randn(4, 5)
    torch.testing.assert_close(linear(x), x @ weight.T + bias)
    linear(x).sum().backward()
    assert linear.weight.grad is not None
    assert (linear.weight.grad[~linear.mask] == 0).all()
    assert (linear.weight.grad[linear.mask] != 0).all()


def test_weights_that_grow_get_integer_bits_and_give_up_fraction_bits() -> None:
    linear = QuantizedLinear(2, 1, weight_bits=4, bias_bits=4)
    linear.start_from(torch.tensor([[0.9, -0.2]]), torch.zeros(1))
    assert linear.quantized_weight().tolist() == [[0.875, -0.25]]
    linear.start_from(torch.tensor([[7.4, -0.2]]), torch.zeros(1))
    assert linear.quantized_weight().tolist() == [[7.0, 0.0]]


@pytest.mark.parametrize("is_learned", [False, True])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_state_dicts_copies_and_pickles_are_the_same_network(is_learned: bool, granularity: str) -> None:
    torch.manual_seed(0)
    x_NF = real_jets(500)

    def network() -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5))

    options = {"granularity": granularity, "is_learned": is_learned, "fan_in": 4}
    made = quantized(network(), x_NF, **options)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        made(x_NF).square().sum().backward()
        optimizer.step()
    bits = [name for name, _ in made.named_parameters() if name.endswith("fraction_bits")]
    assert len(bits) == (4 if is_learned else 0)
    expected = made(x_NF)
    other = quantized(network(), real_jets(50), **options, seed=5)
    assert not torch.equal(other(x_NF), expected)
    other.load_state_dict(made.state_dict())
    for same in (other, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(same(x_NF), expected)


def test_layers_work_in_a_network_of_ones_own() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        Quantizer(6, num_groups=3, is_signed=True, is_learned=True),
        QuantizedLinear(3, 4, weight_bits=6, bias_bits=8, granularity="weight", is_learned=True),
        Quantizer(6, num_groups=4, is_signed=False, is_learned=True),
        QuantizedLinear(4, 2, weight_bits=6, bias_bits=8, granularity="weight", is_learned=True),
    )
    x_BF, y_B = torch.randn(200, 3), torch.randint(0, 2, (200,))
    y_B[:] = (x_BF.sum(1) > 0).long()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x_BF), y_B)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("is_learned", [False, True])
def test_weights_that_training_has_blown_up_give_no_numbers_and_no_error(value: float, is_learned: bool) -> None:
    linear = QuantizedLinear(2, 2, weight_bits=6, bias_bits=8, is_learned=is_learned)
    with torch.no_grad():
        linear.weight[0, 0] = value
    assert not linear(torch.ones(1, 2)).isfinite().all()
