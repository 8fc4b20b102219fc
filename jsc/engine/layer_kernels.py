"""What each layer, forward and backward, does to a block of jets; bringing jets in, and the loss: compiled code.

Everything about one block lies together: rows of jets, one for the labels, then one for each feature of each
activation and gradient. `op` is a layer's row of `jsc.engine.program.OP`, `block` a `jsc.engine.arguments.Block`, and
x, y, dx, dy are where a row or an area begins in `block.work`.

Adding a layer: a branch in `forward` and one in `backward`.
"""

from typing import Any

import numpy as np
from numba import njit

from jsc.engine.compilation import BARE
from jsc.engine.elementary import erf, exp, log, logistic, tanh
from jsc.engine.layers import BatchNorm, Kind
from jsc.engine.program import INPUT_ROW
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

# Inner functions are only ever called from compiled code.
compiled = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **BARE)

NO_JET = -1.0  # the label of lanes past a batch's last jet

# BatchNorm's statistics of the batch, as many of each as it has features.
MEAN, SQUARES, INVERSE, SUM_DY, SUM_DYX = range(BatchNorm.num_stats)

_product_1, _product_2, _product_4, _product_5 = (make_product_tile(rows, 2) for rows in (1, 2, 4, 5))
_gradient_1x4, _gradient_2x4, _gradient_4x4 = (make_gradient_tile(rows, 4) for rows in (1, 2, 4))
_gradient_1x1 = make_gradient_tile(1, 1)


@compiled
def _rows(op: Any, feature: int, block: Any) -> tuple[int, int, int, int]:
    """Where a feature's rows of a layer begin: of its input, its output, the output's gradient, and what is kept."""
    base, stride = block.base + feature * block.stride, block.stride
    return base + op.x * stride, base + op.y * stride, base + op.dy * stride, base + op.kept * stride


@compiled
def _product(
    theta: Any, weight: int, weight_row: int, weight_k: int, num_rows: int, depth: int, has_bias: bool, bias: int,
    negative_slope: float, block: Any, x: int, y: int,
) -> None:  # fmt: skip
    """y = f(W x + b) for one block, two vectors at a time (rows of `work` have room for an even number of them)."""
    work, stride = block.work, block.stride
    size = lanes(work)
    for jet in range(0, block.num_vectors * size, 2 * size):
        row = 0
        while row < num_rows:
            left = num_rows - row
            w, b = weight + row * weight_row, bias + row
            x_at, y_at = x + jet, y + row * stride + jet
            if left == 5:  # jets have five classes
                _product_5(theta, w, weight_row, weight_k, depth, has_bias, b, negative_slope, work, x_at, y_at, stride)
                row += 5
            elif left >= 4:
                _product_4(theta, w, weight_row, weight_k, depth, has_bias, b, negative_slope, work, x_at, y_at, stride)
                row += 4
            elif left >= 2:
                _product_2(theta, w, weight_row, weight_k, depth, has_bias, b, negative_slope, work, x_at, y_at, stride)
                row += 2
            else:
                _product_1(theta, w, weight_row, weight_k, depth, has_bias, b, negative_slope, work, x_at, y_at, stride)
                row += 1


@compiled
def _weight_gradient(gradient: Any, weight: int, num_out: int, num_in: int, block: Any, dy: int, x: int) -> None:
    """Add dy x^T of one block to W's gradient."""
    work, stride, num_vectors = block.work, block.stride, block.num_vectors
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
def gather(jets: Any, rows: Any, first: int, shift: int, num_features: int, num_classes: int, block: Any) -> bool:
    """Bring jets `rows[first:first + block.num_jets] + shift` into a block; False if a label is out of range.

    The lanes past them repeat the last jet, with label NO_JET.
    """
    x, labels = jets.x, jets.labels
    work, base, stride, count = block.work, block.base, block.stride, block.num_jets
    size = lanes(work)
    x_at = base + INPUT_ROW * stride
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
        store(work, base + jet, splat(work, NO_JET))
    is_good = True
    for jet in range(count):
        label = labels[np.uint64(rows[np.uint64(first + jet)] + shift)]
        is_good &= (label >= 0) & (label < num_classes)
        work[np.uint64(base + jet)] = label
    return is_good


@compiled
def ask_for(jets: Any, rows: Any, begin: int, end: int, num_features: int) -> int:
    """Ask for the jets `rows[begin:end]`, so that main memory works while the core computes; returns `end`."""
    for at in range(begin, min(end, len(rows))):
        row = rows[np.uint64(at)]
        prefetch(jets.x, row * num_features)
        prefetch(jets.x, row * num_features + num_features - 1)
        prefetch(jets.labels, row)
    return end


