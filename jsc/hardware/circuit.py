"""The circuit of a network: plain Verilog, layer by layer, on the very wires of the network.

A back end makes the sums of a linear layer (`jsc.hardware.shift_add` is the one); rounding, saturation, pipeline
registers and the named ports are made here. Every wire is called after its place in `network.json`: `layer2_5` leaves
output 5 of layers[2]. Wires that are always the same, by the network's bounds, and wires that nothing reads are left
out. Shapes: N jets, O outputs, I inputs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from jsc.hardware.network import Integers, Network, Quantize, wire_bits

TOP_MODULE = "network"
TIMESCALE = "`timescale 1ns / 1ps"  # in every file, or simulators warn of those without
_WORDS_OF_VERILOG = """
    alias always and assert assign assume before begin bind bins bit break buf byte case cell chandle checker class
    clk clocking config const constraint context continue cover covergroup coverpoint cross deassign default defparam
    design disable dist do edge else end endcase endmodule enum event expect export extends extern final first force
    foreach forever fork function generate genvar global highz if iff implements implies import incdir include initial
    inout input inside instance int integer interface intersect join large let liblist library local localparam logic
    longint matches medium modport module nand negedge nettype network new nexttime nmos nor not notif null or output
    package packed parameter pmos posedge primitive priority program property protected pull pulldown pullup pure rand
    randc randcase real realtime ref reg reject release repeat restrict return rnmos rpmos rtran scalared sequence
    shortint shortreal signed small soft solve specify static string strong struct super supply sync table tagged task
    this throughout time timeunit tran tri trireg type typedef union unique unsigned until untyped use uwire var
    vectored virtual void wait wand weak while wildcard wire with within wor xnor xor
"""  # Verilog-2005's and SystemVerilog's that a feature could be called, and the circuit's own
_TAKEN = frozenset(_WORDS_OF_VERILOG.split())


@dataclass(frozen=True)
class Output:
    """Where a sum lies in the bits that the last stage of `Sums` gives: `bits` from `first` on, `zeros` zeros below."""

    first: int
    bits: int
    zeros: int


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of a linear layer as hardware: one module a stage, a register between two of them.

    Each module has a port `model_inp`, all its inputs side by side with the first in the lowest bits, and `model_out`.
    `depths` are the adders in a row of each stage; `run` gives the sums [N, O] of inputs [N, I] as the back end's own
    interpreter has them; `lut_estimate` is the back end's.
    """

    modules: Sequence[tuple[str, str, int]]  # name, Verilog, bits of `model_out`
    outputs: Sequence[Output]
    depths: Sequence[int]
    lut_estimate: float
    run: Callable[[Integers], Integers]


class SumsBackend(Protocol):
    """Makes the sums of a linear layer."""

    name: str
    version: str

    def files(self) -> Mapping[str, str]:
        """Modules that those of all layers use: file name, Verilog."""
        ...

    def sums(self, module: str, weights_OI: Integers, constants_O: Integers, low_I: Integers, high_I: Integers) -> Sums:
        """weights @ inputs + constants, for inputs that are integers of [low, high], none of them constant."""
        ...


@dataclass(frozen=True)
class Signal:
    """A wire of the circuit: an integer of [low, high], `offset` above what the network's wire holds."""

    name: str
    low: int
    high: int
    offset: int = 0

    @property
    def is_signed(self) -> bool:
        return self.low < 0

    @property
    def bits(self) -> int:
        return max(1, int(wire_bits(np.int64(self.low), np.int64(self.high))))  # type: ignore[arg-type]

    @property
    def vector(self) -> str:
        return f"{'signed ' if self.is_signed else ''}[{self.bits - 1}:0]"

    def declared(self, kind: str) -> str:
        return f"{kind} {self.vector} {self.name}"


@dataclass(frozen=True)
class Step:
    """A step on the way from the inputs to the logits: what happens there, and the wires that leave it."""

    kind: Literal["inputs", "register", "sums", "quantize"]
    text: str
    num_wires: int
    bits: int


