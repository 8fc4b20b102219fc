"""From a network to its folder: circuit, proof, cost and datasheet; whole, or not at all."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from jsc.errors import CircuitError, CommandError
from jsc.hardware.bench import find_simulator
from jsc.hardware.circuit import Circuit, make_circuit
from jsc.hardware.datasheet import write_datasheet
from jsc.hardware.folder import whole_folder
from jsc.hardware.hls4ml_project import emulate
from jsc.hardware.network import NETWORK_FILE, Integers, Network, read_network, write_network
from jsc.hardware.proof import Proof, Vectors, expected_logits, make_vectors, prove_engine, prove_verilog, write_vectors
from jsc.hardware.synthesis import BIASES, Resources, synthesise, vivado_script
from jsc.results import write_atomically

VERILOG_FOLDER, VECTORS_FOLDER, HLS4ML_FOLDER = "verilog", "vectors", "hls4ml"
INTERFACE_FILE, RESOURCES_FILE, PROOF_FILE, VIVADO_FILE = "interface.json", "resources.json", "proof.json", "vivado.tcl"
INSTALL_DA4ML = "pip install 'jsc[hardware]'"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CircuitOptions:
    """How a circuit is made and proved; conf/hardware.yaml explains each."""

    backend: str
    latency_cutoff: int
    delay_constraint: int
    random_vectors: int
    simulator: str
    synthesis: bool
    family: str
    part: str
    clock_period_ns: float


@dataclass(frozen=True, eq=False)
class TestJets:
    """A test split as the circuit takes it: inputs [N, F], true classes [N], the fused engine's logits [N, C].

    `warnings`: what its user should know of it.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    n_NF: Integers
    labels_N: npt.NDArray[np.integer[Any]]
    dataset: str
    variant: str
    sha256: str
    warnings: Sequence[str] = ()
    engine_NC: npt.NDArray[np.floating[Any]] | None = None


def shift_add_circuit(network: Network, *, latency_cutoff: int, delay_constraint: int) -> Circuit:
    """The circuit by da4ml. Raises CommandError if da4ml is not installed."""
    if find_spec("da4ml") is None:
        raise CommandError(f"da4ml is not there, so that no Verilog can be made; install it: {INSTALL_DA4ML}")
    from jsc.hardware.shift_add import ShiftAdd  # here: only this needs da4ml

    backend = ShiftAdd(latency_cutoff=latency_cutoff, delay_constraint=delay_constraint)
    return make_circuit(network, backend, latency_cutoff=latency_cutoff)


def build(network: Network, out: Path, options: CircuitOptions, jets: TestJets | None, say: Say) -> Proof:
    """Write a circuit's folder; returns what was proved of it, and what a missing tool left unproved.

    Raises CircuitError if anything differs or a tool fails, CommandError if something else lies at `out`; then nothing
    is written.
    """
    with whole_folder(out, mark=NETWORK_FILE) as folder:
        write_network(folder / NETWORK_FILE, network)
        notes: list[str] = []
        circuit = _unless_missing(lambda: _circuit(network, folder, options, say), notes)
        vectors, proof = _vectors(network, jets, options.random_vectors)
        logits_NC = _prove(network, circuit, folder, vectors, jets, options.simulator, proof, say)
        if options.backend == "hls4ml":
            say(f"hls4ml's C++: {len(vectors.n_NF):,} vectors")
            project = folder / HLS4ML_FOLDER
            clock_ns = options.clock_period_ns
            proof.add(emulate(network, vectors.n_NF, logits_NC, project, part=options.part, clock_ns=clock_ns))
            _write_json(folder / PROOF_FILE, dataclasses.asdict(proof))
        resources = None
        if circuit is not None and options.synthesis:
            say("synthesis by Yosys (the first on a machine takes a minute or two longer)")
            files = circuit.files
            resources = _unless_missing(lambda: synthesise(files, family=options.family), notes)
        elif circuit is not None:
            notes.append("Resources were not counted: hardware.synthesis=false.")
        _write_json(folder / RESOURCES_FILE, resources_record(network, circuit, options, resources, notes))
        accuracy = None
        if jets is not None:
            hits_N = logits_NC[-len(jets.labels_N) :].argmax(axis=1) == jets.labels_N
            accuracy = f"{hits_N.mean():.2%} of the {len(hits_N):,} test jets of {jets.dataset} ({jets.variant})"
        write_datasheet(
            folder, network=network, circuit=circuit, proof=proof, resources=resources, accuracy=accuracy, notes=notes
        )
    return proof


