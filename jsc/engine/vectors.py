"""SIMD vectors for Numba: a value of as many jets as one machine register holds, and what can be done with it.

Loops written over these vectors come out as exactly those vector instructions, whichever shapes the loops have and
however the arrays may overlap; LLVM's own vectoriser has to guess at both. In compiled code:

    x = load(array, index)              # lanes(array) consecutive elements
    y = x * scale + 1.0                 # + - * / and comparisons, with vectors or plain numbers
    store(array, index, select(y > 0.0, y, 0.0 * y))

A product that is added to something becomes a fused multiply-add where the machine has one; nothing else is
reassociated, so NaN and infinity keep their meaning and a kernel gives the same bytes every time.
"""

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

# 64 bytes fill an AVX-512 register; elsewhere 32 fill one AVX register or two of NEON's.
VECTOR_BYTES = 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32
CONTRACT = ("contract",)  # lets a * b + c become one fused multiply-add


class _Lanes(types.Type):
    """As many numbers as a register holds of the floats of `dtype`; `element` is their LLVM type."""

    def __init__(self, dtype: Any) -> None:
        super().__init__(name=f"{type(self).__name__}({dtype})")
        self.dtype = dtype
        self.num_lanes = num_lanes(dtype)

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(self.element, self.num_lanes)


class VectorType(_Lanes):
    """A vector of floats, one lane a jet."""

    @property
    def element(self) -> ir.Type:
        return float_type(self.dtype)


class BitsType(_Lanes):
    """A vector of unsigned integers, as many bits wide as the floats."""

    @property
    def element(self) -> ir.Type:
        return ir.IntType(self.dtype.bitwidth)


class MaskType(_Lanes):
    """A vector of truth values."""

    element = ir.IntType(1)


@register_model(VectorType)
@register_model(BitsType)
@register_model(MaskType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: _Lanes) -> None:
        super().__init__(dmm, fe_type, fe_type.vector)


def num_lanes(dtype: Any) -> int:
    """How many elements of a Numba float type one vector holds."""
    return VECTOR_BYTES * 8 // int(dtype.bitwidth)


def float_type(dtype: Any) -> ir.Type:
    return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()


def vector_type(dtype: Any) -> ir.VectorType:
    return VectorType(dtype).vector


# What the builders below share.


def broadcast(builder: Any, scalar: Any, num_lanes: int) -> Any:
    """The vector whose every lane is `scalar`."""
    vector = ir.VectorType(scalar.type, num_lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    return pick(builder, first, first, [0] * num_lanes)


def pick(builder: Any, a: Any, b: Any, lanes: Any) -> Any:
    """The vector of the given lanes of `a` and, counting on, of `b`."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))


def element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of a flat array's element: no bounds check, no wrap-around of negative indices."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def load_vector(builder: Any, pointer: Any, dtype: Any) -> Any:
    vector = builder.load(builder.bitcast(pointer, vector_type(dtype).as_pointer()))
    vector.align = dtype.bitwidth // 8
    return vector


def store_vector(builder: Any, pointer: Any, dtype: Any, vector: Any) -> None:
    builder.store(vector, builder.bitcast(pointer, vector_type(dtype).as_pointer()), align=dtype.bitwidth // 8)


def sum_lanes(builder: Any, vector: Any) -> Any:
    """Add the lanes of a vector up, in a fixed order: halves first."""
    width = vector.type.count
    while width > 1:
        width //= 2
        low, high = (pick(builder, vector, vector, range(first, first + width)) for first in (0, width))
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, ir.IntType(32)(0))


def call_llvm(builder: Any, name: str, *args: Any) -> Any:
    """Call LLVM's own function `llvm.<name>` on vectors of one type."""
    kind = args[0].type
    letter = {"float": "f32", "double": "f64"}[str(kind.element)]
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [a.type for a in args]), f"llvm.{name}.v{kind.count}{letter}"
    )
    return builder.call(function, args)


def _as_lanes(context: Any, builder: Any, value: Any, kind: Any, like: _Lanes) -> Any:
    """`value`, a vector of the type `like` or a plain number, as the former."""
    if isinstance(kind, _Lanes):
        return value
    if isinstance(like, VectorType):
        value = context.cast(builder, value, kind, like.dtype)
    elif value.type.width != like.element.width:
        value = (builder.trunc if value.type.width > like.element.width else builder.zext)(value, like.element)
    return broadcast(builder, value, like.num_lanes)


# Operators.


