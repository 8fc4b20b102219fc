"""The proof: network, graph and Verilog give the very same integers, on corners, random integers and jets.

Shapes: N vectors, F features, C classes.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jsc.errors import CircuitError
from jsc.hardware.bench import BENCH_FILE, INPUTS_FILE, LOGITS_FILE, Simulator, bench, hex_lines
from jsc.hardware.circuit import Circuit, Signal, ports
from jsc.hardware.hls4ml_project import Emulation
from jsc.hardware.network import Integers, Network
from jsc.results import write_atomically

CHUNK = 20_000  # vectors at a time: the integers on all wires of all would take gigabytes
_NUM_RANDOM_CORNERS = 1000


@dataclass(frozen=True, eq=False)
class Vectors:
    """Inputs of a circuit: corners, then random integers, then the jets of a test split."""

    n_NF: Integers
    counts: dict[str, int]  # "corners", "random integers", "test jets"

    def named(self, index: int) -> str:
        """What vector `index` is, counted from 0 within its kind."""
        for kind, count in self.counts.items():
            if index < count:
                return f"{kind.removesuffix('s')} {index}"
            index -= count
        raise IndexError(index)


def make_vectors(network: Network, *, num_random: int, jets_NF: Integers | None) -> Vectors:
    """`jets_NF` are a test split's, already quantised. What is drawn is the same every time."""
    generator = np.random.default_rng(0)
    low, high = network.input.low, network.input.high
    kinds = {
        "corners": corners(network, generator),
        "random integers": generator.integers(low, high, (num_random, len(low)), endpoint=True),
    }
    if jets_NF is not None:
        kinds["test jets"] = jets_NF
    return Vectors(np.concatenate(list(kinds.values())), {kind: len(rows) for kind, rows in kinds.items()})


def corners(network: Network, generator: np.random.Generator) -> Integers:
    """Every input at an end of its range: all low, all high, for each first sum its extremes, and some at random."""
    low, high = network.input.low, network.input.high
    is_high = [np.zeros((1, len(low)), bool), np.ones((1, len(low)), bool)]
    if network.units[0] is not None:
        raises = network.units[0][0] > 0
        is_high += [raises, ~raises]
    is_high.append(generator.integers(0, 2, (_NUM_RANDOM_CORNERS, len(low))) == 1)
    return np.where(np.concatenate(is_high), high, low)


@dataclass
class Proof:
    """What was compared, and on how many vectors; what was not, and why."""

    vectors: dict[str, int]
    files: dict[str, str] = field(default_factory=dict)  # of what all this is said: SHA-256 by name
    equal: list[dict[str, Any]] = field(default_factory=list)  # what, by which tool, on how many vectors
    not_proved: list[dict[str, str]] = field(default_factory=list)  # what, why
    inexact: Emulation | None = None

    def add(self, emulation: Emulation) -> None:
        """Equal, or not: then it is told how far apart."""
        if emulation.equal_logits == 1.0:
            self.equal.append({"what": "hls4ml's C++", "tool": emulation.tool, "vectors": emulation.vectors})
        else:
            self.inexact = emulation

    def leave_out(self, what: str, why: str) -> None:
        self.not_proved.append({"what": what, "why": why})


def expected_logits(
    network: Network, circuit: Circuit | None, vectors: Vectors, proof: Proof, say: Callable[[str], None]
) -> Integers:
    """The network's logits [N, C] by its int64 interpreter, after the circuit's graph gave the same on every wire.

    Raises CircuitError with the first vector, layer and wire that differ.
    """
    logits = []
    for start in range(0, len(vectors.n_NF), CHUNK):
        n_NF = vectors.n_NF[start : start + CHUNK]
        expected = network.trace(n_NF)
        if circuit is not None:
            _compare_graph(circuit, vectors, start, expected)
        logits.append(network.on_one_grid(expected[-1]))
        say(f"interpreter and graph: {min(start + CHUNK, len(vectors.n_NF)):,} of {len(vectors.n_NF):,} vectors")
    if circuit is None:
        proof.leave_out("shift-and-add graph and Verilog", "there are none")
    else:
        proof.equal.append({"what": "shift-and-add graph", "tool": circuit.backend, "vectors": len(vectors.n_NF)})
    return np.concatenate(logits)


def _compare_graph(circuit: Circuit, vectors: Vectors, start: int, expected: Sequence[Integers]) -> None:
    """Each layer's sums of what enters it; `expected`: all wires' integers for the vectors from `start` on."""
    for layer, sums in enumerate(circuit.sums):
        if sums is None:
            continue
        before, here = circuit.signals[layer : layer + 2]
        wires = list(here)
        given = sums.run(expected[layer][:, list(before)]) - [signal.offset for signal in here.values()]
        rows, places = np.nonzero(given != expected[layer + 1][:, wires])
        if len(rows):
            found, right = given[rows[0], places[0]], expected[layer + 1][rows[0], wires[places[0]]]
            raise CircuitError(
                f"the graph ({circuit.backend}) differs from network.json first at "
                + _difference(circuit.network, vectors, start + rows[0], layer + 1, wires[places[0]], found, right)
            )


