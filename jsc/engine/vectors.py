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
from numba.core import cgutils, types
from numba.core.datamodel import PrimitiveModel, register_default
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic

# 64 bytes fill an AVX-512 register; elsewhere 32 fill one AVX register or two of NEON's.
VECTOR_BYTES = 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32
CONTRACT = ("contract",)  # lets a * b + c become one fused multiply-add


class VectorType(types.Type):
    """A vector of floats, one lane a jet."""

    def __init__(self, dtype: Any) -> None:
        super().__init__(name=f"Vector({dtype})")
        self.dtype = dtype
        self.num_lanes = num_lanes(dtype)


class BitsType(types.Type):
    """A vector of unsigned integers, as many bits wide as the floats of `dtype`."""

    def __init__(self, dtype: Any) -> None:
        super().__init__(name=f"Bits({dtype})")
        self.dtype = dtype
        self.num_lanes = num_lanes(dtype)


class MaskType(types.Type):
    """A vector of truth values."""

    def __init__(self, num_lanes: int) -> None:
        super().__init__(name=f"Mask({num_lanes})")
        self.num_lanes = num_lanes


def num_lanes(dtype: Any) -> int:
    """How many elements of a Numba float type one vector holds."""
    return VECTOR_BYTES * 8 // int(dtype.bitwidth)


def float_type(dtype: Any) -> ir.Type:
    return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()


def vector_type(dtype: Any) -> ir.VectorType:
    return ir.VectorType(float_type(dtype), num_lanes(dtype))


def bits_type(dtype: Any) -> ir.VectorType:
    return ir.VectorType(ir.IntType(dtype.bitwidth), num_lanes(dtype))


@register_default(VectorType)
class _VectorModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: VectorType) -> None:
        super().__init__(dmm, fe_type, vector_type(fe_type.dtype))


@register_default(BitsType)
class _BitsModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: BitsType) -> None:
        super().__init__(dmm, fe_type, bits_type(fe_type.dtype))


@register_default(MaskType)
class _MaskModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: MaskType) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.num_lanes))


# What the builders below share.


def broadcast(builder: Any, scalar: Any, num_lanes: int) -> Any:
    """The vector whose every lane is `scalar`."""
    vector = ir.VectorType(scalar.type, num_lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), num_lanes), [0] * num_lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of a flat array's element: no bounds check, no wrap-around of negative indices."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


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
        low = _lanes(builder, vector, range(width))
        high = _lanes(builder, vector, range(width, 2 * width))
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, ir.IntType(32)(0))


def _lanes(builder: Any, vector: Any, lanes: range) -> Any:
    picked = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), picked)


def call_llvm(builder: Any, name: str, *args: Any) -> Any:
    """Call LLVM's own function `llvm.<name>` on vectors of one type."""
    kind = args[0].type
    letter = {"float": "f32", "double": "f64"}[str(kind.element)]
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [a.type for a in args]), f"llvm.{name}.v{kind.count}{letter}"
    )
    return builder.call(function, args)


# Operators.


def _register_operator(function: Any, build: Callable[[Any, Any, Any], Any], *, compares: bool) -> None:
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            vectors = [a for a in args if isinstance(a, VectorType)]
            if len(args) != 2 or not vectors or any(a not in (vectors[0], *_numbers(args)) for a in args):
                return None
            return signature(MaskType(vectors[0].num_lanes) if compares else vectors[0], *args)

    infer_global(function)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        dtype = next(a for a in sig.args if isinstance(a, VectorType)).dtype
        vectors = (_as_vector(context, builder, a, kind, dtype) for a, kind in zip(args, sig.args, strict=True))
        return build(builder, *vectors)

    for kinds in ((VectorType, VectorType), (VectorType, types.Number), (types.Number, VectorType)):
        lower_builtin(function, *kinds)(lower)


def _as_vector(context: Any, builder: Any, value: Any, kind: Any, dtype: Any) -> Any:
    if isinstance(kind, VectorType):
        return value
    return broadcast(builder, context.cast(builder, value, kind, dtype), num_lanes(dtype))


def _numbers(args: Any) -> list[Any]:
    return [a for a in args if isinstance(a, types.Number)]


