"""The compiled loops: what each layer does to a block of jets, the optimizers, and `train` and `evaluate` over them.

One compilation a dtype serves every network, optimizer and loss, because the layers come as the tables of
`jsc.engine.program`, read at run time. A batch is cut into blocks of jets that fit the nearest caches. Everything
about one block lies together in `work`: rows of `stride` jets, a row for the labels, then a row for each feature of
each activation and gradient; `base` is where a block begins, and a layer's X, Y, DX, DY are row numbers in it. Between
two BatchNorms, which need the whole batch, a block goes through all layers before the next block starts.

The lanes of a block's last vector that hold no jet are labelled -1 and have zero gradients.

Adding a layer: a kind in `program`, then a branch in `_forward` and one in `_backward`.
"""

from typing import Any

import numpy as np
from numba import njit

from jsc.engine import program as p
from jsc.engine.elementary import erf, exp, log, logistic, tanh
from jsc.engine.tiles import MAX_ROWS, make_gradient_tile, make_product_tile
from jsc.engine.vectors import (
    at_least,
    first_lanes,
    lane_numbers,
    lanes,
    load,
    prefetch,
    select,
    splat,
    square_root,
    store,
    total,
)

STATUS_DONE, STATUS_BAD_ROW, STATUS_BAD_LABEL = 0, 1, 2
PREFETCH_DISTANCE = 192  # jets; far enough to hide main memory, near enough to stay in the first caches

compiled = njit(nogil=True, error_model="numpy")