@compiled
def _batch_norm_apply(op: Any, theta: Any, stats: Any, block: Any) -> None:
    work, width, at = block.work, op.num_out, op.stats
    weight, bias, has_weight, has_bias = op.weight, op.bias, op.has_weight, op.has_bias
    negative_slope = splat(work, op.negative_slope)
    size = lanes(work)
    for feature in range(width):
        mean, inverse = stats[at + MEAN * width + feature], stats[at + INVERSE * width + feature]
        scale_1 = inverse * theta[weight + feature] if has_weight else inverse
        shift_1 = theta[bias + feature] - mean * scale_1 if has_bias else -mean * scale_1
        scale, shift = splat(work, scale_1), splat(work, shift_1)
        x, y, _, _ = _rows(op, feature, block)
        for jet in range(0, block.num_vectors * size, size):
            value = load(work, x + jet) * scale + shift
            store(work, y + jet, select(value <= 0.0, value * negative_slope, value))


@compiled
def batch_norm_block(op: Any, stats: Any, block: Any) -> None:
    """Merge a block's mean and sum of squared deviations into the batch's (Chan, Golub and LeVeque 1983)."""
    work, count, num_before = block.work, block.num_jets, block.first
    width, at = op.num_out, op.stats
    size = lanes(work)
    whole = count // size * size
    num_now = num_before + count
    for feature in range(width):
        x, _, _, _ = _rows(op, feature, block)
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
            before = stats[at + MEAN * width + feature]
            delta = mean - before
            mean = before + delta * count / num_now
            square += stats[at + SQUARES * width + feature] + delta * delta * num_before * count / num_now
        stats[at + MEAN * width + feature] = mean
        stats[at + SQUARES * width + feature] = square


@compiled
def batch_norm_finish(op: Any, stats: Any, running: Any, counters: Any, step: int, num_jets: int) -> None:
    """Batch statistics are complete: the inverse deviation, and the running statistics' update."""
    width, at, run, momentum = op.num_out, op.stats, op.running, op.momentum
    if op.is_cumulative:
        momentum = 1.0 / (counters[op.counter] + step + 1)
    for feature in range(width):
        square = stats[at + SQUARES * width + feature]
        stats[at + INVERSE * width + feature] = 1.0 / np.sqrt(square / num_jets + op.eps)
        stats[at + SUM_DY * width + feature] = 0.0
        stats[at + SUM_DYX * width + feature] = 0.0
        mean_at, var_at = run + feature, run + width + feature
        running[mean_at] = (1.0 - momentum) * running[mean_at] + momentum * stats[at + MEAN * width + feature]
        running[var_at] = (1.0 - momentum) * running[var_at] + momentum * (square / (num_jets - 1))


@compiled
def batch_norm_in_evaluation(op: Any, stats: Any, running: Any) -> None:
    """Running statistics take the place of the batch's."""
    width, at, run = op.num_out, op.stats, op.running
    for feature in range(width):
        stats[at + MEAN * width + feature] = running[run + feature]
        variance = np.float64(running[run + width + feature])
        stats[at + INVERSE * width + feature] = 1.0 / np.sqrt(variance + op.eps)


@compiled
def _batch_norm_backward_sums(op: Any, stats: Any, block: Any) -> None:
    """Sums over a block of dy and of dy times the deviation; dy goes through the activation drawn in on the way."""
    work, width, at = block.work, op.num_out, op.stats
    negative_slope = splat(work, op.negative_slope)
    size = lanes(work)
    for feature in range(width):
        x, y, dy, _ = _rows(op, feature, block)
        centre = splat(work, stats[at + MEAN * width + feature])
        sum_dy, sum_dyx = splat(work, 0.0), splat(work, 0.0)
        for jet in range(0, block.num_vectors * size, size):
            gradient = load(work, dy + jet)
            gradient = select(load(work, y + jet) <= 0.0, gradient * negative_slope, gradient)
            store(work, dy + jet, gradient)
            sum_dy = sum_dy + gradient
            sum_dyx = sum_dyx + gradient * (load(work, x + jet) - centre)
        stats[at + SUM_DY * width + feature] += total(sum_dy)
        stats[at + SUM_DYX * width + feature] += total(sum_dyx)


@compiled
def batch_norm_gradient(op: Any, stats: Any, gradient: Any) -> None:
    """The sums over the batch are complete: the gradients of weight and bias."""
    width, at = op.num_out, op.stats
    for feature in range(width):
        if op.has_weight:
            inverse = stats[at + INVERSE * width + feature]
            gradient[op.weight + feature] = stats[at + SUM_DYX * width + feature] * inverse
        if op.has_bias:
            gradient[op.bias + feature] = stats[at + SUM_DY * width + feature]


