"""What each layer, forward and backward, does to a block of jets; bringing jets in, and the loss: compiled code.

Everything about one block lies together in `work`: rows of `stride` jets, a row for the labels, then a row for each
feature of each activation and gradient; `base` is where the block begins, and a layer's X, Y, DX, DY are row numbers
in it. The lanes of a block's last vector that hold no jet are labelled -1 and have zero gradients.

Adding a layer: a kind in `jsc.engine.program`, then a branch in `forward` and one in `backward`.
"""

from typing import Any

import numpy as np
from numba import njit

from jsc.engine import program as p
from jsc.engine.elementary import erf, exp, log, logistic, tanh
from jsc.engine.tiles import make_gradient_tile, make_product_tile, transpose
from jsc.engine.vectors import (
    at_least,
    first_lanes,
    lane_numbers,
    lanes,
    load,
    prefetch,
    select,
    splat,
    store,
    total,
)

# Inner functions are only ever called from compiled code, own no memory, and divide as IEEE says.
compiled = njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)

_product_1, _product_2, _product_4, _product_5 = (make_product_tile(rows, 2) for rows in (1, 2, 4, 5))
_gradient_1x4, _gradient_2x4, _gradient_4x4 = (make_gradient_tile(rows, 4) for rows in (1, 2, 4))
_gradient_1x1 = make_gradient_tile(1, 1)


@compiled
def _product(
    theta: Any, weight: int, weight_row: int, weight_k: int, num_rows: int, depth: int, bias: int, slope: float,
    work: Any, x: int, y: int, stride: int, num_vectors: int,
) -> None:  # fmt: skip
    """y = f(W x + b) for one block, two vectors at a time (rows of `work` have room for an even number of them)."""
    size = lanes(work)
    for jet in range(0, num_vectors * size, 2 * size):
        row = 0
        while row < num_rows:
            left = num_rows - row
            w, b = weight + row * weight_row, bias + row if bias >= 0 else -1
            y_row = y + row * stride + jet
            if left == 5:  # jets have five classes
                _product_5(theta, w, weight_row, weight_k, depth, b, slope, work, x + jet, y_row, stride)
                row += 5
            elif left >= 4:
                _product_4(theta, w, weight_row, weight_k, depth, b, slope, work, x + jet, y_row, stride)
                row += 4
            elif left >= 2:
                _product_2(theta, w, weight_row, weight_k, depth, b, slope, work, x + jet, y_row, stride)
                row += 2
            else:
                _product_1(theta, w, weight_row, weight_k, depth, b, slope, work, x + jet, y_row, stride)
                row += 1


