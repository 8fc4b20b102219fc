"""The back end: da4ml makes a linear layer's sums of shifted inputs, with common parts of them shared.

Its graph has additions, subtractions and constants alone, in integers; `predict` is da4ml's own interpreter of one.
"""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files as package_files

import da4ml
import numpy as np
from da4ml.codegen.rtl.verilog import comb_logic_gen
from da4ml.trace import FixedVariableArray, HWConfig, comb_trace, to_pipeline
from da4ml.types import CombLogic, minimal_kif

from jsc.hardware.circuit import Output, Sums
from jsc.hardware.network import Integers

_ADDER, _CARRY = 1, -1  # da4ml counts a LUT a bit of an adder, and every adder as one step, however wide


class ShiftAdd:
    """A `SumsBackend`.

    `latency_cutoff`: at most so many adders in a row in one stage; 0: all in one. `delay_constraint`: how many adders
    more than the fewest possible a sum may have in a row, where that saves some elsewhere; -1: any number.
    """

    name = "da4ml"
    version = version("da4ml")

    def __init__(self, *, latency_cutoff: int, delay_constraint: int) -> None:
        self.latency_cutoff, self.delay_constraint = latency_cutoff, delay_constraint

    def files(self) -> Mapping[str, str]:
        """da4ml's modules (LGPLv3)."""
        sources = package_files(da4ml) / "codegen/rtl/verilog/source"
        return {name: (sources / name).read_text() for name in ("shift_adder.v", "negative.v")}

    def sums(self, module: str, weights_OI: Integers, constants_O: Integers, low_I: Integers, high_I: Integers) -> Sums:
        """See `SumsBackend`."""
        config = HWConfig(_ADDER, _CARRY, -1)
        inputs = FixedVariableArray.from_lhs(
            low_I.astype(np.float64),
            high_I.astype(np.float64),
            np.ones(len(low_I)),
            hwconf=config,
            solver_options={"hard_dc": self.delay_constraint},
        )
        outputs = inputs @ weights_OI.T.astype(np.float64) + constants_O.astype(np.float64)
        graph = comb_trace(inputs, outputs)
        stages: tuple[CombLogic, ...] = (graph,)
        if self.latency_cutoff and max(_depths(stages)) > self.latency_cutoff:
            stages = to_pipeline(graph, self.latency_cutoff, verbose=False).solutions
        names = [module if len(stages) == 1 else f"{module}_stage{i}" for i in range(len(stages))]
        modules = []
        for name, stage in zip(names, stages, strict=True):
            bits = sum(sum(minimal_kif(q)) for q in stage.out_qint)
            modules.append((name, comb_logic_gen(stage, name), bits))
        return Sums(
            modules=modules,
            outputs=_places(stages[-1]),
            depths=_depths(stages),
            lut_estimate=float(sum(stage.cost for stage in stages)),
            run=lambda n_NI: _run(stages, n_NI),
        )


def _places(last: CombLogic) -> list[Output]:
    first, outputs = 0, []
    for interval in last.out_qint:
        signed, integer_bits, fraction_bits = minimal_kif(interval)
        bits = signed + integer_bits + fraction_bits
        outputs.append(Output(first, bits, -fraction_bits))
        first += bits
    return outputs


def _depths(stages: tuple[CombLogic, ...]) -> list[int]:
    """Adders in a row in each stage. Like da4ml, without that of a constant."""
    depths = []
    for stage in stages:
        rows: list[int] = []
        for op in stage.ops:
            rows.append(max((rows[i] for i in (op.id0, op.id1) if op.opcode >= 0 and i >= 0), default=0))
            rows[-1] += op.opcode in (0, 1)  # addition, subtraction
        depths.append(max(rows))
    return depths


def _run(stages: tuple[CombLogic, ...], n_NI: Integers) -> Integers:
    values = n_NI.astype(np.float64)  # of which da4ml makes its integers; ours are far below 2^53
    for stage in stages:
        values = stage.predict(values)
    return values.astype(np.int64)