def prove_folder(folder: Path, jets: TestJets | None, simulator: str, num_random: int, say: Say) -> Proof:
    """Prove a folder that `build` wrote, as it is now: whether its Verilog is the circuit of its network.json.

    Raises CircuitError if it is not, CommandError if the folder is not whole.
    """
    try:
        network = read_network(folder / NETWORK_FILE)
        made_as = json.loads((folder / RESOURCES_FILE).read_text())["circuit"]["options"]
        recorded = json.loads((folder / INTERFACE_FILE).read_text())
        circuit = shift_add_circuit(network, **made_as)
        for key in ("inputs", "outputs", "output_fraction_bits"):
            if recorded[key] != circuit.interface[key]:
                raise CircuitError(
                    f"{folder / INTERFACE_FILE} is not that of {folder / NETWORK_FILE}: {key} are "
                    f"{recorded[key]}, and should be {circuit.interface[key]}"
                )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"circuit={folder}: {error}; make the folder again") from error
    circuit = dataclasses.replace(circuit, interface=recorded)
    vectors, proof = _vectors(network, jets, num_random)
    _prove(network, circuit, folder, vectors, jets, simulator, proof, say)
    return proof


def _circuit(network: Network, folder: Path, options: CircuitOptions, say: Say) -> Circuit | None:
    """The circuit and its files. Raises CommandError if the back end is not installed; None for hls4ml's."""
    if options.backend == "hls4ml":
        return None
    circuit = shift_add_circuit(
        network, latency_cutoff=options.latency_cutoff, delay_constraint=options.delay_constraint
    )
    say(f"circuit: about {circuit.lut_estimate:,.0f} LUTs, {circuit.latency_cycles} clock cycles")
    for name, verilog in circuit.files.items():
        write_atomically(folder / VERILOG_FOLDER / name, verilog, durable=False)
    _write_json(folder / INTERFACE_FILE, circuit.interface)
    has_registers = circuit.latency_cycles > 0
    script = vivado_script(part=options.part, clock_period_ns=options.clock_period_ns, has_registers=has_registers)
    write_atomically(folder / VIVADO_FILE, script)
    return circuit


def _vectors(network: Network, jets: TestJets | None, num_random: int) -> tuple[Vectors, Proof]:
    vectors = make_vectors(network, num_random=num_random, jets_NF=None if jets is None else jets.n_NF)
    return vectors, Proof(vectors.counts)


def _prove(
    network: Network,
    circuit: Circuit | None,
    folder: Path,
    vectors: Vectors,
    jets: TestJets | None,
    simulator: str,
    proof: Proof,
    say: Say,
) -> Integers:
    """Prove what lies in a circuit's folder, and write the vectors and PROOF_FILE there; the logits [N, C]."""
    for path in (folder / NETWORK_FILE, *sorted((folder / VERILOG_FOLDER).glob("*.v"))):
        proof.files[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    logits_NC = expected_logits(network, circuit, vectors, proof, say)
    write_vectors(network, circuit, vectors, logits_NC, folder / VECTORS_FOLDER)
    if jets is None:
        proof.leave_out("test jets", "no data set was given: dataset=NAME")
    if jets is None or jets.engine_NC is None:
        proof.leave_out("the fused engine's logits", "the engine was not asked")
    else:
        prove_engine(network, vectors, logits_NC, jets.engine_NC, proof)
    if circuit is not None:
        try:
            found = find_simulator(simulator)
        except CommandError as error:
            proof.leave_out("Verilog", str(error))
        else:
            say(f"Verilog under {found.name}: {len(vectors.n_NF):,} vectors")
            prove_verilog(circuit, folder / VERILOG_FOLDER, vectors, folder / VECTORS_FOLDER, found, proof)
    _write_json(folder / PROOF_FILE, dataclasses.asdict(proof))
    for row in proof.equal:
        say(f"equal on {row['vectors']:,} vectors: {row['what']} ({row['tool']})")
    for row in proof.not_proved:
        say(f"not proved: {row['what']}: {row['why']}")
    return logits_NC


def resources_record(
    network: Network,
    circuit: Circuit | None,
    options: CircuitOptions,
    resources: Resources | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """`resources.json`: what the network, its circuit and its netlist cost; null where that is not known."""
    of_circuit = None if circuit is None else {
        "backend": circuit.backend,
        "options": {name: getattr(options, name) for name in ("latency_cutoff", "delay_constraint")},
        "latency_cycles": circuit.latency_cycles,
        "adders_in_a_row": circuit.adder_depth,
        "adders_in_a_row_by_stage": list(circuit.depths),
        "register_bits": circuit.register_bits,
        "lut_estimate": circuit.lut_estimate,
    }  # fmt: skip
    return {
        "schema": 1,
        "ebops": network.ebops,
        "num_nonzero_weights": network.num_nonzero_weights,
        "layers": [dataclasses.asdict(cost) for cost in network.costs],
        "circuit": of_circuit,
        "synthesis": None if resources is None else dataclasses.asdict(resources),
        "biases": list(BIASES),
        "notes": list(notes),
    }


Made = TypeVar("Made")


def _unless_missing(make: Callable[[], Made], notes: list[str]) -> Made | None:
    """None, and a note with the line that installs it, where a tool is missing."""
    try:
        return make()
    except CommandError as error:
        notes.append(str(error))
        return None


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(record, indent=2) + "\n")
