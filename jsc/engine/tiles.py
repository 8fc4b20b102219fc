"""Matrix products over jets: small tiles whose sums stay in registers, written as LLVM code.

Numba has no way to say "these eight sums are registers", so these two loops are built instruction by instruction.
Activations are feature-major: row f of a block holds feature f of consecutive jets, `row_stride` elements apart.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from jsc.engine import vectors

MAX_ROWS = 5  # outputs a tile; five, because jets have five classes


def _register(builder: Any, kind: Any) -> Any:
    """A local variable that starts at zero; LLVM turns it into a register."""
    return cgutils.alloca_once_value(builder, ir.Constant(kind, [0.0] * kind.count))


def make_product_tile(num_rows: int, num_vectors: int) -> Any:
    """Compiled-code function: `num_rows` rows of y = W x, over `num_vectors` vectors of jets.

    W's element (row, k) lies at `weights[weight + row * weight_row + k * weight_k]`, so that the transpose is a
    change of strides; `depth` is the number of k.
    """

    @intrinsic  # type: ignore[untyped-decorator]  # Numba publishes no types
    def tile(
        typingctx: Any,
        weights: Any,
        weight: Any,
        weight_row: Any,
        weight_k: Any,
        depth: Any,
        x_array: Any,
        x: Any,
        y: Any,
        row_stride: Any,
    ) -> Any:
        dtype = x_array.dtype

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            weights_v, weight_v, weight_row_v, weight_k_v, depth_v, x_array_v, x_v, y_v, stride_v = args
            word = weight_v.type
            vector = vectors.vector_type(dtype)
            sums = [[_register(builder, vector) for _ in range(num_vectors)] for _ in range(num_rows)]
            first = vectors.element_pointer(context, builder, weights, weights_v, weight_v)
            rows = [builder.gep(first, [builder.mul(weight_row_v, word(r))]) for r in range(num_rows)]
            x_first = vectors.element_pointer(context, builder, x_array, x_array_v, x_v)
            with cgutils.for_range(builder, depth_v) as loop:
                k_row = builder.gep(x_first, [builder.mul(loop.index, stride_v)])
                x_vectors = [
                    vectors.load_vector(builder, builder.gep(k_row, [word(v * vector.count)]), dtype)
                    for v in range(num_vectors)
                ]
                at_k = builder.mul(loop.index, weight_k_v)
                for r in range(num_rows):
                    w = vectors.broadcast(builder, builder.load(builder.gep(rows[r], [at_k])), vector.count)
                    for v in range(num_vectors):
                        total = vectors.call_llvm(builder, "fmuladd", w, x_vectors[v], builder.load(sums[r][v]))
                        builder.store(total, sums[r][v])
            y_first = vectors.element_pointer(context, builder, x_array, x_array_v, y_v)
            for r in range(num_rows):
                row = builder.gep(y_first, [builder.mul(stride_v, word(r))])
                for v in range(num_vectors):
                    pointer = builder.gep(row, [word(v * vector.count)])
                    vectors.store_vector(builder, pointer, dtype, builder.load(sums[r][v]))
            return context.get_dummy_value()

        word = types.intp
        return types.void(weights, word, word, word, word, x_array, word, word, word), build

    return tile


def make_gradient_tile(num_rows: int, num_columns: int) -> Any:
    """Compiled-code function: add sum over jets of dy[row] x[column] to `num_rows` times `num_columns` of W's gradient.

    `gradient[at + row * gradient_row + column]` is W's element; `num_vectors` vectors of jets are summed over.
    """

    @intrinsic  # type: ignore[untyped-decorator]  # Numba publishes no types
    def tile(
        typingctx: Any,
        gradients: Any,
        at: Any,
        gradient_row: Any,
        work: Any,
        dy: Any,
        x: Any,
        row_stride: Any,
        num_vectors: Any,
    ) -> Any:
        dtype = work.dtype

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            gradients_v, at_v, gradient_row_v, work_v, dy_v, x_v, stride_v, num_vectors_v = args
            word = at_v.type
            vector = vectors.vector_type(dtype)
            sums = [[_register(builder, vector) for _ in range(num_columns)] for _ in range(num_rows)]
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
                        total = vectors.call_llvm(builder, "fmuladd", dy_vector, x_vectors[c], builder.load(sums[r][c]))
                        builder.store(total, sums[r][c])
            first = vectors.element_pointer(context, builder, gradients, gradients_v, at_v)
            for r in range(num_rows):
                row = builder.gep(first, [builder.mul(gradient_row_v, word(r))])
                for c in range(num_columns):
                    pointer = builder.gep(row, [word(c)])
                    total = vectors.sum_lanes(builder, builder.load(sums[r][c]))
                    builder.store(builder.fadd(builder.load(pointer), total), pointer)
            return context.get_dummy_value()

        word = types.intp
        return types.void(gradients, word, word, work, word, word, word, word), build

    return tile