_product_1x2, _product_2x2, _product_3x2, _product_4x2, _product_5x2 = (
    make_product_tile(rows, 2) for rows in range(1, MAX_ROWS + 1)
)
_product_1x1, _product_2x1, _product_3x1, _product_4x1, _product_5x1 = (
    make_product_tile(rows, 1) for rows in range(1, MAX_ROWS + 1)
)
_gradient_1x4, _gradient_2x4, _gradient_3x4, _gradient_4x4 = (make_gradient_tile(rows, 4) for rows in range(1, 5))
_gradient_1x1, _gradient_4x1 = make_gradient_tile(1, 1), make_gradient_tile(4, 1)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _product(
    theta: Any, weight: int, weight_row: int, weight_k: int, num_rows: int, depth: int,
    work: Any, x: int, y: int, stride: int, num_vectors: int,
) -> None:  # fmt: skip
    """y = W x for one block; W[row, k] is `theta[weight + row * weight_row + k * weight_k]`."""
    size = lanes(work)
    vector = 0
    while vector < num_vectors:
        two = num_vectors - vector >= 2
        row = 0
        while row < num_rows:
            left = num_rows - row
            now = left if left <= MAX_ROWS else (3 if left == 6 else 4)
            w = weight + row * weight_row
            x_at = x + vector * size
            y_at = y + row * stride + vector * size
            if two:
                if now == 4:
                    _product_4x2(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
                elif now == 5:
                    _product_5x2(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
                elif now == 3:
                    _product_3x2(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
                elif now == 2:
                    _product_2x2(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
                else:
                    _product_1x2(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
            elif now == 4:
                _product_4x1(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
            elif now == 5:
                _product_5x1(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
            elif now == 3:
                _product_3x1(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
            elif now == 2:
                _product_2x1(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
            else:
                _product_1x1(theta, w, weight_row, weight_k, depth, work, x_at, y_at, stride)
            row += now
        vector += 2 if two else 1


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _weight_gradient(
    gradient: Any, weight: int, num_out: int, num_in: int, work: Any, dy: int, x: int, stride: int, num_vectors: int
) -> None:
    """Add dy x^T of one block to W's gradient."""
    row = 0
    while row < num_out:
        left = num_out - row
        now = 3 if left in (3, 5, 6) else min(left, 4)
        dy_at = dy + row * stride
        column = 0
        while column < num_in:
            at = weight + row * num_in + column
            x_at = x + column * stride
            if num_in - column >= 4:
                if now == 4:
                    _gradient_4x4(gradient, at, num_in, work, dy_at, x_at, stride, num_vectors)
                elif now == 3:
                    _gradient_3x4(gradient, at, num_in, work, dy_at, x_at, stride, num_vectors)
                elif now == 2:
                    _gradient_2x4(gradient, at, num_in, work, dy_at, x_at, stride, num_vectors)
                else:
                    _gradient_1x4(gradient, at, num_in, work, dy_at, x_at, stride, num_vectors)
                column += 4
            else:
                if now == 4:
                    _gradient_4x1(gradient, at, num_in, work, dy_at, x_at, stride, num_vectors)
                else:
                    for r in range(now):
                        _gradient_1x1(
                            gradient, at + r * num_in, num_in, work, dy_at + r * stride, x_at, stride, num_vectors
                        )
                column += 1
        row += now


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _gather(
    x: Any, labels: Any, rows: Any, first: int, count: int, num_features: int, work: Any, base: int, x_row: int,
    stride: int,
) -> None:  # fmt: skip
    """Bring jets `rows[first:first + count]` (or, if `rows` is empty, those very rows) into a block, transposed."""
    x_at = base + x_row * stride
    num_rows = len(rows)
    for jet in range(count):
        row = rows[first + jet] if num_rows > 0 else first + jet
        ahead = first + jet + PREFETCH_DISTANCE
        if ahead < num_rows:
            start = rows[ahead] * num_features
            prefetch(x, start)
            prefetch(x, start + num_features - 1)
        work[np.uint64(base + jet)] = labels[np.uint64(row)]
        for feature in range(num_features):
            work[np.uint64(x_at + feature * stride + jet)] = x[np.uint64(row * num_features + feature)]
    size = lanes(work)
    for jet in range(count, (count + size - 1) // size * size):
        work[np.uint64(base + jet)] = -1
        for feature in range(num_features):
            work[np.uint64(x_at + feature * stride + jet)] = 0


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _activation(kind: int, slope: float, y: Any) -> Any:
    """What follows a Linear or a BatchNorm within the same loop."""
    if kind == p.RELU:
        return select(y <= 0.0, 0.0, y)  # NaN stays NaN
    return select(y > 0.0, y, y * slope)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _batch_norm_apply(
    ops: Any, constants: Any, k: int, theta: Any, stats: Any, work: Any, base: int, stride: int, num_vectors: int
) -> None:
    width = ops[k, p.NUM_OUT]
    weight, bias, at = ops[k, p.WEIGHT], ops[k, p.BIAS], ops[k, p.STATS]
    activation, slope = ops[k, p.ACTIVATION], constants[k, p.SLOPE]
    size = lanes(work)
    for feature in range(width):
        mean, inverse = stats[at + p.MEAN * width + feature], stats[at + p.INVERSE * width + feature]
        scale_1 = inverse * theta[weight + feature] if weight >= 0 else inverse
        shift_1 = theta[bias + feature] - mean * scale_1 if bias >= 0 else -mean * scale_1
        scale, shift = splat(work, scale_1), splat(work, shift_1)
        x = base + (ops[k, p.X] + feature) * stride
        y = base + (ops[k, p.Y] + feature) * stride
        if activation == p.NONE:
            for jet in range(0, num_vectors * size, size):
                store(work, y + jet, load(work, x + jet) * scale + shift)
        elif activation == p.RELU:
            for jet in range(0, num_vectors * size, size):
                store(work, y + jet, _activation(p.RELU, slope, load(work, x + jet) * scale + shift))
        else:
            for jet in range(0, num_vectors * size, size):
                store(work, y + jet, _activation(p.LEAKY_RELU, slope, load(work, x + jet) * scale + shift))


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _batch_norm_block(
    ops: Any, k: int, stats: Any, work: Any, base: int, stride: int, count: int, num_before: int
) -> None:
    """Merge a block's mean and sum of squared deviations into the batch's (Chan, Golub and LeVeque 1983)."""
    width, at = ops[k, p.NUM_OUT], ops[k, p.STATS]
    size = lanes(work)
    whole = count // size * size
    num_now = num_before + count
    for feature in range(width):
        x = base + (ops[k, p.X] + feature) * stride
        sums = splat(work, 0.0)
        for jet in range(0, whole, size):
            sums = sums + load(work, x + jet)
        if whole < count:
            sums = sums + first_lanes(load(work, x + whole), count - whole)
        mean = np.float64(total(sums)) / count
        centre = splat(work, mean)
        squares = splat(work, 0.0)
        for jet in range(0, whole, size):
            deviation = load(work, x + jet) - centre
            squares = squares + deviation * deviation
        if whole < count:
            deviation = first_lanes(load(work, x + whole) - centre, count - whole)
            squares = squares + deviation * deviation
        square = np.float64(total(squares))
        if num_before > 0:
            before = stats[at + p.MEAN * width + feature]
            delta = mean - before
            mean = before + delta * count / num_now
            square += stats[at + p.SQUARES * width + feature] + delta * delta * num_before * count / num_now
        stats[at + p.MEAN * width + feature] = mean
        stats[at + p.SQUARES * width + feature] = square


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _batch_norm_finish(
    ops: Any, constants: Any, k: int, stats: Any, running: Any, tracked: Any, step: int, num_jets: int
) -> None:
    """Batch statistics are complete: the inverse deviation, and the running statistics' update."""
    width, at, run = ops[k, p.NUM_OUT], ops[k, p.STATS], ops[k, p.RUNNING]
    momentum = constants[k, p.MOMENTUM]
    if momentum < 0.0:  # BatchNorm1d(momentum=None): the mean over all batches so far
        momentum = 1.0 / (tracked[ops[k, p.TRACKED]] + step + 1)
    for feature in range(width):
        square = stats[at + p.SQUARES * width + feature]
        stats[at + p.INVERSE * width + feature] = 1.0 / np.sqrt(square / num_jets + constants[k, p.EPS])
        stats[at + p.SUM_DY * width + feature] = 0.0
        stats[at + p.SUM_DYX * width + feature] = 0.0
        mean_at, var_at = run + feature, run + width + feature
        running[mean_at] = (1.0 - momentum) * running[mean_at] + momentum * stats[at + p.MEAN * width + feature]
        running[var_at] = (1.0 - momentum) * running[var_at] + momentum * (square / (num_jets - 1))


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _batch_norm_backward_sums(
    ops: Any, constants: Any, k: int, stats: Any, work: Any, base: int, stride: int, num_vectors: int
) -> None:
    """Sums over a block of dy and of dy times the deviation; dy goes through the fused activation on the way."""
    width, at = ops[k, p.NUM_OUT], ops[k, p.STATS]
    activation, slope = ops[k, p.ACTIVATION], constants[k, p.SLOPE]
    size = lanes(work)
    for feature in range(width):
        x = base + (ops[k, p.X] + feature) * stride
        y = base + (ops[k, p.Y] + feature) * stride
        dy = base + (ops[k, p.DY] + feature) * stride
        centre = splat(work, stats[at + p.MEAN * width + feature])
        sum_dy, sum_dyx = splat(work, 0.0), splat(work, 0.0)
        for jet in range(0, num_vectors * size, size):
            slope_in = load(work, dy + jet)
            if activation != p.NONE:
                slope_in = select(load(work, y + jet) <= 0.0, slope_in * slope, slope_in)
                store(work, dy + jet, slope_in)
            sum_dy = sum_dy + slope_in
            sum_dyx = sum_dyx + slope_in * (load(work, x + jet) - centre)
        stats[at + p.SUM_DY * width + feature] += total(sum_dy)
        stats[at + p.SUM_DYX * width + feature] += total(sum_dyx)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _batch_norm_gradient(ops: Any, k: int, stats: Any, gradient: Any) -> None:
    width, at, weight, bias = ops[k, p.NUM_OUT], ops[k, p.STATS], ops[k, p.WEIGHT], ops[k, p.BIAS]
    for feature in range(width):
        if weight >= 0:
            inverse = stats[at + p.INVERSE * width + feature]
            gradient[weight + feature] = stats[at + p.SUM_DYX * width + feature] * inverse
        if bias >= 0:
            gradient[bias + feature] = stats[at + p.SUM_DY * width + feature]


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _batch_norm_backward_apply(
    ops: Any, k: int, theta: Any, stats: Any, work: Any, base: int, stride: int, count: int, num_jets: int
) -> None:
    """dx = w / sigma (dy - mean(dy) - x_hat mean(dy x_hat)), in place of dy."""
    width, at, weight = ops[k, p.NUM_OUT], ops[k, p.STATS], ops[k, p.WEIGHT]
    size = lanes(work)
    whole = count // size * size
    for feature in range(width):
        inverse = stats[at + p.INVERSE * width + feature]
        scale_1 = inverse * theta[weight + feature] if weight >= 0 else inverse
        mean_dyx = stats[at + p.SUM_DYX * width + feature] / num_jets
        scale = splat(work, scale_1)
        centre = splat(work, stats[at + p.MEAN * width + feature])
        along_x = splat(work, -scale_1 * inverse * inverse * mean_dyx)
        shift = splat(work, -scale_1 * (stats[at + p.SUM_DY * width + feature] / num_jets))
        x = base + (ops[k, p.X] + feature) * stride
        dy = base + (ops[k, p.DY] + feature) * stride
        for jet in range(0, whole, size):
            dx = load(work, dy + jet) * scale + ((load(work, x + jet) - centre) * along_x + shift)
            store(work, dy + jet, dx)
        if whole < count:
            dx = load(work, dy + whole) * scale + ((load(work, x + whole) - centre) * along_x + shift)
            store(work, dy + whole, first_lanes(dx, count - whole))


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _linear(ops: Any, constants: Any, k: int, theta: Any, work: Any, base: int, stride: int, num_vectors: int) -> None:
    num_in, num_out, bias = ops[k, p.NUM_IN], ops[k, p.NUM_OUT], ops[k, p.BIAS]
    activation, slope = ops[k, p.ACTIVATION], constants[k, p.SLOPE]
    x, y = base + ops[k, p.X] * stride, base + ops[k, p.Y] * stride
    _product(theta, ops[k, p.WEIGHT], num_in, 1, num_out, num_in, work, x, y, stride, num_vectors)
    if bias < 0 and activation == p.NONE:
        return
    size = lanes(work)
    for feature in range(num_out):
        shift = splat(work, theta[bias + feature] if bias >= 0 else 0.0)
        row = y + feature * stride
        if activation == p.NONE:
            for jet in range(0, num_vectors * size, size):
                store(work, row + jet, load(work, row + jet) + shift)
        elif activation == p.RELU:
            for jet in range(0, num_vectors * size, size):
                store(work, row + jet, _activation(p.RELU, slope, load(work, row + jet) + shift))
        else:
            for jet in range(0, num_vectors * size, size):
                store(work, row + jet, _activation(p.LEAKY_RELU, slope, load(work, row + jet) + shift))


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _linear_backward(
    ops: Any, constants: Any, k: int, theta: Any, gradient: Any, work: Any, base: int, stride: int, num_vectors: int
) -> None:
    num_in, num_out = ops[k, p.NUM_IN], ops[k, p.NUM_OUT]
    weight, bias = ops[k, p.WEIGHT], ops[k, p.BIAS]
    activation, slope = ops[k, p.ACTIVATION], constants[k, p.SLOPE]
    x, y, dy = base + ops[k, p.X] * stride, base + ops[k, p.Y] * stride, base + ops[k, p.DY] * stride
    size = lanes(work)
    if bias >= 0 or activation != p.NONE:
        for feature in range(num_out):
            sum_dy = splat(work, 0.0)
            row = feature * stride
            for jet in range(row, row + num_vectors * size, size):
                slope_in = load(work, dy + jet)
                if activation != p.NONE:
                    slope_in = select(load(work, y + jet) <= 0.0, slope_in * slope, slope_in)
                    store(work, dy + jet, slope_in)
                sum_dy = sum_dy + slope_in
            if bias >= 0:
                gradient[bias + feature] += total(sum_dy)
    _weight_gradient(gradient, weight, num_out, num_in, work, dy, x, stride, num_vectors)
    if ops[k, p.NEEDS_DX]:
        dx = base + ops[k, p.DX] * stride
        _product(theta, weight, 1, num_in, num_in, num_out, work, dy, dx, stride, num_vectors)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _gelu_slope(kind: int, x: Any) -> Any:
    if kind == p.GELU:
        return (erf(x * np.sqrt(0.5)) + 1.0) * 0.5 + x * exp(x * x * -0.5) * (1.0 / np.sqrt(2.0 * np.pi))
    cubic = x * x * x * 0.044715
    inner = tanh((x + cubic) * np.sqrt(2.0 / np.pi))
    inner_slope = (x * x * (3.0 * 0.044715) + 1.0) * np.sqrt(2.0 / np.pi)
    return (inner + 1.0) * 0.5 + x * 0.5 * (1.0 - inner * inner) * inner_slope


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _elementwise(ops: Any, constants: Any, k: int, work: Any, base: int, stride: int, num_vectors: int) -> None:
    """An activation that stands alone."""
    kind, slope = ops[k, p.KIND], constants[k, p.SLOPE]
    size = lanes(work)
    for feature in range(ops[k, p.NUM_OUT]):
        x = base + (ops[k, p.X] + feature) * stride
        y = base + (ops[k, p.Y] + feature) * stride
        for jet in range(0, num_vectors * size, size):
            value = load(work, x + jet)
            if kind == p.RELU:
                value = select(value <= 0.0, 0.0, value)
            elif kind == p.LEAKY_RELU:
                value = select(value > 0.0, value, value * slope)
            elif kind == p.TANH:
                value = tanh(value)
            elif kind == p.SIGMOID:
                value = logistic(value)
            elif kind == p.GELU:
                value = value * 0.5 * (erf(value * np.sqrt(0.5)) + 1.0)
            else:
                inner = tanh((value + value * value * value * 0.044715) * np.sqrt(2.0 / np.pi))
                value = value * 0.5 * (inner + 1.0)
            store(work, y + jet, value)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _elementwise_backward(
    ops: Any, constants: Any, k: int, work: Any, base: int, stride: int, num_vectors: int
) -> None:
    kind, slope = ops[k, p.KIND], constants[k, p.SLOPE]
    size = lanes(work)
    for feature in range(ops[k, p.NUM_OUT]):
        x = base + (ops[k, p.X] + feature) * stride
        y = base + (ops[k, p.Y] + feature) * stride
        dy = base + (ops[k, p.DY] + feature) * stride
        for jet in range(0, num_vectors * size, size):
            value = load(work, dy + jet)
            if kind == p.RELU:
                value = select(load(work, x + jet) <= 0.0, 0.0, value)
            elif kind == p.LEAKY_RELU:
                value = select(load(work, x + jet) > 0.0, value, value * slope)
            elif kind == p.TANH:
                after = load(work, y + jet)
                value = value * (1.0 - after * after)
            elif kind == p.SIGMOID:
                after = load(work, y + jet)
                value = value * ((1.0 - after) * after)
            else:
                value = value * _gelu_slope(kind, load(work, x + jet))
            store(work, dy + jet, value)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _mix(bits: Any) -> Any:
    """See `jsc.engine.dropout.mix`, which says where this is from; arithmetic modulo 2^32."""
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    bits = (bits ^ (bits >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return bits ^ (bits >> 16)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _mix_64(key: Any) -> Any:
    """See `jsc.engine.dropout.mix_64`."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _dropout(
    ops: Any, constants: Any, k: int, seed: Any, step: int, work: Any, base: int, stride: int, first: int,
    num_vectors: int,
) -> None:  # fmt: skip
    """y = x times 0 or 1 / (1 - rate); the factor is kept for the way back. `first` is the block's first jet."""
    width, rate = ops[k, p.NUM_OUT], constants[k, p.RATE]
    key = _mix_64(_mix_64(_mix_64(seed) + np.uint64(step)) + np.uint64(ops[k, p.DROPOUT]))
    low, high = key & np.uint64(0xFFFFFFFF), key >> np.uint64(32)
    threshold = np.uint64(min(np.rint(rate * 2.0**32), 2.0**32 - 1.0))
    factor = 1.0 / (1.0 - rate) if rate < 1.0 else 0.0
    size = lanes(work)
    for feature in range(width):
        x = base + (ops[k, p.X] + feature) * stride
        y = base + (ops[k, p.Y] + feature) * stride
        kept = base + (ops[k, p.MASK] + feature) * stride
        for jet in range(0, num_vectors * size, size):
            element = (lane_numbers(work) + (first + jet)) * width + feature
            bits = _mix(_mix((element + low) & 0xFFFFFFFF) ^ high)
            multiplier = select(at_least(bits, threshold), splat(work, factor), 0.0)
            store(work, kept + jet, multiplier)
            store(work, y + jet, load(work, x + jet) * multiplier)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _dropout_backward(ops: Any, k: int, work: Any, base: int, stride: int, num_vectors: int) -> None:
    size = lanes(work)
    for feature in range(ops[k, p.NUM_OUT]):
        kept = base + (ops[k, p.MASK] + feature) * stride
        dy = base + (ops[k, p.DY] + feature) * stride
        for jet in range(0, num_vectors * size, size):
            store(work, dy + jet, load(work, dy + jet) * load(work, kept + jet))


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _forward(
    ops: Any, constants: Any, k: int, theta: Any, stats: Any, seed: Any, step: int, training: bool, work: Any,
    base: int, stride: int, first: int, num_vectors: int,
) -> None:  # fmt: skip
    kind = ops[k, p.KIND]
    if kind == p.LINEAR:
        _linear(ops, constants, k, theta, work, base, stride, num_vectors)
    elif kind == p.BATCH_NORM:
        _batch_norm_apply(ops, constants, k, theta, stats, work, base, stride, num_vectors)
    elif kind == p.DROPOUT_KIND:
        if training:
            _dropout(ops, constants, k, seed, step, work, base, stride, first, num_vectors)
        else:
            size = lanes(work)
            for feature in range(ops[k, p.NUM_OUT]):
                x = base + (ops[k, p.X] + feature) * stride
                y = base + (ops[k, p.Y] + feature) * stride
                for jet in range(0, num_vectors * size, size):
                    store(work, y + jet, load(work, x + jet))
    else:
        _elementwise(ops, constants, k, work, base, stride, num_vectors)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _backward(
    ops: Any, constants: Any, k: int, theta: Any, gradient: Any, stats: Any, work: Any, base: int, stride: int,
    num_vectors: int,
) -> None:  # fmt: skip
    kind = ops[k, p.KIND]
    if kind == p.LINEAR:
        _linear_backward(ops, constants, k, theta, gradient, work, base, stride, num_vectors)
    elif kind == p.BATCH_NORM:  # the second half waits for the whole batch
        _batch_norm_backward_sums(ops, constants, k, stats, work, base, stride, num_vectors)
    elif kind == p.DROPOUT_KIND:
        _dropout_backward(ops, k, work, base, stride, num_vectors)
    else:
        _elementwise_backward(ops, constants, k, work, base, stride, num_vectors)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _cross_entropy(
    num_classes: int, class_weights: Any, smoothing: float, total_weight: float, work: Any, base: int, stride: int,
    logits: int, dlogits: int, num_vectors: int,
) -> tuple[float, int]:  # fmt: skip
    """(loss, number predicted right) of a block; leaves the loss's gradient in `dlogits`.

    With the targets t_c = (1 - s) w_y [c = y] + s w_c / C, the loss is sum_c -t_c log p_c / total_weight.
    """
    size = lanes(work)
    smooth = smoothing / num_classes / total_weight
    all_weights = 0.0
    for c in range(num_classes):
        all_weights += class_weights[c]
    losses, right = splat(work, 0.0), splat(work, 0.0)
    for jet in range(base, base + num_vectors * size, size):
        label = load(work, jet)
        is_jet = label >= 0.0
        largest = load(work, jet + logits * stride)
        predicted = splat(work, 0.0)
        weight = splat(work, class_weights[0])
        for c in range(1, num_classes):
            logit = load(work, jet + (logits + c) * stride)
            larger = logit > largest
            largest = select(larger, logit, largest)
            predicted = select(larger, splat(work, c), predicted)
            weight = select(label == splat(work, c), splat(work, class_weights[c]), weight)
        sum_exp = splat(work, 0.0)
        for c in range(num_classes):
            power = exp(load(work, jet + (logits + c) * stride) - largest)
            store(work, jet + (dlogits + c) * stride, power)
            sum_exp = sum_exp + power
        log_sum = log(sum_exp) + largest
        on_label = select(is_jet, weight * ((1.0 - smoothing) / total_weight), 0.0)
        scale = select(is_jet, (on_label + smooth * all_weights) / sum_exp, 0.0)
        for c in range(num_classes):
            at = jet + (dlogits + c) * stride
            is_label = label == splat(work, c)
            slope = load(work, at) * scale - select(is_label, on_label, 0.0)
            surprise = log_sum - load(work, jet + (logits + c) * stride)
            losses = losses + select(is_label, on_label * surprise, 0.0)
            if smoothing > 0.0:
                slope = slope - select(is_jet, splat(work, smooth * class_weights[c]), 0.0)
                losses = losses + select(is_jet, surprise * (smooth * class_weights[c]), 0.0)
            store(work, at, slope)
        right = right + select(predicted == label, splat(work, 1.0), 0.0)
    return np.float64(total(losses)), np.int64(total(right))


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _adam(
    theta: Any, gradient: Any, moment_1: Any, moment_2: Any, hyper: Any, decoupled: bool, lr: float, step: int
) -> None:
    beta_1, beta_2, eps, decay = hyper[0], hyper[1], hyper[2], hyper[3]
    rate = lr / (1.0 - beta_1**step)
    root_correction = np.sqrt(1.0 - beta_2**step)
    keep = 1.0 - lr * decay
    for at in range(0, len(theta), lanes(theta)):
        w, g = load(theta, at), load(gradient, at)
        if decoupled:
            w = w * keep
        else:
            g = g + w * decay
        m = load(moment_1, at)
        m = m + (g - m) * (1.0 - beta_1)
        v = load(moment_2, at) * beta_2 + g * g * (1.0 - beta_2)
        store(moment_1, at, m)
        store(moment_2, at, v)
        store(theta, at, w - m * rate / (square_root(v) / root_correction + eps))


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def _sgd(theta: Any, gradient: Any, buffer: Any, hyper: Any, nesterov: bool, lr: float, is_first: bool) -> None:
    momentum, dampening, decay = hyper[0], hyper[1], hyper[2]
    for at in range(0, len(theta), lanes(theta)):
        w = load(theta, at)
        g = load(gradient, at) + w * decay
        if momentum != 0.0:
            b = g if is_first else load(buffer, at) * momentum + g * (1.0 - dampening)
            store(buffer, at, b)
            g = g + b * momentum if nesterov else b
        store(theta, at, w - g * lr)


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def train(
    x: Any, labels: Any, rows: Any, batch_size: int, learning_rates: Any, first_step: int,
    ops: Any, constants: Any, segments: Any, shape: Any,
    theta: Any, gradient: Any, moment_1: Any, moment_2: Any, running: Any, tracked: Any, stats: Any, work: Any,
    class_weights: Any, smoothing: float, weighted: bool,
    optimizer: int, hyper: Any, steps_before: int, seed: Any,
    losses: Any, num_correct: Any,
) -> int:  # fmt: skip
    """Take an optimizer step for each learning rate; returns a STATUS_ code. Arguments: see `jsc.engine.cpu`."""
    num_features, num_classes, rows_a_block, stride, block = shape[0], shape[1], shape[2], shape[3], shape[4]
    num_jets_all = len(labels)
    size = lanes(work)
    num_segments = len(segments) - 1
    num_ops = segments[num_segments]
    for step in range(len(learning_rates)):
        start = step * batch_size
        num_jets = min(batch_size, len(rows) - start)
        num_blocks = (num_jets + block - 1) // block
        bad = False
        for at in range(start, start + num_jets):
            bad |= (rows[at] < 0) | (rows[at] >= num_jets_all)
        if bad:
            return STATUS_BAD_ROW
        total_weight = 0.0
        for at in range(start, start + num_jets):
            label = labels[rows[at]]
            if label < 0 or label >= num_classes:
                return STATUS_BAD_LABEL
            if weighted:
                total_weight += class_weights[label]
        if not weighted:
            total_weight = np.float64(num_jets)
        gradient[:] = 0
        loss, right = 0.0, 0

        for segment in range(num_segments):
            begin, end = segments[segment], segments[segment + 1]
            is_last = segment == num_segments - 1
            for index in range(num_blocks):
                base = index * rows_a_block * stride
                first = index * block
                count = min(block, num_jets - first)
                num_vectors = (count + size - 1) // size
                if segment == 0:
                    _gather(x, labels, rows, start + first, count, num_features, work, base, 1, stride)
                for k in range(begin, end):
                    _forward(
                        ops, constants, k, theta, stats, seed, first_step + step, True, work, base, stride, first,
                        num_vectors,
                    )  # fmt: skip
                if not is_last:
                    _batch_norm_block(ops, end, stats, work, base, stride, count, first)
                    continue
                block_loss, block_right = _cross_entropy(
                    num_classes, class_weights, smoothing, total_weight, work, base, stride,
                    ops[num_ops - 1, p.Y], ops[num_ops - 1, p.DY], num_vectors,
                )  # fmt: skip
                loss += block_loss
                right += block_right
                for k in range(end - 1, begin - 1, -1):
                    if ops[k, p.NEEDS_DY]:
                        _backward(ops, constants, k, theta, gradient, stats, work, base, stride, num_vectors)
            if not is_last:
                _batch_norm_finish(ops, constants, end, stats, running, tracked, step, num_jets)

        for segment in range(num_segments - 1, 0, -1):
            end, begin = segments[segment], segments[segment - 1]
            _batch_norm_gradient(ops, end, stats, gradient)
            if not ops[end, p.NEEDS_DX]:
                break
            for index in range(num_blocks):
                base = index * rows_a_block * stride
                count = min(block, num_jets - index * block)
                num_vectors = (count + size - 1) // size
                _batch_norm_backward_apply(ops, end, theta, stats, work, base, stride, count, num_jets)
                for k in range(end - 1, begin - 1, -1):
                    if ops[k, p.NEEDS_DY]:
                        _backward(ops, constants, k, theta, gradient, stats, work, base, stride, num_vectors)

        steps_now = steps_before + step + 1
        lr = learning_rates[step]
        if optimizer == p.ADAM or optimizer == p.ADAMW:
            _adam(theta, gradient, moment_1, moment_2, hyper, optimizer == p.ADAMW, lr, steps_now)
        else:
            _sgd(theta, gradient, moment_1, hyper, optimizer == p.SGD_NESTEROV, lr, steps_now == 1)
        losses[step] = loss
        num_correct[step] = right
    return STATUS_DONE


@compiled  # type: ignore[untyped-decorator]  # Numba publishes no types
def evaluate(
    x: Any, labels: Any, ops: Any, constants: Any, shape: Any, theta: Any, running: Any, stats: Any, work: Any,
    class_weights: Any, smoothing: float, logits: Any, sums: Any,
) -> int:  # fmt: skip
    """Score jets with running statistics and without dropout; returns a STATUS_ code.

    `sums` receives the loss's numerator, its denominator and the number predicted right; `logits`, if it has any
    elements, the logits.
    """
    num_features, num_classes, stride, block = shape[0], shape[1], shape[3], shape[4]
    num_ops = len(ops)
    rows = np.empty(0, np.int64)
    size = lanes(work)
    for k in range(num_ops):
        if ops[k, p.KIND] == p.BATCH_NORM:
            width, at, run = ops[k, p.NUM_OUT], ops[k, p.STATS], ops[k, p.RUNNING]
            for feature in range(width):
                stats[at + p.MEAN * width + feature] = running[run + feature]
                variance = np.float64(running[run + width + feature])
                stats[at + p.INVERSE * width + feature] = 1.0 / np.sqrt(variance + constants[k, p.EPS])
    loss, weight, right = 0.0, 0.0, 0
    for first in range(0, len(labels), block):
        count = min(block, len(labels) - first)
        num_vectors = (count + size - 1) // size
        for jet in range(first, first + count):
            label = labels[jet]
            if label < 0 or label >= num_classes:
                return STATUS_BAD_LABEL
            weight += class_weights[label]
        _gather(x, labels, rows, first, count, num_features, work, 0, 1, stride)
        for k in range(num_ops):
            _forward(ops, constants, k, theta, stats, np.uint64(0), 0, False, work, 0, stride, first, num_vectors)
        y = ops[num_ops - 1, p.Y]
        block_loss, block_right = _cross_entropy(
            num_classes, class_weights, smoothing, 1.0, work, 0, stride, y, ops[num_ops - 1, p.DY], num_vectors
        )
        loss += block_loss
        right += block_right
        if len(logits) > 0:
            for jet in range(count):
                for c in range(num_classes):
                    logits[(first + jet) * num_classes + c] = work[(y + c) * stride + jet]
    sums[0], sums[1], sums[2] = loss, weight, right
    return STATUS_DONE