def prove_engine(
    network: Network, vectors: Vectors, logits_NC: Integers, engine_NC: npt.NDArray[Any], proof: Proof
) -> None:
    """The fused engine's logits [test jets, C], as floats, are the network's. Raises CircuitError."""
    num_jets = vectors.counts["test jets"]
    expected = np.ldexp(logits_NC[len(logits_NC) - num_jets :].astype(np.float64), -network.output_fraction_bits)
    different = engine_NC.astype(np.float64) != expected
    if different.any():
        row, place = (int(i[0]) for i in different.nonzero())
        raise CircuitError(
            f"the fused engine differs from network.json first at test jet {row}: the logit of "
            f"{network.class_names[place]} is {engine_NC[row, place]}, and should be {expected[row, place]}"
        )
    proof.equal.append({"what": "fused engine", "tool": f"jsc {network.jsc}", "vectors": num_jets})


def write_vectors(
    network: Network, circuit: Circuit | None, vectors: Vectors, logits_NC: Integers, folder: Path
) -> None:
    """Inputs and expected logits as a simulator reads them, and, of a circuit, the test bench that does."""
    inputs, outputs = ports(network)
    write_atomically(folder / INPUTS_FILE, hex_lines(vectors.n_NF, [port["bits"] for port in inputs]), durable=False)
    write_atomically(folder / LOGITS_FILE, hex_lines(logits_NC, [port["bits"] for port in outputs]), durable=False)
    if circuit is not None:
        write_atomically(folder / BENCH_FILE, bench(circuit), durable=False)


def prove_verilog(
    circuit: Circuit, verilog: Path, vectors: Vectors, folder: Path, simulator: Simulator, proof: Proof
) -> None:
    """The Verilog in a folder gives the logits that `write_vectors` wrote into another.

    Raises CircuitError with the first vector, layer and wire that differ, or the simulator's words.
    """
    sources = [*sorted(verilog.glob("*.v")), folder / BENCH_FILE]
    with tempfile.TemporaryDirectory(prefix="jsc-simulation-", ignore_cleanup_errors=True) as work:
        words = simulator.run(sources, folder, Path(work)).split()
    if "COMPARED" not in words:
        raise CircuitError(f"{simulator.name} ended without an answer from {folder / BENCH_FILE}")
    compared, different, first = (int(words[words.index(word) + 1]) for word in ("COMPARED", "DIFFERENT", "FIRST"))
    if compared != len(vectors.n_NF):
        raise CircuitError(f"{simulator.name} compared {compared} of {len(vectors.n_NF)} vectors of {folder}")
    if different:
        raise CircuitError(
            f"the Verilog (under {simulator.name}) differs from network.json at {different:,} of {compared:,} vectors, "
            "first at " + _probed(circuit, sources, vectors, first, simulator)
        )
    proof.equal.append({"what": "Verilog", "tool": simulator.name, "vectors": compared})


def _probed(circuit: Circuit, sources: Sequence[Path], vectors: Vectors, index: int, simulator: Simulator) -> str:
    """Which wire of the Verilog is the first to differ at a vector: in one more simulation all of them are read."""
    network = circuit.network
    n_NF = np.repeat(vectors.n_NF[index : index + 1], circuit.latency_cycles + 1, axis=0)  # until it is everywhere
    expected = network.trace(n_NF[:1])
    with tempfile.TemporaryDirectory(prefix="jsc-simulation-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        write_vectors(network, circuit, Vectors(n_NF, {}), np.repeat(network.logits(n_NF[:1]), len(n_NF), axis=0), work)
        try:
            lines = simulator.run(sources, work, work, probe=True).splitlines()
        except CircuitError:  # a wire is gone
            return vectors.named(index)
    for line in lines:
        if line.startswith("PROBE"):
            layer, wire, digits = line.split()[1:]
            signal, right = circuit.signals[int(layer)][int(wire)], int(expected[int(layer)][0, int(wire)])
            try:
                number = int(digits, 16)
                given: int | str = (
                    number - (number >> (signal.bits - 1) << signal.bits if signal.is_signed else 0) - signal.offset
                )
            except ValueError:
                given = digits  # with unknown bits
            if given != right:
                return _difference(network, vectors, index, int(layer), int(wire), given, right)
    return f"{vectors.named(index)}, where all layers are right: the ports of the logits are not"


def _read(digits: str, signal: Signal) -> int | str:
    """What the network's wire holds, of a signal's hexadecimal digits; the digits if some bits are unknown."""
    try:
        number = int(digits, 16)
    except ValueError:
        return digits
    return number - (number >> (signal.bits - 1) << signal.bits if signal.is_signed else 0) - signal.offset


def _difference(
    network: Network, vectors: Vectors, index: int, layer: int, wire: int, given: int | str, expected: int
) -> str:
    wires = network.wires[layer]
    return (
        f"{vectors.named(index)}, in {wires.name}, wire {wire}: it holds {given}, and should hold {expected} "
        f"(in units of 2^{-wires.fraction_bits[wire]})"
    )
