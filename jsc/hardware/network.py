"""`network.json`: a network of integers, its exact interpreter in NumPy, and what can be proved of it.

An integer n with f fraction bits stands for n * 2^-f. Shapes: N jets, F features, C classes; I and O, a layer's inputs
and outputs. Integers are int64 throughout.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import ConfigDict, Field, PlainValidator

from jsc.errors import NetworkError
from jsc.results import write_atomically

NETWORK_FILE = "network.json"
SCHEMA: Literal[1] = 1
MAX_INTEGER = 2**24 - 1  # float32 holds every integer up to here, so it computes sums that stay below exactly
MAX_FRACTION_BITS = 32
MAX_LOGIT_BITS = 53  # those of a float64, with which da4ml's interpreter computes
MAX_FILE_BYTES = 16 * 2**20
MAX_NAME_LENGTH = 200  # they become names of ports and comments in Verilog
MAX_FAULTS_SHOWN = 5

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
_COUNTS = {"num_features": "feature_names", "num_classes": "class_names"}  # keys of the file alone


def _array(kind: type, depth: int) -> Callable[[Any], npt.NDArray[Any]]:
    """Makes an array of a list, or of a list of lists, of JSON's numbers."""
    kinds = (int,) if kind is int else (int, float)

    def made(value: Any) -> npt.NDArray[Any]:
        rows = value if depth == 2 else [value]
        if not isinstance(value, list) or not all(isinstance(row, list) for row in rows):
            raise ValueError(f"give a list of {'lists of ' * (depth - 1)}numbers")
        for i, row in enumerate(rows):
            place = f"row {i}: " if depth == 2 else ""
            if len(row) != len(rows[0]):
                raise ValueError(
                    f"{place}{len(row)} numbers, and {len(rows[0])} in the first row; give rows of one length"
                )
            for j, number in enumerate(row):
                if type(number) not in kinds or (kind is int and abs(number) > 2**31):
                    raise ValueError(f"{place}number {j} is {str(number)[:40]}; give {_WANTED[kind]}")
        return np.array(value, dtype=np.float64 if kind is float else np.int64)

    return made


_WANTED = {int: "an integer below 2^31", float: "a number"}
_FloatVector = Annotated[Floats, PlainValidator(_array(float, 1))]
_Vector = Annotated[Integers, PlainValidator(_array(int, 1))]
_Matrix = Annotated[Integers, PlainValidator(_array(int, 2))]


