"""The same network as a project of hls4ml, whose C++ is compiled with g++ and compared with the interpreter.

hls4ml knows one type a layer and bounds that are powers of two. A network whose wires differ within a layer gets the
finest and widest type of them, and then its logits are not exact: the comparison says by how much.
"""

import contextlib
import io
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jsc.errors import CircuitError, CommandError
from jsc.hardware.network import Integers, Linear, Network, Quantize, wire_bits

PROJECT_NAME = "jsc_network"
INSTALL_HLS4ML = "pip install 'jsc[hls4ml]'"


@dataclass(frozen=True)
class Emulation:
    """What hls4ml's C++ gave beside the network's integers; `reasons` say why they may differ."""

    tool: str
    vectors: int
    largest_difference: float  # of a logit
    equal_logits: float  # share of vectors with all logits equal
    equal_predictions: float
    reasons: list[str]


def emulate(
    network: Network, n_NF: Integers, logits_NC: Integers, folder: Path, *, part: str, clock_ns: float
) -> Emulation:
    """Write the project into a folder, compile its C++ and run it on the circuit's inputs [N, F].

    Raises CommandError if hls4ml or g++ is missing or the network is no chain of linear layers, each with at most one
    quantize behind; CircuitError if the C++ does not compile.
    """
    for tool in ("hls4ml", "torch"):
        if find_spec(tool) is None:
            raise CommandError(f"{tool} is not there; install it: {INSTALL_HLS4ML}")
    if shutil.which("g++") is None:
        raise CommandError("g++, which compiles hls4ml's C++, is not there; install it: apt-get install g++")
    pairs = _pairs(network)
    precisions, reasons = _precisions(network, pairs)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            model = _converted(network, pairs, precisions, folder, part, clock_ns)
            model.compile()
            x_NF = np.ldexp(n_NF.astype(np.float64), -network.input.fraction_bits).astype(np.float32)
            given_NC = np.asarray(model.predict(np.ascontiguousarray(x_NF)), dtype=np.float64).reshape(logits_NC.shape)
    except Exception as error:  # hls4ml raises plain Exceptions
        raise CircuitError(f"hls4ml: {error}\n{said.getvalue()[-2000:]}") from error
    (folder / "hls4ml_config.yml").unlink(missing_ok=True)  # holds this run's temporary paths and pickled objects
    for built in (folder / "firmware").glob("*.so"):
        built.unlink()
    right_NC = np.ldexp(logits_NC.astype(np.float64), -network.output_fraction_bits)
    return Emulation(
        tool=f"hls4ml {version('hls4ml')}, compiled with g++",
        vectors=len(n_NF),
        largest_difference=float(np.abs(given_NC - right_NC).max()),
        equal_logits=float((given_NC == right_NC).all(axis=1).mean()),
        equal_predictions=float((given_NC.argmax(axis=1) == right_NC.argmax(axis=1)).mean()),
        reasons=reasons,
    )


def _converted(
    network: Network,
    pairs: list[tuple[int, Linear, Quantize | None]],
    precisions: dict[str, dict[str, str]],
    folder: Path,
    part: str,
    clock_ns: float,
) -> Any:
    """hls4ml's model of the network: torch's Linear layers with the network's weights, each with its own types."""
    import hls4ml
    import torch

    layers: OrderedDict[str, torch.nn.Module] = OrderedDict()
    for index, layer, _ in pairs:
        linear = torch.nn.Linear(*reversed(layer.weights.shape))
        for parameter, n, bits in (
            (linear.weight, layer.weights, layer.weight_fraction_bits),
            (linear.bias, layer.bias, layer.bias_fraction_bits),
        ):
            parameter.data = torch.from_numpy(np.ldexp(n.astype(np.float64), -bits)).float()
        layers[f"layer{index}"] = linear
    model = torch.nn.Sequential(layers)
    shape = (network.num_features,)
    config = hls4ml.utils.config_from_pytorch_model(model, shape, granularity="name", backend="Vitis")
    for name, types in precisions.items():
        config["LayerName"]["input_1" if name == "input" else name]["Precision"] = types
    return hls4ml.converters.convert_from_pytorch_model(
        model,
        hls_config=config,
        output_dir=str(folder),
        project_name=PROJECT_NAME,
        backend="Vitis",
        io_type="io_parallel",
        part=part,
        clock_period=clock_ns,
    )


def _pairs(network: Network) -> list[tuple[int, Linear, Quantize | None]]:
    """Each linear layer, by its place, with the quantize that follows it."""
    pairs: list[tuple[int, Linear, Quantize | None]] = []
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Linear):
            pairs.append((index, layer, None))
        elif pairs and pairs[-1][2] is None:
            pairs[-1] = (*pairs[-1][:2], layer)
        else:
            raise CommandError(
                f"{network.layer_names[index]}: hls4ml takes linear layers with at most one quantize behind each; "
                "use hardware.backend=da4ml, which takes any chain"
            )
    return pairs


def _precisions(
    network: Network, pairs: list[tuple[int, Linear, Quantize | None]]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """hls4ml's types of each layer, and where they are not the network's."""
    q = network.input
    low, high, bits = _common(q.low, q.high, q.fraction_bits)
    precisions = {"input": {"result": _type(low, high, bits)}}
    reasons = []
    for index, layer, quantizer in pairs:
        entering, sums = network.wires[index : index + 2]
        weights = _common(layer.weights, layer.weights, layer.weight_fraction_bits)
        bias = _common(layer.bias, layer.bias, layer.bias_fraction_bits)
        finest = max(int(entering.fraction_bits.max()) + weights[2], bias[2])
        reach = np.ldexp(2.0**24, -int(sums.fraction_bits.min()) + finest)  # no sum of this layer goes beyond
        accumulated = _type(-int(reach), int(reach), finest)
        result = accumulated
        if quantizer is not None:
            low, high, bits = _common(quantizer.low, quantizer.high, quantizer.fraction_bits)
            result = _type(low, high, bits, "RND,SAT")
            name = network.layer_names[index + 1]
            if (quantizer.fraction_bits != bits).any():
                reasons.append(f"{name}: its wires have different fraction bits, and hls4ml has one type a layer")
            size = 1 << int(wire_bits(np.array(low), np.array(high)))
            if (quantizer.low != (-size // 2 if low < 0 else 0)).any() or (
                quantizer.high != (size // 2 if low < 0 else size) - 1
            ).any():
                reasons.append(f"{name}: its bounds are not those of one hls4ml type")
        precisions[f"layer{index}"] = {
            "weight": _type(*weights),
            "bias": _type(*bias),
            "accum": accumulated,
            "result": result,
        }
    return precisions, reasons


def _common(low: Integers, high: Integers, fraction_bits: Integers) -> tuple[int, int, int]:
    """The lowest and the highest of many integers at the finest of their fraction bits, and those."""
    finest = int(fraction_bits.max())
    shifts = finest - fraction_bits
    lows, highs = ((n.astype(object) << shifts.astype(object)) for n in (low, high))
    return int(lows.min()), int(highs.max()), finest


def _type(low: int, high: int, fraction_bits: int, modes: str = "") -> str:
    """The smallest fixed-point type that holds all of [low, high] at so many fraction bits."""
    magnitude = max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length(), 1)
    bits = magnitude + (low < 0)
    return f"{'fixed' if low < 0 else 'ufixed'}<{bits},{bits - fraction_bits}{',' if modes else ''}{modes}>"