@compiled
def _weight_gradient(
    gradient: Any, weight: int, num_out: int, num_in: int, work: Any, dy: int, x: int, stride: int, num_vectors: int
) -> None:
    """Add dy x^T of one block to W's gradient."""
    row = 0
    while row < num_out:
        left = num_out - row
        now = 4 if left >= 4 else (2 if left >= 2 else 1)
        at, dy_row = weight + row * num_in, dy + row * stride
        for column in range(0, num_in - 3, 4):
            x_row = x + column * stride
            if now == 4:
                _gradient_4x4(gradient, at + column, num_in, work, dy_row, x_row, stride, num_vectors)
            elif now == 2:
                _gradient_2x4(gradient, at + column, num_in, work, dy_row, x_row, stride, num_vectors)
            else:
                _gradient_1x4(gradient, at + column, num_in, work, dy_row, x_row, stride, num_vectors)
        for column in range(num_in // 4 * 4, num_in):
            x_row = x + column * stride
            for r in range(now):
                at_r, dy_r = at + r * num_in + column, dy_row + r * stride
                _gradient_1x1(gradient, at_r, num_in, work, dy_r, x_row, stride, num_vectors)
        row += now


@compiled
def gather(
    x: Any, labels: Any, rows: Any, first: int, shift: int, count: int, num_features: int, num_classes: int,
    work: Any, base: int, stride: int,
) -> bool:  # fmt: skip
    """Bring jets `rows[first:first + count] + shift` into a block; False if a label is out of range.

    The lanes past `count` repeat the last jet, with label -1.
    """
    size = lanes(work)
    x_at = base + p.INPUT_ROW * stride
    whole = num_features // size * size
    last = first + count - 1
    for jet in range(0, count, size):
        for feature in range(0, whole, size):
            y = x_at + feature * stride + jet
            transpose(x, rows, first + jet, last, shift, num_features, feature, work, y, stride)
        for feature in range(whole, num_features):
            start = np.uint64(x_at + feature * stride + jet)
            for lane in range(size):
                row = rows[np.uint64(min(first + jet + lane, last))] + shift
                work[start + np.uint64(lane)] = x[np.uint64(row * num_features + feature)]
        store(work, base + jet, splat(work, -1.0))
    is_good = True
    for jet in range(count):
        label = labels[np.uint64(rows[np.uint64(first + jet)] + shift)]
        is_good &= (label >= 0) & (label < num_classes)
        work[np.uint64(base + jet)] = label
    return is_good


@compiled
def ask_for(x: Any, labels: Any, rows: Any, begin: int, end: int, num_features: int) -> int:
    """Ask for the jets `rows[begin:end]`, so that main memory works while the core computes; returns `end`."""
    for at in range(begin, min(end, len(rows))):
        row = rows[np.uint64(at)]
        prefetch(x, row * num_features)
        prefetch(x, row * num_features + num_features - 1)
        prefetch(labels, row)
    return end


@compiled
def _batch_norm_apply(
    ops: Any, constants: Any, k: int, theta: Any, stats: Any, work: Any, base: int, stride: int, num_vectors: int
) -> None:
    width = ops[k, p.NUM_OUT]
    weight, bias, at = ops[k, p.WEIGHT], ops[k, p.BIAS], ops[k, p.STATS]
    slope = splat(work, constants[k, p.SLOPE])
    size = lanes(work)
    for feature in range(width):
        mean, inverse = stats[at + p.MEAN * width + feature], stats[at + p.INVERSE * width + feature]
        scale_1 = inverse * theta[weight + feature] if weight >= 0 else inverse
        shift_1 = theta[bias + feature] - mean * scale_1 if bias >= 0 else -mean * scale_1
        scale, shift = splat(work, scale_1), splat(work, shift_1)
        x = base + (ops[k, p.X] + feature) * stride
        y = base + (ops[k, p.Y] + feature) * stride
        for jet in range(0, num_vectors * size, size):
            value = load(work, x + jet) * scale + shift
            store(work, y + jet, select(value <= 0.0, value * slope, value))


@compiled
def batch_norm_block(
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


@compiled
def batch_norm_finish(
    ops: Any, constants: Any, k: int, stats: Any, running: Any, tracked: Any, step: int, num_jets: int
) -> None:
    """Batch statistics are complete: the inverse deviation, and the running statistics' update."""
    width, at, run = ops[k, p.NUM_OUT], ops[k, p.STATS], ops[k, p.RUNNING]
    momentum = constants[k, p.MOMENTUM]
    if momentum < 0.0:  # BatchNorm1d(momentum=None): the mean over all batches so far
        momentum = 1.0 / (tracked[ops[k, p.NUMBER]] + step + 1)
    for feature in range(width):
        square = stats[at + p.SQUARES * width + feature]
        stats[at + p.INVERSE * width + feature] = 1.0 / np.sqrt(square / num_jets + constants[k, p.EPS])
        stats[at + p.SUM_DY * width + feature] = 0.0
        stats[at + p.SUM_DYX * width + feature] = 0.0
        mean_at, var_at = run + feature, run + width + feature
        running[mean_at] = (1.0 - momentum) * running[mean_at] + momentum * stats[at + p.MEAN * width + feature]
        running[var_at] = (1.0 - momentum) * running[var_at] + momentum * (square / (num_jets - 1))


@compiled
def _batch_norm_backward_sums(
    ops: Any, constants: Any, k: int, stats: Any, work: Any, base: int, stride: int, num_vectors: int
) -> None:
    """Sums over a block of dy and of dy times the deviation; dy goes through the fused activation on the way."""
    width, at = ops[k, p.NUM_OUT], ops[k, p.STATS]
    slope = splat(work, constants[k, p.SLOPE])
    size = lanes(work)
    for feature in range(width):
        x = base + (ops[k, p.X] + feature) * stride
        y = base + (ops[k, p.Y] + feature) * stride
        dy = base + (ops[k, p.DY] + feature) * stride
        centre = splat(work, stats[at + p.MEAN * width + feature])
        sum_dy, sum_dyx = splat(work, 0.0), splat(work, 0.0)
        for jet in range(0, num_vectors * size, size):
            slope_in = load(work, dy + jet)
            slope_in = select(load(work, y + jet) <= 0.0, slope_in * slope, slope_in)
            store(work, dy + jet, slope_in)
            sum_dy = sum_dy + slope_in
            sum_dyx = sum_dyx + slope_in * (load(work, x + jet) - centre)
        stats[at + p.SUM_DY * width + feature] += total(sum_dy)
        stats[at + p.SUM_DYX * width + feature] += total(sum_dyx)


@compiled
def batch_norm_gradient(ops: Any, k: int, stats: Any, gradient: Any) -> None:
    width, at, weight, bias = ops[k, p.NUM_OUT], ops[k, p.STATS], ops[k, p.WEIGHT], ops[k, p.BIAS]
    for feature in range(width):
        if weight >= 0:
            inverse = stats[at + p.INVERSE * width + feature]
            gradient[weight + feature] = stats[at + p.SUM_DYX * width + feature] * inverse
        if bias >= 0:
            gradient[bias + feature] = stats[at + p.SUM_DY * width + feature]


@compiled
def batch_norm_backward_apply(
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


@compiled
def _linear_backward(
    ops: Any, constants: Any, k: int, theta: Any, gradient: Any, work: Any, base: int, stride: int, num_vectors: int
) -> None:
    num_in, num_out, weight, bias = ops[k, p.NUM_IN], ops[k, p.NUM_OUT], ops[k, p.WEIGHT], ops[k, p.BIAS]
    x, y, dy = base + ops[k, p.X] * stride, base + ops[k, p.Y] * stride, base + ops[k, p.DY] * stride
    slope = splat(work, constants[k, p.SLOPE])
    size = lanes(work)
    for feature in range(num_out):
        sum_dy = splat(work, 0.0)
        row = feature * stride
        for jet in range(row, row + num_vectors * size, size):
            slope_in = load(work, dy + jet)
            slope_in = select(load(work, y + jet) <= 0.0, slope_in * slope, slope_in)
            store(work, dy + jet, slope_in)
            sum_dy = sum_dy + slope_in
        if bias >= 0:
            gradient[np.uint64(bias + feature)] += total(sum_dy)
    _weight_gradient(gradient, weight, num_out, num_in, work, dy, x, stride, num_vectors)
    if ops[k, p.NEEDS_DX]:
        dx = base + ops[k, p.DX] * stride
        _product(theta, weight, 1, num_in, num_in, num_out, -1, 1.0, work, dy, dx, stride, num_vectors)


@compiled
def _gelu_slope(kind: int, x: Any) -> Any:
    if kind == p.GELU:
        return (erf(x * np.sqrt(0.5)) + 1.0) * 0.5 + x * exp(x * x * -0.5) * (1.0 / np.sqrt(2.0 * np.pi))
    cubic = x * x * x * 0.044715
    inner = tanh((x + cubic) * np.sqrt(2.0 / np.pi))
    inner_slope = (x * x * (3.0 * 0.044715) + 1.0) * np.sqrt(2.0 / np.pi)
    return (inner + 1.0) * 0.5 + x * 0.5 * (1.0 - inner * inner) * inner_slope


@compiled
def _elementwise(ops: Any, constants: Any, k: int, work: Any, base: int, stride: int, num_vectors: int) -> None:
    """An activation that stands alone."""
    kind, slope = ops[k, p.KIND], constants[k, p.SLOPE]
    size = lanes(work)
    for feature in range(ops[k, p.NUM_OUT]):
        x = base + (ops[k, p.X] + feature) * stride
        y = base + (ops[k, p.Y] + feature) * stride
        for jet in range(0, num_vectors * size, size):
            value = load(work, x + jet)
            if kind == p.LEAKY_RELU:
                value = select(value <= 0.0, value * slope, value)
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


@compiled
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
            if kind == p.LEAKY_RELU:
                value = select(load(work, x + jet) <= 0.0, value * slope, value)
            elif kind == p.TANH:
                after = load(work, y + jet)
                value = value * (1.0 - after * after)
            elif kind == p.SIGMOID:
                after = load(work, y + jet)
                value = value * ((1.0 - after) * after)
            else:
                value = value * _gelu_slope(kind, load(work, x + jet))
            store(work, dy + jet, value)


@compiled
def _mix(bits: Any) -> Any:
    """See `jsc.engine.dropout.mix`, which says where this is from; arithmetic modulo 2^32."""
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    bits = (bits ^ (bits >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return bits ^ (bits >> 16)


@compiled
def _mix_64(key: Any) -> Any:
    """See `jsc.engine.dropout.mix_64`."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@compiled
def _dropout(
    ops: Any, constants: Any, k: int, seed: Any, step: int, work: Any, base: int, stride: int, first: int,
    num_vectors: int,
) -> None:  # fmt: skip
    """y = x times 0 or 1 / (1 - rate); the factor is kept for the way back. `first` is the block's first jet."""
    width, rate = ops[k, p.NUM_OUT], constants[k, p.RATE]
    key = _mix_64(_mix_64(_mix_64(seed) + np.uint64(step)) + np.uint64(ops[k, p.NUMBER]))
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


@compiled
def _dropout_backward(ops: Any, k: int, work: Any, base: int, stride: int, num_vectors: int) -> None:
    size = lanes(work)
    for feature in range(ops[k, p.NUM_OUT]):
        kept = base + (ops[k, p.MASK] + feature) * stride
        dy = base + (ops[k, p.DY] + feature) * stride
        for jet in range(0, num_vectors * size, size):
            store(work, dy + jet, load(work, dy + jet) * load(work, kept + jet))


@compiled
def forward(
    ops: Any, constants: Any, k: int, theta: Any, stats: Any, seed: Any, step: int, work: Any, base: int, stride: int,
    first: int, num_vectors: int,
) -> None:  # fmt: skip
    kind = ops[k, p.KIND]
    if kind == p.LINEAR:
        num_in, num_out, slope = ops[k, p.NUM_IN], ops[k, p.NUM_OUT], constants[k, p.SLOPE]
        x, y = base + ops[k, p.X] * stride, base + ops[k, p.Y] * stride
        weight, bias = ops[k, p.WEIGHT], ops[k, p.BIAS]
        _product(theta, weight, num_in, 1, num_out, num_in, bias, slope, work, x, y, stride, num_vectors)
    elif kind == p.BATCH_NORM:
        _batch_norm_apply(ops, constants, k, theta, stats, work, base, stride, num_vectors)
    elif kind == p.DROPOUT:
        _dropout(ops, constants, k, seed, step, work, base, stride, first, num_vectors)
    else:
        _elementwise(ops, constants, k, work, base, stride, num_vectors)


@compiled
def backward(
    ops: Any, constants: Any, k: int, theta: Any, gradient: Any, stats: Any, work: Any, base: int, stride: int,
    num_vectors: int,
) -> None:  # fmt: skip
    kind = ops[k, p.KIND]
    if kind == p.LINEAR:
        _linear_backward(ops, constants, k, theta, gradient, work, base, stride, num_vectors)
    elif kind == p.BATCH_NORM:  # the second half waits for the whole batch
        _batch_norm_backward_sums(ops, constants, k, stats, work, base, stride, num_vectors)
    elif kind == p.DROPOUT:
        _dropout_backward(ops, k, work, base, stride, num_vectors)
    else:
        _elementwise_backward(ops, constants, k, work, base, stride, num_vectors)


@compiled
def cross_entropy(
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
    return float(total(losses)), int(total(right))
