"""`network.json`: what is read, what is refused, and what its integers are."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from jsc.errors import NetworkError
from jsc.hardware.network import (
    MAX_FILE_BYTES,
    InputQuantizer,
    Network,
    magnitude_bits,
    read_network,
    wire_bits,
    write_network,
)
from tests.hardware.networks import drawn_inputs, in_fractions, inputs, integers, linear, network, networks, quantize

DRAWN = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def small() -> Network:
    return network(
        inputs([-8, 0], [7, 15], [1, 2]),
        linear([[3, -2], [0, 5]], [1, -1], [[0, 1], [2, 0]], [1, 0]),
        quantize([0, -4], [7, 3], [1, -1]),
        linear([[1, 1]], [0]),
    )


def test_a_network_worked_out_on_paper(small: Network) -> None:
    """x = (5/2, 9/4). Sums: 3 * 5/2 - 2/2 * 9/4 + 1/2 = 23/4, 46 eighths, and 5 * 9/4 - 1 = 41/4.

    An eighth is what half a weight makes of a quarter. Rounded: 23/4 at one fraction bit is floor(23/2 + 1/2) = 12,
    above 7, so 7 (7/2); 41/4 at minus one is floor(41/8 + 1/2) = 5, above 3, so 3 (which stands for 6). Logit:
    7/2 + 6 = 19/2, so 19 with one fraction bit.
    """
    trace = small.trace(integers([[5, 9]]))
    assert [values.tolist() for values in trace[1:]] == [[[46, 41]], [[7, 3]], [[19]]]
    assert [wires.fraction_bits.tolist() for wires in small.wires] == [[1, 2], [3, 2], [1, -1], [1]]
    assert small.output_fraction_bits == 1
    assert small.logits(integers([[5, 9]])).tolist() == [[19]]


def test_bounds_bits_and_costs_worked_out_on_paper(small: Network) -> None:
    """The first sum, in eighths: 12 * [-8, 7] - 2 * [0, 15] + 4; the second, in quarters: 5 * [0, 15] - 4."""
    wires = small.wires
    assert (wires[1].low.tolist(), wires[1].high.tolist()) == ([-122, -4], [88, 71])
    assert wires[1].bits.tolist() == [8, 8]
    assert (wires[2].low.tolist(), wires[2].high.tolist()) == ([0, 0], [7, 3])  # -4/4 rounds to 0 at one bit less
    assert wires[2].bits.tolist() == [3, 3]  # as declared: 0 to 7, and -4 to 3
    # Four bits of input times 2 (|3|), 2 (|-2|) and 3 (|5|) bits of weights; then 3 times 1, twice.
    assert [(cost.num_nonzero_weights, cost.ebops) for cost in small.costs] == [(3, 4 * 2 + 4 * 2 + 4 * 3), (2, 6)]
    assert (small.num_nonzero_weights, small.ebops) == (5, 34)
    # In halves: [0, 7] and 4 * [0, 3].
    assert (small.logit_wires.low.tolist(), small.logit_wires.high.tolist()) == ([0], [19])
    assert small.logit_wires.bits.tolist() == [6]  # signed


@DRAWN
@given(networks())
def test_the_interpreter_is_the_contract_in_fractions(net: Network) -> None:
    n_NF = drawn_inputs(net, 30)
    logits_NC = net.logits(n_NF)
    unit = Fraction(1, 2) ** net.output_fraction_bits
    assert [[int(n) * unit for n in row] for row in logits_NC] == [in_fractions(net, row) for row in n_NF]


@DRAWN
@given(networks())
def test_nothing_leaves_the_bounds_and_first_sums_reach_them(net: Network) -> None:
    low, high = net.input.low, net.input.high
    ends = [np.where(row > 0, *pair) for row in (net.units[0] or ([],))[0] for pair in ((high, low), (low, high))]
    n_NF = np.concatenate([drawn_inputs(net), *([ends] if ends else [])])
    trace = net.trace(n_NF)
    for wires, values in zip(net.wires, trace, strict=True):
        assert ((wires.low <= values) & (values <= wires.high)).all()
        assert ((wire_bits(wires.low, wires.high) <= wires.bits) | (wires.low == wires.high)).all()
    if ends:
        assert (trace[1].min(axis=0) == net.wires[1].low).all()
        assert (trace[1].max(axis=0) == net.wires[1].high).all()


@DRAWN
@given(networks(), st.randoms(use_true_random=False))
def test_float32_gives_the_same_sums_in_any_order(net: Network, random: Any) -> None:
    units = net.units[0]
    assume(units is not None)
    assert units is not None
    for row in drawn_inputs(net, 10):
        terms = [*(units[0] * row).T, units[1]]
        random.shuffle(terms)
        total = np.zeros(len(units[1]), dtype=np.float32)
        for term in terms:
            total += term.astype(np.float32)
        assert (total == net.trace(row[None])[1][0]).all()


@pytest.mark.parametrize(
    ("n", "bits"), [(0, 0), (1, 1), (-1, 1), (2, 2), (3, 2), (4, 3), (-8, 4), (2**52, 53), (2**53 - 1, 53)]
)
def test_the_bits_of_a_magnitude(n: int, bits: int) -> None:
    assert magnitude_bits(integers([n])).tolist() == [bits]


@pytest.mark.parametrize("low", range(-9, 10))
@pytest.mark.parametrize("width", range(9))
def test_the_bits_of_a_range_are_the_fewest(low: int, width: int) -> None:
    high = low + width
    fewest = next(b for b in range(8) if (-(2 ** (b - 1)) <= low and high < 2 ** (b - 1) if low < 0 else high < 2**b))
    assert wire_bits(integers(low), integers(high)) == fewest


def test_features_become_integers_by_the_contracts_formula() -> None:
    q = InputQuantizer(
        offset=np.array([1.0, -0.5]),
        scale=np.array([0.5, -2.0]),
        fraction_bits=integers([2, -1]),
        low=integers([-4, -10]),
        high=integers([5, 9]),
    )
    net = network(q, linear([[1, 1]]))
    # (x - 1) * 0.5 * 4 and (x + 0.5) * -2 / 2, halves up
    x_NF = np.array([[1.75, 0.0], [1.25, 1.0], [0.75, -1.0], [9.0, np.inf], [-9.0, -1e300], [3e38, -3e38]])
    assert net.quantize(x_NF).tolist() == [[2, 0], [1, -1], [0, 1], [5, -10], [-4, 9], [5, 9]]
    assert net.quantize(x_NF[:3].astype(np.float32)).tolist() == [[2, 0], [1, -1], [0, 1]]


def test_a_feature_that_is_no_number_is_refused_by_name(small: Network) -> None:
    with pytest.raises(ValueError, match="feature f1 of some jets is no number"):
        small.quantize(np.array([[0.0, 1.0], [0.0, np.nan]]))


@pytest.mark.parametrize("n_NF", [[[8, 0]], [[-9, 0]], [[0, 16]], [[0]], [[0, 0, 0]]])
def test_inputs_that_the_quantiser_does_not_give_are_refused(small: Network, n_NF: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"input.low to input.high|\[N, 2\]"):
        small.trace(integers(n_NF))


def test_of_equal_logits_the_first_class_is_predicted() -> None:
    net = network(inputs([0], [3]), linear([[1], [2], [1], [2]], bits=[[0], [1], [0], [1]]))
    assert net.predict(np.array([[0.0], [1.0], [3.0]])).tolist() == [0, 0, 0]
    assert network(inputs([0], [3]), linear([[1], [2], [2]])).predict(np.array([[0.0], [2.0]])).tolist() == [0, 1]


def test_a_logit_that_is_always_zero_needs_no_fraction_bits() -> None:
    net = network(inputs([-3], [3]), linear([[0], [4], [0]], [0, 0, 3], [[30], [-2], [0]], [9, 9, -4]))
    assert net.output_fraction_bits == -2
    assert net.logits(integers([[-3]])).tolist() == [[0, -12, 12]]  # 3 * 2^4 is 12 * 2^2


@pytest.mark.parametrize(
    ("layers", "reach"),
    [
        ([linear([[2**23, 2**23 - 1]])], None),
        ([linear([[2**23, 2**23]])], "16777216"),
        ([linear([[2**23, -(2**23)]])], None),  # each way 2^23 at most
        ([linear([[2**23 - 1, 1]], [2**23])], "16777216"),
        ([linear([[1, 1]], [-(2**23)], -1), linear([[4]])], "33554432"),
        ([linear([[1, 2**23]], bits=[[24, 24]])], None),
        ([linear([[1, 1]], bits=[[0, 24]])], "16777217"),
        ([linear([[1, 1]], bits=[[0, 24]]), linear([[0]])], "16777217"),
    ],
)
def test_sums_that_could_reach_2_to_24_are_refused_with_the_layers_name(layers: list[Any], reach: str | None) -> None:
    if reach is None:
        network(inputs([0, 0], [1, 1]), *layers)
        return
    with pytest.raises(
        NetworkError, match=rf"layers\[[01]\] \(linear\): the sum of output 0 could reach {reach} units"
    ):
        network(inputs([0, 0], [1, 1]), *layers)


def test_partial_sums_count_too() -> None:
    """2^23 + 2^23 - 2^23 is small, but not after its first two terms."""
    with pytest.raises(NetworkError, match="could reach 16777216 units"):
        network(inputs([1, 1, 1], [1, 1, 2]), linear([[0, 0, 2**23]], [-(2**23)]))


def test_inputs_that_are_always_zero_do_not_count() -> None:
    net = network(inputs([0, 0], [0, 3]), linear([[2**24 - 1, 5]], bits=[[32, 0]]))
    assert net.logits(integers([[0, 3]])).tolist() == [[15]]


def test_logits_that_lie_too_far_apart_are_refused() -> None:
    with pytest.raises(NetworkError, match="one number of fraction bits for all"):
        network(inputs([0], [1]), linear([[1], [1]], bits=[[-30], [30]]))


@DRAWN
@given(networks(), st.data())
def test_what_is_written_reads_back_exactly(tmp_path_factory: pytest.TempPathFactory, net: Network, data: Any) -> None:
    path = tmp_path_factory.mktemp("networks") / "network.json"
    floats = st.floats(allow_nan=False, allow_infinity=False)
    for key in ("offset", "scale"):
        getattr(net.input, key)[:] = data.draw(st.lists(floats, min_size=net.num_features, max_size=net.num_features))
    write_network(path, net)
    again = read_network(path)
    for mine, theirs in zip((net.input, *net.layers), (again.input, *again.layers), strict=True):
        for key, value in vars(mine).items():
            assert key == "kind" or (value.tobytes() == getattr(theirs, key).tobytes())
    write_network(path.with_name("again.json"), again)
    assert path.read_text() == path.with_name("again.json").read_text()


def test_the_file_is_contract_2(small: Network, tmp_path: Path) -> None:
    write_network(tmp_path / "network.json", small)
    document = json.loads((tmp_path / "network.json").read_text())
    assert document == {
        "schema": 1,
        "model": "by-hand",
        "num_features": 2,
        "num_classes": 1,
        "feature_names": ["f0", "f1"],
        "class_names": ["c0"],
        "input": {"offset": [0, 0], "scale": [1, 1], "fraction_bits": [1, 2], "low": [-8, 0], "high": [7, 15]},
        "layers": [
            {
                "kind": "linear",
                "weights": [[3, -2], [0, 5]],
                "weight_fraction_bits": [[0, 1], [2, 0]],
                "bias": [1, -1],
                "bias_fraction_bits": [1, 0],
            },
            {"kind": "quantize", "fraction_bits": [1, -1], "low": [0, -4], "high": [7, 3]},
            {
                "kind": "linear",
                "weights": [[1, 1]],
                "weight_fraction_bits": [[0, 0]],
                "bias": [0],
                "bias_fraction_bits": [0],
            },
        ],
        "dataset": "none",
        "dataset_variant": "none",
        "dataset_sha256": "0" * 64,
        "seed": 1,
        "selected_by": "val_loss",
        "jsc": "0",
    }


def at(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return edit


def without(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def edit(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (at("schema", value=2), "schema: Input should be 1"),
        (at("extra", value=2), "extra: Unexpected keyword"),
        (without("dataset"), "dataset: Field required"),
        (without("layers", 0, "bias"), r"layers\[0\].bias: Field required"),
        (at("num_features", value=3), "num_features: 3, and there are 2 feature_names"),
        (at("num_classes", value=2), "num_classes: 2, and there are 1 class_names"),
        (at("num_features", value=2.0), "num_features: Input should be a valid integer"),
        (at("seed", value=True), "seed: Input should be a valid integer"),
        (at("feature_names", value=["a", "a"]), "feature_names: a, a; give at least one, no two alike"),
        (at("feature_names", value=["a", "b\n"]), r"feature_names\[1\]: 'b\\n'; give at most 200 characters"),
        (at("model", value="m" * 201), "model: .*give at most 200 characters"),
        (at("class_names", value=["a", "b"]), "num_classes: 1, and there are 2"),
        (at("input", "low", 1, value=1.0), r"input.low: .*number 1 is 1.0; give an integer below 2\^31"),
        (at("input", "low", 1, value=True), "input.low: .*number 1 is True"),
        (at("input", "low", 1, value=2**40), "input.low: .*number 1 is 1099511627776"),
        (at("input", "low", 1, value="1"), "input.low: .*number 1 is 1;"),
        (at("input", "low", 1, value=16), r"input.low\[1\]: 16 is above high\[1\] = 15; exchange them"),
        (at("input", "low", value=[1]), "input.low: 1 numbers came, 2 numbers fit"),
        (at("input", "low", value=7), "input.low: .*give a list of numbers"),
        (at("input", "high", 0, value=2**24), r"input.high\[0\]: 16777216 came, integers from -16777215 to 16777215"),
        (at("input", "offset", 0, value=None), "input.offset: .*number 0 is None; give a number"),
        (at("input", "fraction_bits", 0, value=33), r"input.fraction_bits\[0\]: 33 came, integers from -32 to 32"),
        (at("layers", value=[]), "layers: none; give at least one"),
        (at("layers", 0, "kind", value="conv"), r"layers\[0\]: .*'conv'"),
        (
            at("layers", 0, "weights", value=[[1, 2], [3]]),
            r"layers\[0\].weights: .*row 1: 1 numbers, and 2 in the first",
        ),
        (at("layers", 0, "weights", value=[[1], [3]]), r"layers\[0\].weights: 2 x 1 numbers came, 2 x 2 numbers fit"),
        (at("layers", 0, "weights", value=[]), r"layers\[0\].weights"),
        (at("layers", 0, "weights", value=[1, 2]), r"layers\[0\].weights: .*give a list of lists of numbers"),
        (at("layers", 1, "low", 0, value=8), r"layers\[1\].low\[0\]: 8 is above high\[0\] = 7"),
        (at("layers", 1, "high", value=[1, 2, 3]), r"layers\[1\].high: 3 numbers came, 2 numbers fit"),
        (without("layers", 2), r"layers\[1\]: it gives 2 numbers for 1 class_names"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_key(
    small: Network, tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = tmp_path / "network.json"
    write_network(path, small)
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    with pytest.raises(NetworkError, match=f"{path}: {message}"):
        read_network(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_scale_that_is_not_finite_is_refused(small: Network, tmp_path: Path, number: str) -> None:
    path = tmp_path / "network.json"
    write_network(path, small)
    path.write_text(path.read_text().replace('"scale": [1.0', f'"scale": [{number}'))
    with pytest.raises(NetworkError, match=r"input.scale\[0\]: .*finite numbers are allowed"):
        read_network(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{", b"[" * 1_000_000, b'{"schema":' + b"9" * 1_000_000, b"\xff\xfe", b'{"schema": 1}'],
    ids=["empty", "null", "list", "torn", "deep", "huge number", "no text", "nearly empty"],
)
def test_a_hostile_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.json"
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=str(path)):
        read_network(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(NetworkError, match=f"larger than {MAX_FILE_BYTES // 2**20} MiB"):
        read_network(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"network\.json: No such file"):
        read_network(tmp_path / "network.json")