def _register_operator(function: Any, like: type[_Lanes], build: Callable[[Any, Any, Any], Any], result: Any) -> None:
    """Of two vectors `like`, or one and a plain number; `result` makes the outcome's type of theirs."""
    number = types.Number if like is VectorType else types.Integer

    @type_callable(function)
    def type_operator(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            vectors = [kind for kind in (a, b) if isinstance(kind, like)]
            fits = bool(vectors) and all(kind == vectors[0] or isinstance(kind, number) for kind in (a, b))
            return result(vectors[0].dtype) if fits else None

        return typer

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = next(kind for kind in sig.args if isinstance(kind, like))
        return build(builder, *(_as_lanes(context, builder, *arg, vector) for arg in zip(args, sig.args, strict=True)))

    for kinds in ((like, like), (like, number), (number, like)):
        lower_builtin(function, *kinds)(lower)


def _compare(sign: str) -> Callable[[Any, Any, Any], Any]:
    return lambda builder, a, b: builder.fcmp_ordered(sign, a, b)


def _integer(method: str) -> Callable[[Any, Any, Any], Any]:
    return lambda builder, a, b: getattr(builder, method)(a, b)


_register_operator(operator.add, VectorType, lambda builder, a, b: builder.fadd(a, b, flags=CONTRACT), VectorType)
_register_operator(operator.sub, VectorType, lambda builder, a, b: builder.fsub(a, b, flags=CONTRACT), VectorType)
_register_operator(operator.mul, VectorType, lambda builder, a, b: builder.fmul(a, b, flags=CONTRACT), VectorType)
_register_operator(operator.truediv, VectorType, lambda builder, a, b: builder.fdiv(a, b), VectorType)
_register_operator(operator.gt, VectorType, _compare(">"), MaskType)
_register_operator(operator.lt, VectorType, _compare("<"), MaskType)
_register_operator(operator.ge, VectorType, _compare(">="), MaskType)
_register_operator(operator.le, VectorType, _compare("<="), MaskType)
_register_operator(operator.eq, VectorType, _compare("=="), MaskType)
_register_operator(operator.add, BitsType, _integer("add"), BitsType)
_register_operator(operator.mul, BitsType, _integer("mul"), BitsType)
_register_operator(operator.and_, BitsType, _integer("and_"), BitsType)
_register_operator(operator.or_, BitsType, _integer("or_"), BitsType)
_register_operator(operator.xor, BitsType, _integer("xor"), BitsType)
_register_operator(operator.lshift, BitsType, _integer("shl"), BitsType)
_register_operator(operator.rshift, BitsType, _integer("lshr"), BitsType)


# Functions, for use in compiled code. Arguments are Numba's typing of: array 1-D contiguous, index an integer.


@intrinsic
def lanes(typingctx: Any, array: Any) -> Any:
    """How many elements of `array` one vector holds."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.intp, num_lanes(array.dtype))

    return types.intp(array), build


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """The vector at `array[index:]`; whoever calls knows that it is in bounds."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return load_vector(builder, element_pointer(context, builder, array, *args), array.dtype)

    return VectorType(array.dtype)(array, types.intp), build


@intrinsic
def store(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector to `array[index:]`; whoever calls knows that it is in bounds."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        store_vector(builder, element_pointer(context, builder, array, args[0], args[1]), array.dtype, args[2])
        return context.get_dummy_value()

    return types.void(array, types.intp, VectorType(array.dtype)), build


@intrinsic
def splat(typingctx: Any, like: Any, scalar: Any) -> Any:
    """The vector, of the type that `like` (an array or a vector) has, whose every lane is `scalar`."""
    vector = VectorType(like.dtype)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _as_lanes(context, builder, args[1], scalar, vector)

    return vector(like, scalar), build


@intrinsic
def select(typingctx: Any, mask: Any, chosen: Any, other: Any) -> Any:
    """`chosen` where the mask is true, else `other`; one of the two may be a plain number."""
    vector = chosen if isinstance(chosen, VectorType) else other

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        chosen_v, other_v = (
            _as_lanes(context, builder, value, kind, vector)
            for value, kind in zip(args[1:], (chosen, other), strict=True)
        )
        return builder.select(args[0], chosen_v, other_v)

    return vector(mask, chosen, other), build


@intrinsic
def first_lanes(typingctx: Any, vector: Any, count: Any) -> Any:
    """`vector` with all but its first `count` lanes set to zero."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        n = vector.num_lanes
        number = ir.Constant(ir.VectorType(ir.IntType(64), n), list(range(n)))
        mask = builder.icmp_signed("<", number, broadcast(builder, args[1], n))
        return builder.select(mask, args[0], ir.Constant(args[0].type, [0.0] * n))

    return vector(vector, types.int64), build


@intrinsic
def total(typingctx: Any, vector: Any) -> Any:
    """The sum of the lanes, in the vector's own precision."""
    return vector.dtype(vector), lambda context, builder, sig, args: sum_lanes(builder, args[0])


@intrinsic
def square_root(typingctx: Any, vector: Any) -> Any:
    """Correctly rounded."""
    return vector(vector), lambda context, builder, sig, args: call_llvm(builder, "sqrt", *args)


@intrinsic
def absolute(typingctx: Any, vector: Any) -> Any:
    """Without the sign."""
    return vector(vector), lambda context, builder, sig, args: call_llvm(builder, "fabs", *args)


@intrinsic
def with_sign(typingctx: Any, magnitude: Any, sign: Any) -> Any:
    """`magnitude` with the sign of `sign`."""
    return magnitude(magnitude, sign), lambda context, builder, sig, args: call_llvm(builder, "copysign", *args)


@intrinsic
def bits_of(typingctx: Any, vector: Any) -> Any:
    """The bit pattern of every lane."""
    bits = BitsType(vector.dtype)
    return bits(vector), lambda context, builder, sig, args: builder.bitcast(args[0], bits.vector)


@intrinsic
def from_bits(typingctx: Any, bits: Any) -> Any:
    """The floats with these bit patterns."""
    vector = VectorType(bits.dtype)
    return vector(bits), lambda context, builder, sig, args: builder.bitcast(args[0], vector.vector)


@intrinsic
def lane_numbers(typingctx: Any, array: Any) -> Any:
    """The integers 0, 1, 2, ... of the vectors of `array`."""
    bits = BitsType(array.dtype)
    return bits(array), lambda context, builder, sig, args: ir.Constant(bits.vector, list(range(bits.num_lanes)))


@intrinsic
def at_least(typingctx: Any, bits: Any, threshold: Any) -> Any:
    """Mask of the lanes that, unsigned, are `threshold` or more."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned(">=", args[0], _as_lanes(context, builder, args[1], threshold, bits))

    return MaskType(bits.dtype)(bits, types.uint64), build


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of `array[index]` ahead of its use."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = builder.bitcast(element_pointer(context, builder, array, *args), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, i32(0), i32(3), i32(1)])  # for reading, into the nearest cache, data
        return context.get_dummy_value()

    return types.void(array, types.intp), build