_register_operator(operator.add, lambda builder, a, b: builder.fadd(a, b, flags=CONTRACT), compares=False)
_register_operator(operator.sub, lambda builder, a, b: builder.fsub(a, b, flags=CONTRACT), compares=False)
_register_operator(operator.mul, lambda builder, a, b: builder.fmul(a, b, flags=CONTRACT), compares=False)
_register_operator(operator.truediv, lambda builder, a, b: builder.fdiv(a, b), compares=False)
_register_operator(operator.gt, lambda builder, a, b: builder.fcmp_ordered(">", a, b), compares=True)
_register_operator(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b), compares=True)
_register_operator(operator.ge, lambda builder, a, b: builder.fcmp_ordered(">=", a, b), compares=True)
_register_operator(operator.le, lambda builder, a, b: builder.fcmp_ordered("<=", a, b), compares=True)
_register_operator(operator.eq, lambda builder, a, b: builder.fcmp_ordered("==", a, b), compares=True)


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

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = context.cast(builder, args[1], scalar, like.dtype)
        return broadcast(builder, value, num_lanes(like.dtype))

    return VectorType(like.dtype)(like, scalar), build


@intrinsic
def select(typingctx: Any, mask: Any, chosen: Any, other: Any) -> Any:
    """`chosen` where the mask is true, else `other`; one of the two may be a plain number."""
    vector = chosen if isinstance(chosen, VectorType) else other

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        chosen_v, other_v = (
            _as_vector(context, builder, a, kind, vector.dtype) for a, kind in ((args[1], chosen), (args[2], other))
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

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return sum_lanes(builder, args[0])

    return vector.dtype(vector), build


@intrinsic
def square_root(typingctx: Any, vector: Any) -> Any:
    """Correctly rounded."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_llvm(builder, "sqrt", args[0])

    return vector(vector), build


@intrinsic
def absolute(typingctx: Any, vector: Any) -> Any:
    """Without the sign."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_llvm(builder, "fabs", args[0])

    return vector(vector), build


@intrinsic
def with_sign(typingctx: Any, magnitude: Any, sign: Any) -> Any:
    """`magnitude` with the sign of `sign`."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_llvm(builder, "copysign", *args)

    return magnitude(magnitude, sign), build


@intrinsic
def bits_of(typingctx: Any, vector: Any) -> Any:
    """The bit pattern of every lane."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], bits_type(vector.dtype))

    return BitsType(vector.dtype)(vector), build


@intrinsic
def from_bits(typingctx: Any, bits: Any) -> Any:
    """The floats with these bit patterns."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], vector_type(bits.dtype))

    return VectorType(bits.dtype)(bits), build


def _register_bits_operator(function: Any, method: str) -> None:
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != 2 or not isinstance(args[0], BitsType):
                return None
            return signature(args[0], *args) if args[1] == args[0] or isinstance(args[1], types.Integer) else None

    infer_global(function)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        left, right = args
        if isinstance(sig.args[1], types.Integer):
            element = ir.IntType(sig.args[0].dtype.bitwidth)
            width = right.type.width
            right = builder.trunc(right, element) if width > element.width else builder.zext(right, element)
            right = broadcast(builder, right, sig.args[0].num_lanes)
        return getattr(builder, method)(left, right)

    lower_builtin(function, BitsType, BitsType)(lower)
    lower_builtin(function, BitsType, types.Integer)(lower)


for _function, _method in (
    (operator.add, "add"),
    (operator.sub, "sub"),
    (operator.mul, "mul"),
    (operator.and_, "and_"),
    (operator.or_, "or_"),
    (operator.xor, "xor"),
    (operator.lshift, "shl"),
    (operator.rshift, "lshr"),
):
    _register_bits_operator(_function, _method)


@intrinsic
def lane_numbers(typingctx: Any, array: Any) -> Any:
    """The integers 0, 1, 2, ... of the vectors of `array`."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(bits_type(array.dtype), list(range(num_lanes(array.dtype))))

    return BitsType(array.dtype)(array), build


@intrinsic
def at_least(typingctx: Any, bits: Any, threshold: Any) -> Any:
    """Mask of the lanes that, unsigned, are `threshold` or more."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = ir.IntType(bits.dtype.bitwidth)
        limit = args[1] if element.width == 64 else builder.trunc(args[1], element)
        return builder.icmp_unsigned(">=", args[0], broadcast(builder, limit, bits.num_lanes))

    return MaskType(bits.num_lanes)(bits, types.uint64), build


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