@dataclass(frozen=True, eq=False, kw_only=True)
class InputQuantizer:
    """From raw features to the circuit's inputs; arrays [F].

    n = clip(floor((x - offset) * scale * 2^fraction_bits + 1/2), low, high), in float64.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    offset: _FloatVector
    scale: _FloatVector
    fraction_bits: _Vector
    low: _Vector
    high: _Vector


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear:
    """Exact sums: weights [O, I] and bias [O], each with fraction bits of its own. A weight of zero is pruned."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["linear"] = "linear"
    weights: _Matrix
    weight_fraction_bits: _Matrix
    bias: _Vector
    bias_fraction_bits: _Vector


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantize:
    """Rounds half up to `fraction_bits`, then saturates to [low, high], integers at those fraction bits; arrays [O]."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["quantize"] = "quantize"
    fraction_bits: _Vector
    low: _Vector
    high: _Vector


Layer = Linear | Quantize


@dataclass(frozen=True, eq=False)
class Wires:
    """What leaves the input quantiser or a layer: integers at `fraction_bits`, never outside [low, high]; arrays [O].

    `low` and `high` are interval bounds over all inputs that the input quantiser can give, and hold for all jets.
    `bits` is what a wire is declared with: a quantiser's own [low, high], a sum's bounds; 0 for one that is always 0.
    """

    name: str
    fraction_bits: Integers
    low: Integers
    high: Integers
    bits: Integers


@dataclass(frozen=True)
class LayerCost:
    """What a linear layer costs. `ebops`: the sum over its non-zero weights of activation bits times weight bits.

    Activation bits include a sign where there is one (as ports of the circuit do); a weight's are those of its
    magnitude. Biases are not counted.
    """

    name: str
    num_inputs: int
    num_outputs: int
    num_nonzero_weights: int
    ebops: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Network:
    """The record that circuits are made of.

    Raises NetworkError if its parts do not fit each other, or if a sum could reach 2^24 in units of its finest term,
    whatever the inputs and the order of summation.
    """

    model: str
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    input: InputQuantizer
    layers: tuple[Layer, ...]
    dataset: str
    dataset_variant: str
    dataset_sha256: str
    seed: int
    selected_by: str
    jsc: str
    wires: tuple[Wires, ...] = field(init=False, repr=False)  # the inputs, then those that leave each layer
    logit_wires: Wires = field(init=False, repr=False)  # those that leave the last, all at `output_fraction_bits`
    units: tuple[tuple[Integers, Integers] | None, ...] = field(init=False, repr=False)  # of linear layers: `_summed`

    def __post_init__(self) -> None:
        _check(self)
        wires, units = [_input_wires(self.input)], []
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            if isinstance(layer, Linear):
                leaving, in_units = _summed(name, layer, wires[-1])
            else:
                leaving, in_units = _quantized_wires(name, layer, wires[-1]), None
            wires.append(leaving)
            units.append(in_units)
        object.__setattr__(self, "wires", tuple(wires))
        object.__setattr__(self, "logit_wires", _on_one_grid(wires[-1]))
        object.__setattr__(self, "units", tuple(units))

    @property
    def num_features(self) -> int:
        return len(self.feature_names)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def layer_names(self) -> list[str]:
        """What messages and reports call each layer: its place in the file, and its kind."""
        return [f"layers[{index}] ({layer.kind})" for index, layer in enumerate(self.layers)]

    @property
    def output_fraction_bits(self) -> int:
        """Those of all logits: as many as the finest of them has."""
        return int(self.logit_wires.fraction_bits[0])

    @property
    def output_shifts(self) -> Integers:
        """How far to the left what leaves the last layer moves to have `output_fraction_bits`; 0 for one always 0."""
        return _shifts_to_one_grid(self.wires[-1])

    @property
    def costs(self) -> tuple[LayerCost, ...]:
        """One a linear layer."""
        return tuple(
            LayerCost(
                name=leaving.name,
                num_inputs=layer.weights.shape[1],
                num_outputs=layer.weights.shape[0],
                num_nonzero_weights=int((layer.weights != 0).sum()),
                ebops=int((magnitude_bits(layer.weights) * entering.bits).sum()),
            )
            for layer, entering, leaving in zip(self.layers, self.wires, self.wires[1:], strict=False)
            if isinstance(layer, Linear)
        )

    @property
    def num_nonzero_weights(self) -> int:
        """Of all linear layers, biases not counted."""
        return sum(cost.num_nonzero_weights for cost in self.costs)

    @property
    def ebops(self) -> int:
        """Effective bit operations of all linear layers."""
        return sum(cost.ebops for cost in self.costs)

    def quantize(self, x_NF: npt.NDArray[np.floating[Any]]) -> Integers:
        """The circuit's inputs [N, F] of raw features [N, F]. Raises ValueError for another width or a NaN."""
        self._check_width(x_NF)
        with np.errstate(over="ignore"):  # what is beyond float64 saturates
            scaled_NF = (x_NF.astype(np.float64) - self.input.offset) * self.input.scale
            scaled_NF = np.ldexp(scaled_NF, self.input.fraction_bits)
        if np.isnan(scaled_NF).any():
            name = self.feature_names[int(np.isnan(scaled_NF).any(axis=0).argmax())]
            raise ValueError(f"feature {name} of some jets is no number; leave those jets out")
        n_NF: Integers = np.clip(np.floor(scaled_NF + 0.5), self.input.low, self.input.high).astype(np.int64)
        return n_NF

    def trace(self, n_NF: Integers) -> list[Integers]:
        """The integers on `wires`, [N, width] each: the inputs `n_NF`, then what leaves each layer.

        Raises ValueError if an input is not one that the input quantiser gives.
        """
        self._check_width(n_NF)
        if n_NF.dtype != np.int64 or ((n_NF < self.input.low) | (n_NF > self.input.high)).any():
            raise ValueError("inputs are int64 from input.low to input.high of the network, as Network.quantize gives")
        values = [n_NF]
        for layer, in_units, entering in zip(self.layers, self.units, self.wires, strict=False):
            if isinstance(layer, Quantize):
                values.append(quantized(values[-1], entering.fraction_bits, layer))
            else:
                assert in_units is not None
                weights_OI, bias_O = in_units
                values.append(values[-1] @ weights_OI.T + bias_O)
        return values

    def logits(self, n_NF: Integers) -> Integers:
        """Logits [N, C] of the circuit's inputs [N, F], all at `output_fraction_bits`."""
        return self.on_one_grid(self.trace(n_NF)[-1])

    def on_one_grid(self, values_NC: Integers) -> Integers:
        """What leaves the last layer, with every class at `output_fraction_bits`."""
        return values_NC << self.output_shifts

    def predict(self, x_NF: npt.NDArray[np.floating[Any]]) -> Integers:
        """The class [N] of raw features [N, F]: that of the largest logit, the first of equals."""
        predicted_N: Integers = self.logits(self.quantize(x_NF)).argmax(axis=1)
        return predicted_N

    def _check_width(self, rows: npt.NDArray[Any]) -> None:
        if rows.ndim != 2 or rows.shape[1] != self.num_features:
            raise ValueError(f"jets come as [N, {self.num_features}], a row a jet, not as {list(rows.shape)}")