@dataclass(frozen=True, eq=False)
class Circuit:
    """Verilog and what is known of it.

    `signals[k]` are the wires of `network.wires[k]` that the circuit has, by their place there. `depths` are the adders
    in a row of each stage between registers, `register_bits` all registers' bits. `lut_estimate` is the back end's for
    the sums and ours for rounding and saturation: half a LUT a bit that can saturate and one a bound.
    """

    network: Network
    files: Mapping[str, str]  # Verilog, by file name
    interface: Mapping[str, Any]
    signals: Sequence[Mapping[int, Signal]]
    depths: Sequence[int]
    lut_estimate: float
    backend: str  # its name and version
    steps: Sequence[Step]
    sums: Sequence[Sums | None]  # a linear layer's; None where all of them are constant

    @property
    def latency_cycles(self) -> int:
        latency: int = self.interface["latency_cycles"]
        return latency

    @property
    def register_bits(self) -> int:
        """Bits of all registers."""
        return sum(step.bits for step in self.steps if step.kind == "register")

    @property
    def adder_depth(self) -> int:
        """Adders in a row from the inputs to the logits."""
        return sum(self.depths)


def make_circuit(network: Network, backend: SumsBackend, *, latency_cutoff: int) -> Circuit:
    """`latency_cutoff`: at most so many adders between two registers; 0: no registers at all."""
    return _Builder(network, backend, latency_cutoff).build()


def used_wires(network: Network) -> list[npt.NDArray[np.bool_]]:
    """Which of `network.wires` vary and are read, by a later layer or as a logit; [width] each."""
    varies = [wires.low != wires.high for wires in network.wires]
    used = [varies[-1]]
    for units, varies_I in zip(reversed(network.units), reversed(varies[:-1]), strict=True):
        read_I = used[0] if units is None else (units[0][used[0]] != 0).any(axis=0)
        used.insert(0, read_I & varies_I)
    return used