@compiled
def batch_norm_backward_apply(op: Any, theta: Any, stats: Any, block: Any, jets_a_batch: int) -> None:
    """dx = w / sigma (dy - mean(dy) - x_hat mean(dy x_hat)), in place of dy."""
    work, count, width, at = block.work, block.num_jets, op.num_out, op.stats
    size = lanes(work)
    whole = count // size * size
    for feature in range(width):
        inverse = stats[at + INVERSE * width + feature]
        scale_1 = inverse * theta[op.weight + feature] if op.has_weight else inverse
        mean_dyx = stats[at + SUM_DYX * width + feature] / jets_a_batch
        scale = splat(work, scale_1)
        centre = splat(work, stats[at + MEAN * width + feature])
        along_x = splat(work, -scale_1 * inverse * inverse * mean_dyx)
        shift = splat(work, -scale_1 * (stats[at + SUM_DY * width + feature] / jets_a_batch))
        x, _, dy, _ = _rows(op, feature, block)
        for jet in range(0, whole, size):
            dx = load(work, dy + jet) * scale + ((load(work, x + jet) - centre) * along_x + shift)
            store(work, dy + jet, dx)
        if whole < count:
            dx = load(work, dy + whole) * scale + ((load(work, x + whole) - centre) * along_x + shift)
            store(work, dy + whole, first_lanes(dx, count - whole))


@compiled
def _linear_backward(op: Any, theta: Any, gradient: Any, block: Any) -> None:
    work, stride, num_in, num_out = block.work, block.stride, op.num_in, op.num_out
    weight, bias, has_bias = op.weight, op.bias, op.has_bias
    x, y, dy = block.base + op.x * stride, block.base + op.y * stride, block.base + op.dy * stride
    negative_slope = splat(work, op.negative_slope)
    size = lanes(work)
    for feature in range(num_out):
        sum_dy = splat(work, 0.0)
        row = feature * stride
        for jet in range(row, row + block.num_vectors * size, size):
            before = load(work, dy + jet)
            before = select(load(work, y + jet) <= 0.0, before * negative_slope, before)
            store(work, dy + jet, before)
            sum_dy = sum_dy + before
        if has_bias:
            gradient[np.uint64(bias + feature)] += total(sum_dy)
    _weight_gradient(gradient, weight, num_out, num_in, block, dy, x)
    if op.wants_dx:
        dx = block.base + op.dx * stride
        _product(theta, weight, 1, num_in, num_in, num_out, False, 0, 1.0, block, dy, dx)


@compiled
def _gelu_derivative(kind: int, x: Any) -> Any:
    if kind == Kind.GELU:
        return (erf(x * np.sqrt(0.5)) + 1.0) * 0.5 + x * exp(x * x * -0.5) * (1.0 / np.sqrt(2.0 * np.pi))
    cubic = x * x * x * 0.044715
    inner = tanh((x + cubic) * np.sqrt(2.0 / np.pi))
    inner_derivative = (x * x * (3.0 * 0.044715) + 1.0) * np.sqrt(2.0 / np.pi)
    return (inner + 1.0) * 0.5 + x * 0.5 * (1.0 - inner * inner) * inner_derivative


@compiled
def _elementwise(op: Any, block: Any) -> None:
    """An activation that stands alone."""
    work, kind, negative_slope = block.work, op.kind, op.negative_slope
    size = lanes(work)
    for feature in range(op.num_out):
        x, y, _, _ = _rows(op, feature, block)
        for jet in range(0, block.num_vectors * size, size):
            value = load(work, x + jet)
            if kind == Kind.LEAKY_RELU:
                value = select(value <= 0.0, value * negative_slope, value)
            elif kind == Kind.TANH:
                value = tanh(value)
            elif kind == Kind.SIGMOID:
                value = logistic(value)
            elif kind == Kind.GELU:
                value = value * 0.5 * (erf(value * np.sqrt(0.5)) + 1.0)
            else:
                inner = tanh((value + value * value * value * 0.044715) * np.sqrt(2.0 / np.pi))
                value = value * 0.5 * (inner + 1.0)
            store(work, y + jet, value)