def magnitude_bits(n: Integers) -> Integers:
    """How many bits |n| has, 0 for 0; for |n| below 2^53."""
    return np.frexp(np.abs(n).astype(np.float64))[1].astype(np.int64)


def wire_bits(low: Integers, high: Integers) -> Integers:
    """Bits that hold all of [low, high]: two's complement where low is negative; 0 for [0, 0]."""
    unsigned = magnitude_bits(np.maximum(high, 0))
    signed: Integers = np.maximum(magnitude_bits(np.minimum(low, -1) + 1), unsigned) + 1
    return np.where(low < 0, signed, unsigned)


def rounded(n: Integers, from_bits: Integers, to_bits: Integers) -> Integers:
    """Integers [..., O], below 2^24, rounded half up from so many fraction bits [O] to so many [O].

    A result beyond 2^38 is given as one beyond 2^24: whatever bounds it saturates to are below that.
    """
    right, left = np.clip(from_bits - to_bits, 0, 38), np.clip(to_bits - from_bits, 0, 38)
    moved: Integers = ((n + (np.left_shift(1, right) >> 1)) >> right) << left
    return moved


def quantized(n: Integers, fraction_bits: Integers, layer: Quantize) -> Integers:
    """Integers [..., O] at `fraction_bits` [O], below 2^24, rounded half up and saturated as `layer` says."""
    saturated: Integers = np.clip(rounded(n, fraction_bits, layer.fraction_bits), layer.low, layer.high)
    return saturated


def _input_wires(q: InputQuantizer) -> Wires:
    return Wires("input", q.fraction_bits, q.low, q.high, wire_bits(q.low, q.high))


def _quantized_wires(name: str, layer: Quantize, entering: Wires) -> Wires:
    """Rounding and saturation keep the order, so bounds are mapped like any value."""
    low, high = (quantized(bound, entering.fraction_bits, layer) for bound in (entering.low, entering.high))
    return Wires(name, layer.fraction_bits, low, high, wire_bits(layer.low, layer.high))


