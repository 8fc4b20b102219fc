"""The Verilog: its ports, its wires and its logits, simulated by a test bench that is not the package's."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("da4ml", reason="needs da4ml, of the extra `hardware`")

from jsc.hardware.circuit import Circuit, make_circuit, ports
from jsc.hardware.network import Integers, Layer, Network
from jsc.hardware.shift_add import ShiftAdd
from tests.hardware.networks import drawn_inputs, inputs, integers, linear, network, networks, quantize

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")


def circuit_of(net: Network, *, latency_cutoff: int = 0, delay_constraint: int = -1) -> Circuit:
    backend = ShiftAdd(latency_cutoff=latency_cutoff, delay_constraint=delay_constraint)
    return make_circuit(net, backend, latency_cutoff=latency_cutoff)


def simulated(circuit: Circuit, n_NF: Integers, folder: Path) -> Integers:
    """Logits [N, C] by Icarus and a bench that prints each, made from interface.json alone; a jet a clock cycle."""
    folder.mkdir(exist_ok=True)
    for name, verilog in circuit.files.items():
        (folder / name).write_text(verilog)
    interface = circuit.interface
    regs = [f"reg {'signed' * p['signed']} [{p['bits'] - 1}:0] in{j};" for j, p in enumerate(interface["inputs"])]
    wires = [f"wire signed [{p['bits'] - 1}:0] out{c};" for c, p in enumerate(interface["outputs"])]
    named = [f".{p['name']}(in{j})" for j, p in enumerate(interface["inputs"])]
    named += [f".{p['name']}(out{c})" for c, p in enumerate(interface["outputs"])]
    wait, shown = interface["latency_cycles"], ", ".join(f"out{c}" for c in range(len(wires)))
    steps = []
    rows = [*n_NF.tolist(), *([n_NF[-1].tolist()] * wait)]
    for i, row in enumerate(rows):
        steps += [f"in{j} = {n};" for j, n in enumerate(row)]
        steps.append("#1;" if not wait else "#1 clk = 1; #1 clk = 0;")
        if i + 1 >= wait and i + 1 - max(wait, 1) < len(n_NF):
            steps.append(f'$display("{"%0d " * len(wires)}", {shown});')
    body = "\n".join(
        [*regs, *wires, f"{interface['top']} dut (.clk(clk), {', '.join(named)});", "initial begin", *steps]
    )
    (folder / "bench.v").write_text(f"module bench; reg clk = 0;\n{body}\nend endmodule\n")
    sources = [str(path) for path in folder.glob("*.v")]
    program = str(folder / "bench.vvp")
    built = subprocess.run(
        ["iverilog", "-g2005", "-s", "bench", "-o", program, *sources], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    ran = subprocess.run(["vvp", "-n", program], capture_output=True, text=True, check=True)
    return integers([[int(word) for word in line.split()] for line in ran.stdout.splitlines()])


def corners_and_more(net: Network, num: int = 40) -> Integers:
    return np.concatenate([net.input.low[None], net.input.high[None], drawn_inputs(net, num)])


@needs_icarus
@pytest.mark.parametrize("latency_cutoff", [0, 1])
def test_a_network_worked_out_on_paper(tmp_path: Path, latency_cutoff: int) -> None:
    """Feature a is 0 to 7, b is -4 to 3. The hidden sums are 3a - b + 1, -2 to 26, and a + 2b, -8 to 13.

    They are halved, halves up, and saturated to 0 to 7: (a, b) = (2, 1) gives 6, so 3, and 4, so 2; (7, -4) gives 26,
    so 7, and -1, so 0; (0, 3) gives -2, so 0, and 6, so 3; (0, -4) gives 5, so 3, and -8, so 0; (1, 0) gives 4, so 2,
    and 1, so 1. The logits are h - k, k - h and 3 - h.
    """
    net = network(
        inputs([0, -4], [7, 3]),
        linear([[3, -1], [1, 2]], [1, 0]),
        quantize([0, 0], [7, 7], [-1, -1]),
        linear([[1, -1], [-1, 1], [-2, 0]], [0, 0, 6], [[1, 1], [1, 1], [2, 0]], 1),
        feature_names=("a", "b"),
        class_names=("x", "y", "z"),
    )
    circuit = circuit_of(net, latency_cutoff=latency_cutoff)
    halves = [[3, 2], [7, 0], [0, 3], [3, 0], [2, 1]]
    assert net.output_fraction_bits == 1
    assert simulated(circuit, integers([[2, 1], [7, -4], [0, 3], [0, -4], [1, 0]]), tmp_path).tolist() == [
        [2 * (h - k), 2 * (k - h), 6 - 2 * h] for h, k in halves
    ]
    inputs_of, outputs_of = circuit.interface["inputs"], circuit.interface["outputs"]
    assert [(p["name"], p["bits"], p["signed"]) for p in inputs_of] == [("a", 3, False), ("b", 3, True)]
    # 2 * 7 to 2 * -7 takes five bits with the sign.
    assert [(p["name"], p["bits"], p["signed"]) for p in outputs_of] == [(f"logit_{c}", 5, True) for c in "xyz"]
    top = circuit.files["network.v"]
    assert "input [2:0] a," in top
    assert "input signed [2:0] b," in top
    assert "output signed [4:0] logit_z\n" in top
    # The first sum, a half above: -1 to 27; of its upper five bits, -1 to 13, those above 2 and the sign saturate.
    assert "wire signed [5:0] layer0_0 = " in top
    assert "wire signed [4:0] layer1_0_rounded = layer0_0[5:1];" in top
    assert (
        "wire [2:0] layer1_0 = layer1_0_rounded[4] ? 3'd0 : "
        "(!layer1_0_rounded[4] & (|layer1_0_rounded[3:3])) ? 3'd7 : layer1_0_rounded[2:0];" in top
    )
    # The second's -7 to 14, halved, is -4 to 7, and needs no upper bound.
    assert "wire [2:0] layer1_1 = layer1_1_rounded[3] ? 3'd0 : layer1_1_rounded[2:0];" in top


CASES: dict[str, tuple[int, int, list[Layer]]] = {
    # lowest and highest input of two features
    "saturation at both ends": (-9, 9, [linear([[5, 3], [-5, 2]]), quantize([-8, 0], [7, 15])]),
    "bounds that are no powers of two": (-9, 9, [linear([[5, 3], [-5, 2]]), quantize([-11, 3], [6, 21])]),
    "negative bounds alone": (-9, 9, [linear([[1, 0], [0, 1]]), quantize([-7, -8], [-2, -1])]),
    "a bound that proves itself away": (0, 3, [linear([[1, 1], [-1, 0]]), quantize([0, -8], [63, 7])]),
    "negative fraction bits": (-60, 60, [linear([[5, 3], [-5, 2]], bits=-2), quantize([-8, 0], [7, 15], [-5, -4])]),
    "more fraction bits than come in": (-4, 3, [linear([[1, 1], [1, 0]]), quantize([-8, -128], [7, 127], [2, 3])]),
    "fraction bits a weight": (-9, 9, [linear([[5, 3], [-5, 2]], [1, -3], [[0, 3], [-1, 2]], [2, -1])]),
    "all of a row pruned": (-9, 9, [linear([[0, 0], [1, 1]], [3, 0]), quantize([0, 0], [7, 7]), linear([[2, 1]])]),
    "every row pruned": (-9, 9, [linear([[0, 0], [0, 0]], [3, -5])]),
    "dead outputs": (-9, 9, [linear([[1, 2], [-1, 1]]), quantize([0, 0], [0, 7]), linear([[1, 0], [1, 1]])]),
    "an output that always saturates": (0, 9, [linear([[1, 2], [1, 1]], [50, 0]), quantize([0, 0], [7, 7])]),
    "an output that nothing reads": (-9, 9, [linear([[1, 2], [3, 1]]), quantize([0, 0], [7, 7]), linear([[1, 0]])]),
    "one bit activations": (-9, 9, [linear([[1, 2], [-3, 1]]), quantize([0, -1], [1, 0]), linear([[2, 5], [1, -1]])]),
    "rounded away but for the sign": (-9, 9, [linear([[1, 2], [-3, 1]]), quantize([-4, -4], [3, 3], [-5, -6])]),
    "quantised inputs": (-9, 9, [quantize([-2, 0], [3, 1], [-1, -2]), linear([[1, 2]])]),
    "quantised twice": (-9, 9, [linear([[3, 1]], bits=3), quantize([-30], [30], [1]), quantize([-5], [3], [-1])]),
    "a linear layer on another": (-9, 9, [linear([[3, 1], [1, -1]], bits=1), linear([[1, 2], [2, 0]], [1, 1], -1)]),
    "nothing but a quantiser": (-9, 9, [quantize([-2, 0], [3, 1])]),
    "an input that never changes": (4, 4, [linear([[3, 1], [1, -1]]), quantize([0, 0], [31, 3])]),
    "large weights": (-2, 1, [linear([[2**22 - 1, -1], [1, 2**21 + 1]])]),
    "logits of different fraction bits": (-9, 9, [linear([[1, 1], [1, 1]], bits=[[5, 5], [-3, -3]])]),
}


@needs_icarus
@pytest.mark.parametrize("latency_cutoff", [0, 1, 2])
@pytest.mark.parametrize("case", CASES)
def test_the_verilog_gives_the_networks_logits(case: str, latency_cutoff: int, tmp_path: Path) -> None:
    low, high, layers = CASES[case]
    net = network(inputs([low, low], [high, high], [0, 1]), *layers)
    circuit, n_NF = circuit_of(net, latency_cutoff=latency_cutoff), corners_and_more(net)
    assert simulated(circuit, n_NF, tmp_path).tolist() == net.logits(n_NF).tolist()
    assert circuit.interface["latency_cycles"] == circuit.latency_cycles
    assert (circuit.latency_cycles == 0) == (latency_cutoff == 0)


@needs_icarus
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.sampled_from([0, 1, 2, 4]), st.sampled_from([-1, 0, 1]))
def test_drawn_networks(
    tmp_path_factory: pytest.TempPathFactory, net: Network, latency_cutoff: int, delay_constraint: int
) -> None:
    circuit = circuit_of(net, latency_cutoff=latency_cutoff, delay_constraint=delay_constraint)
    n_NF = corners_and_more(net)
    folder = tmp_path_factory.mktemp("circuit")
    assert simulated(circuit, n_NF, folder).tolist() == net.logits(n_NF).tolist()
    assert not latency_cutoff or max(circuit.depths) <= latency_cutoff


@needs_icarus
@pytest.mark.parametrize("latency_cutoff", [0, 3])
def test_a_network_of_a_usual_size(latency_cutoff: int, tmp_path: Path) -> None:
    net = usual_network()
    circuit, n_NF = circuit_of(net, latency_cutoff=latency_cutoff), corners_and_more(net, 200)
    assert simulated(circuit, n_NF, tmp_path).tolist() == net.logits(n_NF).tolist()


def usual_network() -> Network:
    """16-16-5, half pruned."""
    generator = np.random.default_rng(5)

    def drawn(outputs: int, width: int) -> list[list[int]]:
        weights = generator.integers(-15, 16, (outputs, width)) * (generator.random((outputs, width)) < 0.5)
        return weights.tolist()

    return network(
        inputs([-64] * 16, [63] * 16, [4] * 16),
        linear(drawn(16, 16), generator.integers(-15, 16, 16).tolist(), 4, 3),
        quantize([0] * 16, [63] * 16, [3] * 16),
        linear(drawn(5, 16), generator.integers(-15, 16, 5).tolist(), 4, 3),
        class_names=("g", "q", "w", "z", "t"),
    )


def test_every_input_has_exactly_the_bits_of_its_range() -> None:
    ranges = [(0, 0), (0, 1), (-1, 0), (0, 7), (0, 8), (-8, 7), (-9, 7), (3, 7), (-7, -2)]
    net = network(inputs([r[0] for r in ranges], [r[1] for r in ranges]), linear([[1] * len(ranges)]))
    assert [(p["bits"], p["signed"]) for p in ports(net)[0]] == [
        (1, False),
        (1, False),
        (1, True),
        (3, False),
        (4, False),
        (4, True),
        (5, True),
        (3, False),
        (4, True),
    ]


@needs_icarus
def test_names_that_verilog_would_not_take_are_changed_and_told(tmp_path: Path) -> None:
    features = ("pt (GeV)", "module", "clk", "1st", "layer0_0", "logit_a", "pt_(GeV)", "\N{GREEK SMALL LETTER ETA}")
    net = network(
        inputs([0] * 8, [3] * 8),
        linear([[1] * 8, list(range(8))]),
        feature_names=features,
        class_names=("a", "b c"),
    )
    circuit = circuit_of(net, latency_cutoff=2)
    assert [p["feature"] for p in circuit.interface["inputs"]] == list(features)
    assert [p["name"] for p in circuit.interface["inputs"]] == [
        *("pt__GeV_", "module_", "clk_", "_1st", "_layer0_0", "logit_a", "pt__GeV__", "_")
    ]
    assert [(p["name"], p["class"]) for p in circuit.interface["outputs"]] == [("logit_a_", "a"), ("logit_b_c", "b c")]
    n_NF = drawn_inputs(net, 20)
    assert simulated(circuit, n_NF, tmp_path).tolist() == net.logits(n_NF).tolist()


def test_a_wire_that_nothing_reads_is_not_made() -> None:
    net = network(
        inputs([-9, -9], [9, 9]), linear([[1, 0], [3, 0]]), quantize([0, 0], [7, 7]), linear([[1, 0], [1, 0]])
    )
    circuit = circuit_of(net)
    assert [list(signals) for signals in circuit.signals] == [[0], [0], [0], [0, 1]]
    assert "layer0_1" not in circuit.files["network.v"]
    assert re.search(r"\bf1\b", circuit.files["network.v"])  # the port is there


def test_more_registers_cost_latency_and_fewer_adders_in_a_row() -> None:
    net = usual_network()
    circuits = {cutoff: circuit_of(net, latency_cutoff=cutoff) for cutoff in (0, 1, 3, 100)}
    assert circuits[0].latency_cycles == circuits[0].register_bits == 0
    assert circuits[100].latency_cycles == 2  # before and behind the one stage
    assert 2 < circuits[3].latency_cycles < circuits[1].latency_cycles
    assert [max(circuits[cutoff].depths) for cutoff in (1, 3)] == [1, 3]
    for circuit in circuits.values():
        assert circuit.latency_cycles == (len(circuit.depths) + 1 if circuit.latency_cycles else 0)


def test_a_delay_constraint_shortens_the_sums() -> None:
    net = usual_network()
    deep, shallow = (circuit_of(net, delay_constraint=more) for more in (-1, 0))
    assert shallow.adder_depth < deep.adder_depth
    assert shallow.lut_estimate >= deep.lut_estimate