class _Builder:
    """Writes the top module, from the inputs to the logits; `current` are the signals that the next layer reads."""

    def __init__(self, network: Network, backend: SumsBackend, cutoff: int) -> None:
        self.network, self.backend, self.cutoff = network, backend, cutoff
        self.used = used_wires(network)
        self.lines: list[str] = []
        self.files = dict(backend.files())
        self.cycles, self.depths, self.quantizer_luts = 0, [0], 0.0
        self.steps: list[Step] = []

    def build(self) -> Circuit:
        inputs, outputs = ports(self.network)
        low_high = zip(inputs, self.network.input.low, self.network.input.high, strict=True)
        entering = [Signal(port["name"], int(low), int(high)) for port, low, high in low_high]
        signals = [{int(j): entering[j] for j in np.flatnonzero(self.used[0])}]
        all_sums: list[Sums | None] = []
        self.step("inputs", f"{len(signals[0])} of {len(inputs)} features", signals[0])
        current = self.registered(signals[0])
        for index, layer in enumerate(self.network.layers):
            self.lines += ["", f"    // {self.network.layer_names[index]}"]
            sums = None
            if isinstance(layer, Quantize):
                current = self.quantize(index, layer, current)
            else:
                current, sums = self.add(index, current)
            signals.append(current)
            all_sums.append(sums)
        self.lines += ["", "    // the logits, all of one width and with the same number of fraction bits"]
        current = self.registered(current)
        self.assign_logits(outputs, current)
        interface = {
            "top": TOP_MODULE,
            "clock": {"name": "clk", "bits": 1, "signed": False},
            "inputs": inputs,
            "outputs": outputs,
            "output_fraction_bits": self.network.output_fraction_bits,
            "latency_cycles": self.cycles,
            "initiation_interval": 1,
        }
        lut_estimate = sum(s.lut_estimate for s in all_sums if s is not None) + self.quantizer_luts
        self.files[f"{TOP_MODULE}.v"] = self.top_module(entering, outputs)
        return Circuit(
            network=self.network,
            files=self.files,
            interface=interface,
            signals=signals,
            depths=self.depths,
            lut_estimate=lut_estimate,
            backend=f"{self.backend.name} {self.backend.version}",
            steps=self.steps,
            sums=all_sums,
        )

    def step(
        self, kind: Literal["inputs", "register", "sums", "quantize"], text: str, leaving: Mapping[int, Signal]
    ) -> None:
        self.steps.append(Step(kind, text, len(leaving), sum(signal.bits for signal in leaving.values())))

    def top_module(self, inputs: Sequence[Signal], outputs: Sequence[Mapping[str, Any]]) -> str:
        declared = ["input clk", *(signal.declared("input") for signal in inputs)]
        declared += [f"output signed [{out['bits'] - 1}:0] {out['name']}" for out in outputs]
        head = (
            f"{TIMESCALE}\n// {self.network.model}, trained on {self.network.dataset}; made by jsc from network.json.\n"
            "// In: the integers of its input quantiser, a new jet every clock cycle. "
            f"Out, {self.cycles} cycles later: logits\n// with {self.network.output_fraction_bits} fraction bits.\n"
        )
        ports_and_body = ",\n    ".join(declared) + "\n);\n" + "\n".join(self.lines).strip("\n")
        return f"{head}module {TOP_MODULE} (\n    {ports_and_body}\nendmodule\n"

    def registered(self, signals: Mapping[int, Signal]) -> dict[int, Signal]:
        """The same a clock cycle later; nothing changes in a circuit without registers."""
        if not self.cutoff:
            return dict(signals)
        names = {j: s.name if s.name.startswith("layer") else f"layer_in_{j}" for j, s in signals.items()}  # no port is
        registers = self.clocked([(names[j], s.name, s.vector) for j, s in signals.items()])
        later = {j: replace(s, name=name) for (j, s), name in zip(signals.items(), registers, strict=True)}
        self.step("register", f"clock cycle {self.cycles}", later)
        return later

    def clocked(self, registers: Sequence[tuple[str, str, str]]) -> list[str]:
        """A clock cycle: registers, by what they are called after, take over what, and which vector. Their names."""
        self.cycles += 1
        names = [f"{base}_cycle{self.cycles}" for base, *_ in registers]
        self.lines += [f"    reg {vector} {name};" for name, (*_, vector) in zip(names, registers, strict=True)]
        self.lines += ["    always @(posedge clk) begin"]
        self.lines += [f"        {name} <= {source};" for name, (_, source, _) in zip(names, registers, strict=True)]
        self.lines += ["    end"]
        return names

    def add(self, index: int, current: dict[int, Signal]) -> tuple[dict[int, Signal], Sums | None]:
        """The sums of a linear layer; those that are rounded next are half a unit too large, in their constants."""
        units, entering, leaving = self.network.units[index], *self.network.wires[index : index + 2]
        assert units is not None
        places = np.flatnonzero(self.used[index + 1])
        if not len(places):
            return {}, None
        weights_OI, bias_O = units
        constant_I = np.where(entering.low == entering.high, entering.low, 0)
        halves_O = np.zeros_like(bias_O)
        if isinstance(following := (*self.network.layers, None)[index + 1], Quantize):
            # Sums stay below 2^24, so one that is rounded by more bits than 30 is always 0, and no wire.
            halves_O = np.left_shift(1, np.clip(leaving.fraction_bits - following.fraction_bits, 0, 30)) >> 1
        constants_O = bias_O + weights_OI @ constant_I + halves_O
        sums = self.backend.sums(
            f"layer{index}",
            weights_OI[np.ix_(places, np.array(list(current)))],
            constants_O[places],
            np.array([s.low for s in current.values()]),
            np.array([s.high for s in current.values()]),
        )
        if self.cutoff and self.depths[-1] + sums.depths[0] > self.cutoff:
            current = self.registered(current)
            self.depths.append(0)
        self.depths[-1] += sums.depths[0]
        bus = "{" + ",\n        ".join(s.name for s in reversed(current.values())) + "}"
        name, parts = self.network.layer_names[index], len(sums.modules)
        for stage, (module, verilog, bits) in enumerate(sums.modules):
            self.files[f"{module}.v"] = verilog
            if stage:
                width = sums.modules[stage - 1][2]
                (bus,) = self.clocked([(bus, bus, f"[{width - 1}:0]")])
                self.depths.append(sums.depths[stage])
                self.steps.append(Step("register", f"clock cycle {self.cycles}", 0, width))
            self.lines += [f"    wire [{bits - 1}:0] {module}_out;"]
            self.lines += [f"    {module} {module}_instance (.model_inp({bus}), .model_out({module}_out));"]
            bus = f"{module}_out"
            part = "" if parts == 1 else f", part {stage + 1} of {parts}"
            wires = len(places) if stage + 1 == parts else 0
            self.steps.append(Step("sums", f"{name}{part}: {sums.depths[stage]} adders in a row", wires, bits))
        if halves_O.any():
            self.lines.append(
                "    // half of what rounding takes away is in these sums already: then cutting rounds half up"
            )
        signals = {}
        for output, place in zip(sums.outputs, places, strict=True):
            half = int(halves_O[place])
            low, high = int(leaving.low[place]) + half, int(leaving.high[place]) + half
            signal = signals[int(place)] = Signal(f"layer{index}_{place}", low, high, half)
            taken = min(signal.bits - output.zeros, output.bits)
            assert taken + output.zeros >= signal.bits, "the back end's bounds are never narrower than the exact ones"
            self.lines.append(f"    {signal.declared('wire')} = {_bits(bus, output.first, taken, output.zeros)};")
        return signals, sums

    def quantize(self, index: int, layer: Quantize, current: dict[int, Signal]) -> dict[int, Signal]:
        entering, leaving = self.network.wires[index : index + 2]
        signals = {}
        for place in map(int, np.flatnonzero(self.used[index + 1])):
            summed = current[place]
            drop = int(entering.fraction_bits[place] - layer.fraction_bits[place])
            if drop > 0 and not summed.offset:  # what is rounded is no sum: the half is added here
                half = 1 << (drop - 1)
                raised = Signal(f"layer{index}_{place}_raised", summed.low + half, summed.high + half)
                self.lines.append(f"    {raised.declared('wire')} = {summed.name} + {_literal(half, raised)};")
                summed = raised
            low, high = (n >> drop if drop > 0 else n << -drop for n in (summed.low, summed.high))
            rounded = Signal(f"layer{index}_{place}_rounded", low, high)
            kept = min(rounded.bits, summed.bits - drop) if drop > 0 else summed.bits
            source = _bits(summed.name, max(drop, 0), kept, max(-drop, 0))
            self.lines.append(f"    {rounded.declared('wire')} = {source};")
            signal = signals[place] = Signal(f"layer{index}_{place}", int(leaving.low[place]), int(leaving.high[place]))
            value = _bits(rounded.name, 0, signal.bits, 0)
            for bound, test in ((int(layer.high[place]), _above), (int(layer.low[place]), _below)):
                condition = test(rounded, bound)
                if condition:
                    value = f"{condition} ? {_literal(bound, signal)} : {value}"
                    self.quantizer_luts += 1
            self.quantizer_luts += signal.bits / 2 if "?" in value else 0
            self.lines.append(f"    {signal.declared('wire')} = {value};")
        self.step("quantize", f"{self.network.layer_names[index]}: rounds and saturates", signals)
        return signals

    def assign_logits(self, outputs: Sequence[Mapping[str, Any]], current: Mapping[int, Signal]) -> None:
        for place, port in enumerate(outputs):
            shift, bits = int(self.network.output_shifts[place]), port["bits"]
            value = f"{bits}'d{int(self.network.logit_wires.low[place]) % 2**bits}"  # one that is always the same
            if place in current:
                signal = current[place]
                value = _bits(signal.name, 0, min(signal.bits, bits - shift), shift)
                if bits > shift + signal.bits:
                    sign = f"{signal.name}[{signal.bits - 1}]" if signal.is_signed else "1'b0"
                    value = f"{{{{{bits - shift - signal.bits}{{{sign}}}}}, {value}}}"
            self.lines.append(f"    assign {port['name']} = {value};")