def _summed(name: str, layer: Linear, entering: Wires) -> tuple[Wires, tuple[Integers, Integers]]:
    """The wires that leave a linear layer; its weights [O, I] and bias [O] in units of each sum's finest term.

    Weights of inputs that are always 0 count as pruned.
    """
    weights_OI = np.where((entering.low != 0) | (entering.high != 0), layer.weights, 0)
    terms_OT = np.column_stack([weights_OI, layer.bias])
    bits_OT = np.column_stack([layer.weight_fraction_bits + entering.fraction_bits, layer.bias_fraction_bits])
    coarsest = -4 * MAX_FRACTION_BITS
    grid_O = np.where(terms_OT != 0, bits_OT, coarsest).max(axis=1)
    grid_O[grid_O == coarsest] = 0  # a sum of nothing
    # In float64, which holds these numbers whatever their size, and in which sums that stay below 2^24 are exact.
    in_units_OT = np.ldexp(terms_OT.astype(np.float64), np.where(terms_OT != 0, grid_O[:, None] - bits_OT, 0))
    ends = in_units_OT * np.append(entering.low, 1), in_units_OT * np.append(entering.high, 1)
    low_OT, high_OT = np.minimum(*ends), np.maximum(*ends)
    # No partial sum, of whichever terms in whichever order, goes beyond these.
    reach_O = np.maximum(np.maximum(high_OT, 0).sum(axis=1), np.maximum(-low_OT, 0).sum(axis=1))
    if reach_O.max() > MAX_INTEGER:
        worst = int(reach_O.argmax())
        raise NetworkError(
            f"{name}: the sum of output {worst} could reach {reach_O[worst]:.0f} units of 2^{-grid_O[worst]}, and must "
            f"stay below 2^24 = {2**24}: give its weights, its bias or its inputs fewer bits, or prune weights"
        )
    low, high = low_OT.sum(axis=1).astype(np.int64), high_OT.sum(axis=1).astype(np.int64)
    integers_OT = in_units_OT.astype(np.int64)
    return Wires(name, grid_O, low, high, wire_bits(low, high)), (integers_OT[:, :-1], integers_OT[:, -1])


def _shifts_to_one_grid(last: Wires) -> Integers:
    """How far to the left each logit's integer moves to have the fraction bits of the finest; 0 for one always 0."""
    moves = (last.low != 0) | (last.high != 0)
    return np.where(moves, last.fraction_bits[moves].max(initial=-4 * MAX_FRACTION_BITS) - last.fraction_bits, 0)


def _on_one_grid(last: Wires) -> Wires:
    shifts = _shifts_to_one_grid(last)
    bits = magnitude_bits(np.maximum(-last.low, last.high)) + shifts
    if bits.max() >= MAX_LOGIT_BITS:
        raise NetworkError(
            f"{last.name}: its logits need {bits.max()} bits with one number of fraction bits for all, and may have "
            f"{MAX_LOGIT_BITS - 1}: bring the fraction bits of the classes nearer to each other"
        )
    moves = (last.low != 0) | (last.high != 0)
    grid = (last.fraction_bits + shifts)[moves].max(initial=-4 * MAX_FRACTION_BITS) if moves.any() else 0
    low, high = last.low << shifts, last.high << shifts
    return Wires("logits", np.full_like(low, grid), low, high, wire_bits(np.minimum(low, -1), high))


def _check(network: Network) -> None:
    """Raises NetworkError with the first thing that does not fit."""
    for key in ("model", "dataset", "dataset_variant", "dataset_sha256", "selected_by", "jsc"):
        _check_text(key, getattr(network, key))
    for key in ("feature_names", "class_names"):
        names = getattr(network, key)
        for place, name in enumerate(names):
            _check_text(f"{key}[{place}]", name)
        if not names or len(set(names)) < len(names) or not all(names):
            raise NetworkError(f"{key}: {', '.join(names) or 'none'}; give at least one, no two alike and none empty")
    if not network.layers:
        raise NetworkError("layers: none; give at least one")
    width = network.num_features
    _check_array("input.offset", network.input.offset, (width,))
    _check_array("input.scale", network.input.scale, (width,))
    _check_quantizer("input", network.input, width)
    for index, layer in enumerate(network.layers):
        key = f"layers[{index}]"
        if isinstance(layer, Quantize):
            _check_quantizer(key, layer, width)
            continue
        outputs = layer.weights.shape[0] if layer.weights.ndim == 2 else 0
        for name, bits, shape in (
            ("weights", "weight_fraction_bits", (outputs, width)),
            ("bias", "bias_fraction_bits", (outputs,)),
        ):
            _check_array(f"{key}.{name}", getattr(layer, name), shape, MAX_INTEGER)
            _check_array(f"{key}.{bits}", getattr(layer, bits), shape, MAX_FRACTION_BITS)
        width = outputs
    if width != network.num_classes:
        raise NetworkError(
            f"layers[{len(network.layers) - 1}]: it gives {width} numbers for {network.num_classes} class_names; "
            "the last layer gives one logit a class"
        )


def _check_text(key: str, text: str) -> None:
    if len(text) > MAX_NAME_LENGTH or not text.isprintable():
        raise NetworkError(f"{key}: {text[:40]!r}; give at most {MAX_NAME_LENGTH} characters that can be printed")


