"""Matrix products over jets, and the transpose that brings jets in: small tiles that stay in registers.

Numba has no way to say "these sixteen sums are registers", so these loops are built instruction by instruction.
Activations are feature-major: row f of a block holds feature f of consecutive jets, `stride` elements from row to row.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jsc.engine import vectors
from jsc.engine.vectors import pick

WORD = types.intp


def make_product_tile(num_rows: int, num_vectors: int) -> Any:
    """Compiled-code function: `num_rows` rows of y = f(W x + b), over `num_vectors` vectors of jets.

    W's element (row, k) lies at `theta[weight + row * weight_row + k * weight_k]`, so that the transpose is a change
    of strides; `depth` is the number of k; b begins at `theta[bias]`, or is 0 without `has_bias`. f multiplies what is
    not positive with `negative_slope`: 1 changes nothing, 0 is a ReLU.
    """

    @intrinsic
    def tile(
        typingctx: Any, theta: Any, weight: Any, weight_row: Any, weight_k: Any, depth: Any, has_bias: Any, bias: Any,
        negative_slope: Any, work: Any, x: Any, y: Any, stride: Any,
    ) -> Any:  # fmt: skip
        dtype = work.dtype

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            theta_v, weight_v, weight_row_v, weight_k_v, depth_v, has_bias_v, bias_v, slope_v, *rest = args
            work_v, x_v, y_v, stride_v = rest
            word, vector = weight_v.type, vectors.vector_type(dtype)
            lanes = vector.count
            first = vectors.element_pointer(context, builder, theta, theta_v, weight_v)
            rows = [builder.gep(first, [builder.mul(weight_row_v, word(r))]) for r in range(num_rows)]
            x_first = vectors.element_pointer(context, builder, work, work_v, x_v)
            y_first = vectors.element_pointer(context, builder, work, work_v, y_v)
            sums = []
            for r in range(num_rows):
                at = builder.add(bias_v, word(r))  # some element, where there is no bias
                b = builder.load(vectors.element_pointer(context, builder, theta, theta_v, at))
                start = builder.select(has_bias_v, b, ir.Constant(b.type, 0.0))
                start_vector = vectors.broadcast(builder, start, lanes)
                sums.append([cgutils.alloca_once_value(builder, start_vector) for _ in range(num_vectors)])
            with cgutils.for_range(builder, depth_v) as loop:
                k_row = builder.gep(x_first, [builder.mul(loop.index, stride_v)])
                x_vectors = [
                    vectors.load_vector(builder, builder.gep(k_row, [word(v * lanes)]), dtype)
                    for v in range(num_vectors)
                ]
                at_k = builder.mul(loop.index, weight_k_v)
                for r in range(num_rows):
                    w = vectors.broadcast(builder, builder.load(builder.gep(rows[r], [at_k])), lanes)
                    for v in range(num_vectors):
                        total = vectors.call_llvm(builder, "fmuladd", w, x_vectors[v], builder.load(sums[r][v]))
                        builder.store(total, sums[r][v])
            zeros = ir.Constant(vector, [0.0] * lanes)
            slopes = vectors.broadcast(builder, context.cast(builder, slope_v, types.float64, dtype), lanes)
            for r in range(num_rows):
                row = builder.gep(y_first, [builder.mul(stride_v, word(r))])
                for v in range(num_vectors):
                    total = builder.load(sums[r][v])
                    small = builder.fcmp_ordered("<=", total, zeros)
                    total = builder.select(small, builder.fmul(total, slopes), total)
                    vectors.store_vector(builder, builder.gep(row, [word(v * lanes)]), dtype, total)
            return context.get_dummy_value()

        matrix = (theta, WORD, WORD, WORD, WORD, types.boolean, WORD)
        return types.void(*matrix, types.float64, work, WORD, WORD, WORD), build

    return tile


def make_gradient_tile(num_rows: int, num_columns: int) -> Any:
    """Compiled-code function: add sum over jets of dy[row] x[column] to `num_rows` times `num_columns` of W's gradient.

    `gradient[at + row * gradient_row + column]` is W's element; `num_vectors` vectors of jets are summed over.
    """

    @intrinsic
    def tile(
        typingctx: Any, gradient: Any, at: Any, gradient_row: Any, work: Any, dy: Any, x: Any, stride: Any,
        num_vectors: Any,
    ) -> Any:  # fmt: skip
        dtype = work.dtype

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            gradient_v, at_v, gradient_row_v, work_v, dy_v, x_v, stride_v, num_vectors_v = args
            word, vector = at_v.type, vectors.vector_type(dtype)
            zeros = ir.Constant(vector, [0.0] * vector.count)
            sums = [cgutils.alloca_once_value(builder, zeros) for _ in range(num_rows * num_columns)]
            dy_first = vectors.element_pointer(context, builder, work, work_v, dy_v)
            x_first = vectors.element_pointer(context, builder, work, work_v, x_v)
            dy_rows = [builder.gep(dy_first, [builder.mul(stride_v, word(r))]) for r in range(num_rows)]
            x_rows = [builder.gep(x_first, [builder.mul(stride_v, word(c))]) for c in range(num_columns)]
            with cgutils.for_range(builder, num_vectors_v) as loop:
                jets = builder.mul(loop.index, word(vector.count))
                x_vectors = [vectors.load_vector(builder, builder.gep(p, [jets]), dtype) for p in x_rows]
                for r in range(num_rows):
                    dy_vector = vectors.load_vector(builder, builder.gep(dy_rows[r], [jets]), dtype)
                    for c in range(num_columns):
                        place = sums[r * num_columns + c]
                        total = vectors.call_llvm(builder, "fmuladd", dy_vector, x_vectors[c], builder.load(place))
                        builder.store(total, place)
            first = vectors.element_pointer(context, builder, gradient, gradient_v, at_v)
            rows_at_once = min(num_rows, vector.count // num_columns)
            for r in range(0, num_rows, rows_at_once):
                places = sums[r * num_columns : (r + rows_at_once) * num_columns]
                totals = _sums_of_each(builder, [builder.load(place) for place in places])
                for s in range(rows_at_once):
                    pointer = builder.gep(first, [builder.mul(gradient_row_v, word(r + s))])
                    row = pick(builder, totals, totals, range(s * num_columns, (s + 1) * num_columns))
                    pointer = builder.bitcast(pointer, row.type.as_pointer())
                    before = builder.load(pointer)
                    before.align = dtype.bitwidth // 8
                    builder.store(builder.fadd(before, row), pointer, align=dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(gradient, WORD, WORD, work, WORD, WORD, WORD, WORD), build

    return tile


def _sums_of_each(builder: Any, parts: list[Any]) -> Any:
    """The vector whose lane i is the sum of the lanes of `parts[i]`; the number of parts is a power of two.

    Two vectors of four lanes, [a0 a1 a2 a3] and [b0 b1 b2 b3], become [a0+a2 a1+a3 b0+b2 b1+b3], and so on.
    """
    length = parts[0].type.count  # of each sum's run of lanes
    while length > 1:
        half = length // 2
        pairs = [(parts[0], parts[0])] if len(parts) == 1 else list(zip(parts[::2], parts[1::2], strict=True))
        lanes = parts[0].type.count * (2 if len(parts) > 1 else 1)
        low = [lane for lane in range(lanes) if lane % length < half]
        parts = [
            builder.fadd(pick(builder, a, b, low), pick(builder, a, b, [lane + half for lane in low])) for a, b in pairs
        ]
        length = half
    return parts[0]


@intrinsic
def transpose(
    typingctx: Any, x: Any, rows: Any, at: Any, last: Any, shift: Any, num_features: Any, feature: Any, work: Any,
    y: Any, stride: Any,
) -> Any:  # fmt: skip
    """Copy one vector's worth of features, from `feature` on, of one vector's worth of jets into rows of `work`.

    The jets are rows `rows[at] + shift`, `rows[at + 1] + shift`, ... of the table x; past `last`, that jet again.
    """
    dtype = work.dtype

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x_v, rows_v, at_v, last_v, shift_v, num_features_v, feature_v, work_v, y_v, stride_v = args
        word, num_lanes = at_v.type, vectors.num_lanes(dtype)
        parts = []
        for lane in range(num_lanes):
            jet = builder.add(at_v, word(lane))
            jet = builder.select(builder.icmp_signed("<", jet, last_v), jet, last_v)
            row = builder.add(builder.load(vectors.element_pointer(context, builder, rows, rows_v, jet)), shift_v)
            start = builder.add(builder.mul(row, num_features_v), feature_v)
            parts.append(vectors.load_vector(builder, vectors.element_pointer(context, builder, x, x_v, start), dtype))
        half = num_lanes // 2
        while half:  # swap the off-diagonal quarters of every square of 2 * half lanes
            low = [i + num_lanes * (i % (2 * half) >= half) - half * (i % (2 * half) >= half) for i in range(num_lanes)]
            high = [lane + half for lane in low]
            swapped = list(parts)
            for i in range(num_lanes):
                if i % (2 * half) < half:
                    swapped[i] = pick(builder, parts[i], parts[i + half], low)
                    swapped[i + half] = pick(builder, parts[i], parts[i + half], high)
            parts, half = swapped, half // 2
        first = vectors.element_pointer(context, builder, work, work_v, y_v)
        for lane, part in enumerate(parts):
            vectors.store_vector(builder, builder.gep(first, [builder.mul(stride_v, word(lane))]), dtype, part)
        return context.get_dummy_value()

    return types.void(x, rows, WORD, WORD, WORD, WORD, WORD, work, WORD, WORD), build