def _bits(name: str, first: int, count: int, zeros: int) -> str:
    """`count` bits of a vector from `first` on, above so many zeros."""
    taken = f"{name}[{first + count - 1}:{first}]"
    return f"{{{taken}, {zeros}'b0}}" if zeros else taken


def _literal(n: int, like: Signal) -> str:
    """A constant of a signal's width."""
    return f"{like.bits}'{'s' if like.is_signed else ''}d{n % 2**like.bits}"


def _above(signal: Signal, bound: int) -> str:
    """The condition that a signal is above a bound; empty where it cannot be."""
    if signal.high <= bound:
        return ""
    exponent = (bound + 1).bit_length() - 1
    if bound >= 0 and bound + 1 == 1 << exponent:  # a bit above the bound's is set
        upper = f"|{signal.name}[{signal.bits - 1 - signal.is_signed}:{exponent}]"
        return f"(!{signal.name}[{signal.bits - 1}] & ({upper}))" if signal.is_signed else f"({upper})"
    return f"({signal.name} > {_compared(bound, signal)})"


def _below(signal: Signal, bound: int) -> str:
    """The condition that a signal is below a bound; empty where it cannot be."""
    if signal.low >= bound:
        return ""
    sign = f"{signal.name}[{signal.bits - 1}]"
    if bound == 0:
        return sign
    exponent = (-bound).bit_length() - 1
    if bound < 0 and -bound == 1 << exponent:  # negative, and a bit above the bound's is not set
        return f"({sign} & !(&{signal.name}[{signal.bits - 2}:{exponent}]))"
    return f"({signal.name} < {_compared(bound, signal)})"


