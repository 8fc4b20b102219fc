"""`hardware.md` and `hardware.html`: what a circuit is, what was proved of it, and what it costs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsc.hardware.bench import BENCH_FILE
from jsc.hardware.circuit import Circuit, Step
from jsc.hardware.network import Network
from jsc.hardware.proof import Proof
from jsc.hardware.synthesis import BIASES, Resources
from jsc.reporting.document import Block, Bullets, Command, Document, Figure, Paragraph, Section, Table
from jsc.reporting.drawing import save
from jsc.reporting.markdown import to_markdown
from jsc.reporting.page import to_html
from jsc.results import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MARKDOWN_FILE, PAGE_FILE, FIGURE = "hardware.md", "hardware.html", "pipeline"


def write_datasheet(
    folder: Path,
    *,
    network: Network,
    circuit: Circuit | None,
    proof: Proof,
    resources: Resources | None,
    accuracy: str | None,
    notes: Sequence[str],
) -> None:
    """`circuit` and `resources` are None where a tool was missing, of which `notes` speak; `accuracy` in words."""
    sections = [Section("What it is", _identity(network, circuit, accuracy, notes))]
    if circuit is not None:
        sections.append(Section("Inputs and outputs", _ports(network, circuit)))
        sections.append(Section("From the inputs to the logits", _pipeline(network, circuit)))
    sections.append(Section("Proof", _proof(proof)))
    sections.append(Section("Cost", _cost(network, circuit, resources)))
    if circuit is not None:
        sections.append(Section("Use it", _use()))
    document = Document(f"The circuit of {network.model}", tuple(sections))
    drawings = {figure.name: save(figure.draw) for figure in document.figures}
    for name, drawing in drawings.items():
        write_atomically(folder / "figures" / f"{name}.png", drawing.png)
    write_atomically(folder / MARKDOWN_FILE, to_markdown(document))
    write_atomically(folder / PAGE_FILE, to_html(document, drawings))


def _identity(
    network: Network, circuit: Circuit | None, accuracy: str | None, notes: Sequence[str]
) -> tuple[Block, ...]:
    num_layers = sum(layer.kind == "linear" for layer in network.layers)
    blocks: list[Block] = [
        Paragraph(
            f"{network.model} is a network of {num_layers} linear layers. It reads {network.num_features} features of "
            f"a jet and gives a number, a logit, for each of {network.num_classes} classes: "
            f"{', '.join(network.class_names)}. The jet is called after the largest logit, the first of equal ones. "
            f"It was trained on {network.dataset} ({network.dataset_variant}), seed {network.seed}, and chosen by "
            f"{network.selected_by}."
        )
    ]
    if circuit is not None:
        when = f"Its logits come out {circuit.latency_cycles} clock cycles later."
        if not circuit.latency_cycles:
            when = "It holds no registers: the logits follow the inputs, and the clock is not used."
        text = "The circuit computes this network in integers, exactly. A new jet goes in at every clock cycle."
        blocks.append(Paragraph(f"{text} {when}"))
    if accuracy is not None:
        blocks.append(Paragraph(f"These integers call {accuracy} what they are."))
    return (*blocks, *([Bullets(tuple(notes))] if notes else []))


def _ports(network: Network, circuit: Circuit) -> tuple[Block, ...]:
    q, inputs, outputs = network.input, circuit.interface["inputs"], circuit.interface["outputs"]
    rows = [
        (
            f"`{port['name']}`",
            f"{port['bits']} {'signed' if port['signed'] else 'unsigned'}",
            f"{q.low[j]:,} to {q.high[j]:,}",
            f"{q.fraction_bits[j]}",
            f"{q.offset[j]:.6g}",
            f"{q.scale[j]:.6g}",
        )
        for j, port in enumerate(inputs)
    ]
    header = ("input", "bits", "range", "fraction bits f", "offset", "scale")
    names = ", ".join(f"`{port['name']}`" for port in outputs)
    return (
        Paragraph(
            "The inputs are integers. A feature x becomes floor((x - offset) * scale * 2^f + 1/2), or the nearest end "
            "of its range, before it enters the circuit; neither this nor its cost is part of what follows. "
            "`network.json` has the offsets and scales to the last digit."
        ),
        Table("Inputs of the module `network`", header, tuple(rows)),
        Paragraph(
            f"The outputs {names} are signed, have {outputs[0]['bits']} bits, and stand for an integer times "
            f"2^({-network.output_fraction_bits}). `interface.json` says all this to a program."
        ),
    )


def _pipeline(network: Network, circuit: Circuit) -> tuple[Block, ...]:
    costs = {cost.name: cost for cost in network.costs}
    rows = []
    for signals, wires in zip(circuit.signals[1:], network.wires[1:], strict=True):
        bits = [signal.bits for signal in signals.values()]
        cost = costs.get(wires.name)
        numbers = (f"{cost.num_nonzero_weights:,}", f"{cost.ebops:,}") if cost else ("", "")
        rows.append(
            (wires.name, f"{len(bits)} of {len(wires.low)}", f"{max(bits, default=0)}", f"{sum(bits):,}", *numbers)
        )
    header = ("layer", "wires", "bits of the widest", "bits of all", "weights that are not 0", "EBOPs")
    return (
        Figure(
            FIGURE,
            "The circuit from top to bottom. A dashed line is a row of registers.",
            partial(_draw, steps=circuit.steps),
        ),
        Table(
            "The wires that leave each layer, without those that never change or that nothing reads",
            header,
            tuple(rows),
        ),
        Paragraph(
            "A linear layer consists of additions; shifts are wiring, and what several sums need is added once "
            f"({circuit.backend}). Results are rounded half up. Where the weights prove that a sum stays within a "
            "bound, whatever the jet, no gates watch that bound."
        ),
    )


def _proof(proof: Proof) -> tuple[Block, ...]:
    blocks: list[Block] = []
    if proof.equal:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in proof.vectors.items())
        rows = tuple((row["what"], row["tool"], f"{row['vectors']:,}") for row in proof.equal)
        blocks += [
            Paragraph(
                "An interpreter of `network.json`, written in NumPy with 64-bit integers, and each of the following "
                f"gave the very same integers, without any tolerance. Compared on: {kinds}. Corners have every input "
                "at an end of its range; random integers come from the full ranges."
            ),
            Table("Compared, and equal", ("what", "by", "vectors"), rows),
        ]
    if (hls := proof.inexact) is not None:
        blocks.append(
            Paragraph(
                f"{hls.tool}, gave the same logits for {hls.equal_logits:.2%} of {hls.vectors:,} vectors and the same "
                f"class for {hls.equal_predictions:.2%}. A logit differed by {hls.largest_difference:g} at most."
            )
        )
        blocks.append(Bullets(tuple(hls.reasons)))
    if proof.not_proved:
        blocks.append(Paragraph("Not proved:"))
        blocks.append(Bullets(tuple(f"{row['what']}: {row['why']}" for row in proof.not_proved)))
    return tuple(blocks)


def _cost(network: Network, circuit: Circuit | None, resources: Resources | None) -> tuple[Block, ...]:
    rows = [
        ("weights that are not 0", f"{network.num_nonzero_weights:,}", "counted"),
        ("effective bit operations (EBOPs)", f"{network.ebops:,}", "counted"),
    ]
    if circuit is not None:
        rows += [
            ("latency in clock cycles", f"{circuit.latency_cycles}", "counted"),
            ("adders in a row, from inputs to logits", f"{circuit.adder_depth}", "counted"),
            ("adders in a row between registers, at most", f"{max(circuit.depths)}", "counted"),
            ("bits of registers", f"{circuit.register_bits:,}", "counted"),
            ("LUTs, before synthesis", f"{circuit.lut_estimate:,.0f}", f"estimated ({circuit.backend})"),
        ]
    if resources is None:
        return (Table("What it costs", ("what", "number", "by"), tuple(rows)),)
    rows += [
        ("LUTs", f"{resources.lut:,}", resources.tool),
        ("LUTs, with those that only feed carry cells", f"{resources.lut_with_carry_inputs:,}", resources.tool),
        ("flip-flops", f"{resources.ff:,}", resources.tool),
        ("carry cells", f"{resources.carry:,}", resources.tool),
        ("cells in a row between registers, at most", f"{resources.longest_path}", resources.tool),
    ]
    caption = f"What it costs; synthesised for the family {resources.family}"
    return Table(caption, ("what", "number", "by"), tuple(rows)), Bullets(BIASES)


def _use() -> tuple[Block, ...]:
    return (
        Paragraph("The proof's vectors through the Verilog again, in the folder `vectors`:"),
        Command(f"iverilog -g2005 -s testbench -o bench.vvp ../verilog/*.v {BENCH_FILE} && vvp -n bench.vvp"),
        Paragraph("Area and timing by Vivado, for whoever has a licence (this script was written, and not run):"),
        Command("vivado -mode batch -source vivado.tcl"),
        Paragraph("The scores of a data set by these integers; and the whole proof again, after a change:"),
        Command(
            "python -m jsc.hardware predict circuit=FOLDER dataset=jsc_sample\n"
            "python -m jsc.hardware prove circuit=FOLDER dataset=jsc_sample"
        ),
    )


def _draw(canvas: "Canvas", steps: Sequence[Step]) -> None:
    """The steps from top to bottom: a box a layer, an arrow with the wires between two, a line for a register."""
    from matplotlib import rcParams

    ink, shade = rcParams["text.color"], rcParams["grid.color"]
    height = 0.5  # inches a step
    canvas.set_size_inches(6.0, height * (len(steps) + 1))
    axes = canvas.add_subplot()
    axes.set(xlim=(0, 6), ylim=(-height * (len(steps) + 0.5), height / 2))
    axes.axis("off")
    for i, step in enumerate(steps):
        y = -i * height
        wires = f"{step.num_wires} wires, " if step.num_wires else ""
        axes.annotate("", (2.4, y - 0.85 * height), (2.4, y), arrowprops={"arrowstyle": "->", "color": ink, "lw": 0.8})
        axes.text(2.5, y - height / 2, f"{wires}{step.bits:,} bits", va="center", fontsize=7.5)
        if step.kind == "register":
            axes.plot([0.3, 4.5], [y, y], color=ink, lw=1.2, linestyle="--")
            axes.text(4.6, y, step.text, va="center", fontsize=8)
        else:
            box = {"boxstyle": "round,pad=0.35", "facecolor": shade, "edgecolor": ink, "linewidth": 0.8}
            axes.text(2.4, y, step.text, ha="center", va="center", fontsize=8.5, bbox=box)
    axes.text(2.4, -len(steps) * height, "logits", ha="center", va="center", fontsize=8.5)