@compiled
def _elementwise_backward(op: Any, block: Any) -> None:
    work, kind, negative_slope = block.work, op.kind, op.negative_slope
    size = lanes(work)
    for feature in range(op.num_out):
        x, y, dy, _ = _rows(op, feature, block)
        for jet in range(0, block.num_vectors * size, size):
            value = load(work, dy + jet)
            if kind == Kind.LEAKY_RELU:
                value = select(load(work, x + jet) <= 0.0, value * negative_slope, value)
            elif kind == Kind.TANH:
                after = load(work, y + jet)
                value = value * (1.0 - after * after)
            elif kind == Kind.SIGMOID:
                after = load(work, y + jet)
                value = value * ((1.0 - after) * after)
            else:
                value = value * _gelu_derivative(kind, load(work, x + jet))
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
def _dropout(op: Any, seed: Any, step: int, block: Any) -> None:
    """y = x times 0 or 1 / (1 - rate); the factor is kept for the way back."""
    work, width, rate = block.work, op.num_out, op.rate
    key = _mix_64(_mix_64(_mix_64(seed) + np.uint64(step)) + np.uint64(op.number))
    low, high = key & np.uint64(0xFFFFFFFF), key >> np.uint64(32)
    threshold = np.uint64(min(np.rint(rate * 2.0**32), 2.0**32 - 1.0))
    factor = 1.0 / (1.0 - rate) if rate < 1.0 else 0.0
    size = lanes(work)
    for feature in range(width):
        x, y, _, kept = _rows(op, feature, block)
        for jet in range(0, block.num_vectors * size, size):
            element = (lane_numbers(work) + (block.first + jet)) * width + feature
            bits = _mix(_mix((element + low) & 0xFFFFFFFF) ^ high)
            multiplier = select(at_least(bits, threshold), splat(work, factor), 0.0)
            store(work, kept + jet, multiplier)
            store(work, y + jet, load(work, x + jet) * multiplier)


@compiled
def _dropout_backward(op: Any, block: Any) -> None:
    work = block.work
    size = lanes(work)
    for feature in range(op.num_out):
        _, _, dy, kept = _rows(op, feature, block)
        for jet in range(0, block.num_vectors * size, size):
            store(work, dy + jet, load(work, dy + jet) * load(work, kept + jet))


@compiled
def forward(op: Any, theta: Any, stats: Any, seed: Any, step: int, block: Any) -> None:
    """One layer's outputs for one block, from its inputs."""
    if op.kind == Kind.LINEAR:
        x, y = block.base + op.x * block.stride, block.base + op.y * block.stride
        _product(
            theta, op.weight, op.num_in, 1, op.num_out, op.num_in, op.has_bias, op.bias, op.negative_slope, block, x, y
        )
    elif op.kind == Kind.BATCH_NORM:
        _batch_norm_apply(op, theta, stats, block)
    elif op.kind == Kind.DROPOUT:
        _dropout(op, seed, step, block)
    else:
        _elementwise(op, block)


@compiled
def backward(op: Any, theta: Any, gradient: Any, stats: Any, block: Any) -> None:
    """One layer's parts of the gradients of its parameters and inputs, from those of its outputs."""
    if op.kind == Kind.LINEAR:
        _linear_backward(op, theta, gradient, block)
    elif op.kind == Kind.BATCH_NORM:  # the second half waits for the whole batch
        _batch_norm_backward_sums(op, stats, block)
    elif op.kind == Kind.DROPOUT:
        _dropout_backward(op, block)
    else:
        _elementwise_backward(op, block)


@compiled
def cross_entropy(op: Any, loss: Any, total_weight: float, block: Any) -> tuple[float, int]:
    """(loss, number predicted right) of a block; leaves the loss's gradient in the last layer's area dy.

    With the targets t_c = (1 - s) w_y [c = y] + s w_c / C, the loss is sum_c -t_c log p_c / total_weight.
    """
    work, stride, logits, dlogits, num_classes = block.work, block.stride, op.y, op.dy, op.num_out
    class_weights, smoothing = loss.class_weights, loss.smoothing
    size = lanes(work)
    smooth = smoothing / num_classes / total_weight
    all_weights = 0.0
    for c in range(num_classes):
        all_weights += class_weights[c]
    losses, right = splat(work, 0.0), splat(work, 0.0)
    for jet in range(block.base, block.base + block.num_vectors * size, size):
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
            gradient = load(work, at) * scale - select(is_label, on_label, 0.0)
            surprise = log_sum - load(work, jet + (logits + c) * stride)
            losses = losses + select(is_label, on_label * surprise, 0.0)
            if smoothing > 0.0:
                gradient = gradient - select(is_jet, splat(work, smooth * class_weights[c]), 0.0)
                losses = losses + select(is_jet, surprise * (smooth * class_weights[c]), 0.0)
            store(work, at, gradient)
        right = right + select(predicted == label, splat(work, 1.0), 0.0)
    return float(total(losses)), int(total(right))