def _compared(bound: int, signal: Signal) -> str:
    """A bound as a literal that is compared with a signal as signed where the signal is."""
    sign, kind = "-" if bound < 0 else "", "s" if signal.is_signed else ""
    return f"{sign}{signal.bits + 1}'{kind}d{abs(bound)}"


def ports(network: Network) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The inputs and the outputs of `interface.json`.

    They bear the names of features and classes, changed where Verilog would not take them or two would be the same. An
    input has exactly the bits that its range needs; one where that is 0 alone.
    """
    taken = set(_TAKEN)
    q, names = network.input, []
    for wanted in (*network.feature_names, *(f"logit_{name}" for name in network.class_names)):
        name = re.sub(r"[^A-Za-z0-9_]", "_", wanted)
        if not re.match(r"[A-Za-z_]", name) or name.startswith("layer"):  # the circuit's own wires begin so
            name = f"_{name}"
        while name in taken:
            name += "_"
        taken.add(name)
        names.append(name)
    inputs = []
    for name, feature, *numbers in zip(
        names, network.feature_names, network.wires[0].bits, q.low, q.high, q.fraction_bits, strict=False
    ):
        bits, low, high, fraction_bits = map(int, numbers)
        port = {"name": name, "feature": feature, "bits": max(1, bits), "signed": low < 0}
        inputs.append(port | {"low": low, "high": high, "fraction_bits": fraction_bits})
    bits = int(network.logit_wires.bits.max())
    outputs = [
        {"name": names[network.num_features + c], "class": of_class, "bits": bits, "signed": True}
        for c, of_class in enumerate(network.class_names)
    ]
    return inputs, outputs