def _check_quantizer(key: str, q: InputQuantizer | Quantize, width: int) -> None:
    _check_array(f"{key}.fraction_bits", q.fraction_bits, (width,), MAX_FRACTION_BITS)
    for name in ("low", "high"):
        _check_array(f"{key}.{name}", getattr(q, name), (width,), MAX_INTEGER)
    if (q.low > q.high).any():
        place = int((q.low > q.high).argmax())
        raise NetworkError(
            f"{key}.low[{place}]: {q.low[place]} is above high[{place}] = {q.high[place]}; exchange them"
        )


def _check_array(key: str, array: npt.NDArray[Any], shape: tuple[int, ...], limit: int | None = None) -> None:
    """Integers from -limit to limit; without a limit, finite floats."""
    expected = np.float64 if limit is None else np.int64
    if array.dtype != expected:
        raise NetworkError(f"{key}: an array of {array.dtype}; give {np.dtype(expected)}")
    if array.shape != shape or 0 in shape:
        raise NetworkError(
            f"{key}: {_shape_words(array.shape)} came, {_shape_words(shape)} fit the layer before: one an output, and "
            "weights are a row an output with one an input"
        )
    bad = ~np.isfinite(array) if limit is None else np.abs(array) > limit
    if bad.any():
        place = np.unravel_index(int(bad.argmax()), shape)
        allowed = "finite numbers are" if limit is None else f"integers from {-limit} to {limit} are"
        raise NetworkError(f"{key}{''.join(f'[{i}]' for i in place)}: {array[place]} came, {allowed} allowed")


def _shape_words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + " numbers"


@dataclass(frozen=True, eq=False, kw_only=True)
class _File:
    """The file, key by key."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    schema: Literal[1] = SCHEMA
    model: str
    num_features: int
    num_classes: int
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    input: InputQuantizer
    layers: tuple[Annotated[Layer, Field(discriminator="kind")], ...]
    dataset: str
    dataset_variant: str
    dataset_sha256: str
    seed: int
    selected_by: str
    jsc: str


_FILE = pydantic.TypeAdapter(_File)


def read_network(path: Path) -> Network:
    """Read `network.json`. Raises NetworkError, with the file and the key, for anything but a whole, sound one."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise NetworkError(f"larger than {MAX_FILE_BYTES / 2**20:.0f} MiB, which no network of ours is")
        file = _FILE.validate_json(content)
        plain = {name: value for name, value in vars(file).items() if name not in ("schema", *_COUNTS)}
        for count, names in _COUNTS.items():
            if getattr(file, count) != len(plain[names]):
                raise NetworkError(f"{count}: {getattr(file, count)}, and there are {len(plain[names])} {names}")
        return Network(**plain)
    except pydantic.ValidationError as error:
        faults = [f"{_key(e['loc'])}: {e['msg']}" for e in error.errors(include_url=False, include_input=False)]
        more = f"; and {len(faults) - MAX_FAULTS_SHOWN} more" if len(faults) > MAX_FAULTS_SHOWN else ""
        raise NetworkError(f"{path}: {'; '.join(faults[:MAX_FAULTS_SHOWN])}{more}") from error
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error


def _key(places: tuple[int | str, ...]) -> str:
    """`layers[0].weights`, of where pydantic found something; it adds which kind of layer it took."""
    parts = [p for p in places if p not in ("linear", "quantize")]
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).removeprefix(".") or "the file"


def write_network(path: Path, network: Network) -> None:
    """Write `network.json`, whole or not at all, a row of weights a line; every number reads back as it is."""
    plain = {f.name: getattr(network, f.name) for f in fields(Network) if f.init}
    file = _File(**plain, num_features=network.num_features, num_classes=network.num_classes)
    document = {f.name: _plain(getattr(file, f.name)) for f in fields(_File)}
    write_atomically(path, _json(document) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, InputQuantizer | Linear | Quantize):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def _json(value: Any, indent: str = "") -> str:
    """JSON to be read and edited by hand: a key a line, a list of plain values on one."""
    inner = f"{indent}  "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {_json(v, inner)}" for key, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return "[\n" + ",\n".join(f"{inner}{_json(v, inner)}" for v in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
