"""The compiled loops: optimizer steps over batches, and the scoring of jets.

One compilation a dtype serves every network, optimizer and loss, because the layers come as the tables of
`jsc.engine.program`, read at run time. A batch is cut into blocks of jets that fit the nearest caches; between two
BatchNorms, which need the whole batch, a block goes through all layers before the next block starts.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from jsc.engine import program as p
from jsc.engine.compilation import Compiled, fingerprint
from jsc.engine.layers import (
    ask_for,
    backward,
    batch_norm_backward_apply,
    batch_norm_block,
    batch_norm_finish,
    batch_norm_gradient,
    compiled,
    cross_entropy,
    forward,
    gather,
)
from jsc.engine.vectors import lanes, load, square_root, store

# What decides over the machine code.
_SOURCES = ("elementary.py", "kernels.py", "layers.py", "program.py", "tiles.py", "vectors.py")

STATUS_DONE, STATUS_BAD_ROW, STATUS_BAD_LABEL = 0, 1, 2

# Numba optimises a function again within each of its callers, and theirs: these two would double the compile time.
inlined = njit(inline="always", nogil=True, error_model="numpy", _nrt=False)


@compiled
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


@compiled
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


@inlined
def _train(
    x: Any, labels: Any, rows: Any, batch_size: int, learning_rates: Any, first_step: int,
    ops: Any, constants: Any, segments: Any, shape: Any,
    theta: Any, gradient: Any, moment_1: Any, moment_2: Any, running: Any, tracked: Any, stats: Any, work: Any,
    class_weights: Any, smoothing: float, optimizer: int, hyper: Any, steps_before: int, seed: Any,
    losses: Any, num_correct: Any,
) -> int:  # fmt: skip
    num_features, num_classes, block_size, stride, block = shape[0], shape[1], shape[2], shape[3], shape[4]
    size = lanes(work)
    num_segments = len(segments) - 1
    num_ops = len(ops)
    num_pauses = 2 * (num_ops + num_segments) - 1  # occasions within a step to ask for the next step's jets
    for step in range(len(learning_rates)):
        start = step * batch_size
        num_jets = min(batch_size, len(rows) - start)
        num_blocks = (num_jets + block - 1) // block
        is_good = True
        for at in range(start, start + num_jets):
            is_good &= (rows[np.uint64(at)] >= 0) & (rows[np.uint64(at)] < len(labels))
        if not is_good:
            return STATUS_BAD_ROW
        total_weight = float(num_jets)
        if len(class_weights) > num_classes:  # they are not all 1
            total_weight = 0.0
            for at in range(start, start + num_jets):
                label = labels[np.uint64(rows[np.uint64(at)])]
                if 0 <= label < num_classes:
                    total_weight += class_weights[label]
        gradient[:] = 0
        loss, right = 0.0, 0
        ahead = start + min(num_jets, block)
        quota = ((block if num_blocks == 1 else 0) + num_pauses - 1) // num_pauses

        for segment in range(num_segments):
            begin, end = segments[segment], segments[segment + 1]
            is_last = segment == num_segments - 1
            for index in range(num_blocks):
                base = index * block_size
                first = index * block
                count = min(block, num_jets - first)
                num_vectors = (count + size - 1) // size
                if segment == 0:
                    is_good &= gather(
                        x, labels, rows, start + first, 0, count, num_features, num_classes, work, base, stride
                    )
                    if num_blocks > 1:
                        ask_for(x, labels, rows, start + first + count, start + first + 2 * count, num_features)
                for k in range(begin, end):
                    ahead = ask_for(x, labels, rows, ahead, ahead + quota, num_features)
                    forward(
                        ops, constants, k, theta, stats, seed, first_step + step, work, base, stride, first, num_vectors
                    )
                ahead = ask_for(x, labels, rows, ahead, ahead + quota, num_features)
                if not is_last:
                    batch_norm_block(ops, end, stats, work, base, stride, count, first)
                    continue
                block_loss, block_right = cross_entropy(
                    num_classes, class_weights, smoothing, total_weight, work, base, stride,
                    ops[num_ops - 1, p.Y], ops[num_ops - 1, p.DY], num_vectors,
                )  # fmt: skip
                loss += block_loss
                right += block_right
                for k in range(end - 1, begin - 1, -1):
                    if ops[k, p.NEEDS_DY]:
                        ahead = ask_for(x, labels, rows, ahead, ahead + quota, num_features)
                        backward(ops, constants, k, theta, gradient, stats, work, base, stride, num_vectors)
            if not is_good:
                return STATUS_BAD_LABEL
            if not is_last:
                batch_norm_finish(ops, constants, end, stats, running, tracked, step, num_jets)

        for segment in range(num_segments - 1, 0, -1):
            end, begin = segments[segment], segments[segment - 1]
            batch_norm_gradient(ops, end, stats, gradient)
            if not ops[end, p.NEEDS_DX]:
                break
            for index in range(num_blocks):
                base = index * block_size
                count = min(block, num_jets - index * block)
                num_vectors = (count + size - 1) // size
                ahead = ask_for(x, labels, rows, ahead, ahead + quota, num_features)
                batch_norm_backward_apply(ops, end, theta, stats, work, base, stride, count, num_jets)
                for k in range(end - 1, begin - 1, -1):
                    if ops[k, p.NEEDS_DY]:
                        ahead = ask_for(x, labels, rows, ahead, ahead + quota, num_features)
                        backward(ops, constants, k, theta, gradient, stats, work, base, stride, num_vectors)

        ahead = ask_for(x, labels, rows, ahead, ahead + quota, num_features)
        steps_now = steps_before + step + 1
        lr = learning_rates[step]
        if optimizer == p.ADAM or optimizer == p.ADAMW:
            _adam(theta, gradient, moment_1, moment_2, hyper, optimizer == p.ADAMW, lr, steps_now)
        else:
            _sgd(theta, gradient, moment_1, hyper, optimizer == p.SGD_NESTEROV, lr, steps_now == 1)
        losses[step] = loss
        num_correct[step] = right
    return STATUS_DONE


@inlined
def _evaluate(
    x: Any, labels: Any, rows: Any, ops: Any, constants: Any, shape: Any, theta: Any, running: Any, stats: Any,
    work: Any, class_weights: Any, smoothing: float, losses: Any, num_correct: Any, logits: Any,
) -> int:  # fmt: skip
    num_features, num_classes, stride, block = shape[0], shape[1], shape[3], shape[4]
    num_ops = len(ops)
    size = lanes(work)
    for k in range(num_ops):
        if ops[k, p.KIND] == p.BATCH_NORM:
            width, at, run = ops[k, p.NUM_OUT], ops[k, p.STATS], ops[k, p.RUNNING]
            for feature in range(width):
                stats[at + p.MEAN * width + feature] = running[run + feature]
                variance = np.float64(running[run + width + feature])
                stats[at + p.INVERSE * width + feature] = 1.0 / np.sqrt(variance + constants[k, p.EPS])
    loss, weight, right = 0.0, 0.0, 0
    y, dy = ops[num_ops - 1, p.Y], ops[num_ops - 1, p.DY]
    for first in range(0, len(labels), block):
        count = min(block, len(labels) - first)
        num_vectors = (count + size - 1) // size
        if not gather(x, labels, rows, 0, first, count, num_features, num_classes, work, 0, stride):
            return STATUS_BAD_LABEL
        for jet in range(first, first + count):
            weight += class_weights[np.uint64(labels[np.uint64(jet)])]
        for k in range(num_ops):
            forward(ops, constants, k, theta, stats, np.uint64(0), 0, work, 0, stride, first, num_vectors)
        block_loss, block_right = cross_entropy(
            num_classes, class_weights, smoothing, 1.0, work, 0, stride, y, dy, num_vectors
        )
        loss += block_loss
        right += block_right
        if len(logits) > 0:
            for jet in range(count):
                for c in range(num_classes):
                    logits[np.uint64((first + jet) * num_classes + c)] = work[np.uint64((y + c) * stride + jet)]
    losses[0], losses[1], num_correct[0] = loss, weight, right
    return STATUS_DONE


@functools.cache
def kernel() -> Compiled:
    """The only one; see `_make_run` for its arguments."""
    folder = Path(__file__).parent
    return Compiled("the fused engine", _make_run(fingerprint([folder / name for name in _SOURCES])))


def _make_run(version: str) -> Callable[..., Any]:
    """The function to compile; `version` tells versions of these sources apart."""

    def run(
        training: bool, x: Any, labels: Any, rows: Any, batch_size: int, learning_rates: Any, first_step: int,
        ops: Any, constants: Any, segments: Any, shape: Any,
        theta: Any, gradient: Any, moment_1: Any, moment_2: Any, running: Any, tracked: Any, stats: Any, work: Any,
        class_weights: Any, smoothing: float, optimizer: int, hyper: Any, steps_before: int, seed: Any,
        losses: Any, num_correct: Any, logits: Any,
    ) -> Any:  # fmt: skip
        """Train, or evaluate; returns a STATUS_ code. One function, so that there is one compilation.

        Training takes an optimizer step for each learning rate, on consecutive batches of `rows`. Evaluation takes jet
        after jet, with running statistics; `rows` then counts from 0 to the block's size, `losses` receives the loss's
        numerator and its denominator, and `logits`, if it has any elements, the logits.
        """
        if version == "":  # what a closure holds is part of the key under which Numba caches the function
            return -1
        if training:
            return _train(
                x, labels, rows, batch_size, learning_rates, first_step, ops, constants, segments, shape,
                theta, gradient, moment_1, moment_2, running, tracked, stats, work,
                class_weights, smoothing, optimizer, hyper, steps_before, seed, losses, num_correct,
            )  # fmt: skip
        return _evaluate(
            x, labels, rows, ops, constants, shape, theta, running, stats, work, class_weights, smoothing,
            losses, num_correct, logits,
        )  # fmt: skip

    return run
