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

from jsc.engine.arguments import ADAM, ADAMW, SGD, SGD_NESTEROV, Block
from jsc.engine.compilation import BARE, Compiled, fingerprint
from jsc.engine.layer_kernels import (
    ask_for,
    backward,
    batch_norm_backward_apply,
    batch_norm_block,
    batch_norm_finish,
    batch_norm_gradient,
    batch_norm_in_evaluation,
    compiled,
    cross_entropy,
    forward,
    gather,
)
from jsc.engine.layers import Kind
from jsc.engine.vectors import lanes, load, square_root, store

# What decides over the machine code.
_SOURCES = (
    "arguments.py", "elementary.py", "kernel.py", "layer_kernels.py", "layers.py", "program.py", "tiles.py",
    "vectors.py",
)  # fmt: skip

STATUS_DONE, STATUS_BAD_ROW, STATUS_BAD_LABEL, STATUS_UNKNOWN_OPTIMIZER = range(4)

# Numba optimises a function again within each of its callers, and theirs: these would double the compile time.
inlined = njit(inline="always", **BARE)


@compiled
def _adam(state: Any, update: Any, lr: float, step: int) -> None:
    theta, gradient, moment_1, moment_2 = state.theta, state.gradient, state.moment_1, state.moment_2
    rate = lr / (1.0 - update.beta_1**step)
    root_correction = np.sqrt(1.0 - update.beta_2**step)
    keep = 1.0 - lr * update.weight_decay
    for at in range(0, len(theta), lanes(theta)):
        w, g = load(theta, at), load(gradient, at)
        if update.kind == ADAMW:
            w = w * keep
        else:
            g = g + w * update.weight_decay
        m = load(moment_1, at)
        m = m + (g - m) * (1.0 - update.beta_1)
        v = load(moment_2, at) * update.beta_2 + g * g * (1.0 - update.beta_2)
        store(moment_1, at, m)
        store(moment_2, at, v)
        store(theta, at, w - m * rate / (square_root(v) / root_correction + update.eps))


@compiled
def _sgd(state: Any, update: Any, lr: float, step: int) -> None:
    theta, gradient, buffer = state.theta, state.gradient, state.moment_1
    for at in range(0, len(theta), lanes(theta)):
        w = load(theta, at)
        g = load(gradient, at) + w * update.weight_decay
        if update.momentum != 0.0:
            b = g if step == 1 else load(buffer, at) * update.momentum + g * (1.0 - update.dampening)
            store(buffer, at, b)
            g = g + b * update.momentum if update.kind == SGD_NESTEROV else b
        store(theta, at, w - g * lr)


@inlined
def _block(memory: Any, index: int, num_jets: int) -> Any:
    """The block number `index` of a batch of `num_jets`."""
    first = index * memory.jets_a_block
    count = min(memory.jets_a_block, num_jets - first)
    num_vectors = (count + lanes(memory.work) - 1) // lanes(memory.work)
    return Block(memory.work, index * memory.block_size, memory.stride, first, count, num_vectors)


@inlined
def _train(jets: Any, steps: Any, network: Any, state: Any, memory: Any, loss: Any, update: Any, outcome: Any) -> int:
    rows, labels, batch_size = steps.rows, jets.labels, steps.batch_size
    ops, segments = network.ops, network.segments
    num_features, num_classes = network.num_features, network.num_classes
    theta, gradient, stats = state.theta, state.gradient, state.stats
    num_segments = len(segments) - 1
    last = ops[len(ops) - 1]
    num_pauses = 2 * (len(ops) + num_segments) - 1  # occasions within a step to ask for the next step's jets
    for step in range(len(steps.learning_rates)):
        start = step * batch_size
        num_jets = min(batch_size, len(rows) - start)
        num_blocks = (num_jets + memory.jets_a_block - 1) // memory.jets_a_block
        is_good = True
        for at in range(start, start + num_jets):
            is_good &= (rows[np.uint64(at)] >= 0) & (rows[np.uint64(at)] < len(labels))
        if not is_good:
            return STATUS_BAD_ROW
        total_weight = float(num_jets)
        if loss.is_weighted:
            total_weight = 0.0
            for at in range(start, start + num_jets):
                label = labels[np.uint64(rows[np.uint64(at)])]
                if 0 <= label < num_classes:
                    total_weight += loss.class_weights[label]
        gradient[:] = 0
        batch_loss, right = 0.0, 0
        ahead = start + min(num_jets, memory.jets_a_block)
        quota = ((memory.jets_a_block if num_blocks == 1 else 0) + num_pauses - 1) // num_pauses

        for segment in range(num_segments):
            begin, end = segments[segment], segments[segment + 1]
            is_last = segment == num_segments - 1
            for index in range(num_blocks):
                block = _block(memory, index, num_jets)
                if segment == 0:
                    is_good &= gather(jets, rows, start + block.first, 0, num_features, num_classes, block)
                    if num_blocks > 1:
                        after = start + block.first + block.num_jets
                        ask_for(jets, rows, after, after + block.num_jets, num_features)
                for k in range(begin, end):
                    ahead = ask_for(jets, rows, ahead, ahead + quota, num_features)
                    forward(ops[k], theta, stats, steps.seed, steps.first_step + step, block)
                ahead = ask_for(jets, rows, ahead, ahead + quota, num_features)
                if not is_last:
                    batch_norm_block(ops[end], stats, block)
                    continue
                block_loss, block_right = cross_entropy(last, loss, total_weight, block)
                batch_loss += block_loss
                right += block_right
                for k in range(end - 1, begin - 1, -1):
                    if ops[k].wants_dy:
                        ahead = ask_for(jets, rows, ahead, ahead + quota, num_features)
                        backward(ops[k], theta, gradient, stats, block)
            if not is_good:
                return STATUS_BAD_LABEL
            if not is_last:
                batch_norm_finish(ops[end], stats, state.running, state.counters, step, num_jets)

        for segment in range(num_segments - 1, 0, -1):
            end, begin = segments[segment], segments[segment - 1]
            batch_norm_gradient(ops[end], stats, gradient)
            if not ops[end].wants_dx:
                break
            for index in range(num_blocks):
                block = _block(memory, index, num_jets)
                ahead = ask_for(jets, rows, ahead, ahead + quota, num_features)
                batch_norm_backward_apply(ops[end], theta, stats, block, num_jets)
                for k in range(end - 1, begin - 1, -1):
                    if ops[k].wants_dy:
                        ahead = ask_for(jets, rows, ahead, ahead + quota, num_features)
                        backward(ops[k], theta, gradient, stats, block)

        ahead = ask_for(jets, rows, ahead, ahead + quota, num_features)
        lr, steps_now = steps.learning_rates[step], update.steps_before + step + 1
        if update.kind == ADAM or update.kind == ADAMW:
            _adam(state, update, lr, steps_now)
        elif update.kind == SGD or update.kind == SGD_NESTEROV:
            _sgd(state, update, lr, steps_now)
        else:
            return STATUS_UNKNOWN_OPTIMIZER
        outcome.losses[step] = batch_loss
        outcome.num_correct[step] = right
    return STATUS_DONE


@inlined
def _evaluate(jets: Any, steps: Any, network: Any, state: Any, memory: Any, loss: Any, outcome: Any) -> int:
    labels, ops, num_classes, logits = jets.labels, network.ops, network.num_classes, outcome.logits
    for op in ops:
        if op.kind == Kind.BATCH_NORM:
            batch_norm_in_evaluation(op, state.stats, state.running)
    loss_sum, weight, right = 0.0, 0.0, 0
    last = ops[len(ops) - 1]
    for first in range(0, len(labels), memory.jets_a_block):
        block = _block(memory, 0, len(labels) - first)
        if not gather(jets, steps.rows, 0, first, network.num_features, num_classes, block):
            return STATUS_BAD_LABEL
        for jet in range(first, first + block.num_jets):
            weight += loss.class_weights[np.uint64(labels[np.uint64(jet)])]
        for k in range(len(ops)):
            forward(ops[k], state.theta, state.stats, steps.seed, 0, block)
        block_loss, block_right = cross_entropy(last, loss, 1.0, block)
        loss_sum += block_loss
        right += block_right
        if outcome.wants_logits:
            for jet in range(block.num_jets):
                for c in range(num_classes):
                    logit = memory.work[np.uint64((last.y + c) * memory.stride + jet)]
                    logits[np.uint64((first + jet) * num_classes + c)] = logit
    outcome.losses[0], outcome.losses[1], outcome.num_correct[0] = loss_sum, weight, right
    return STATUS_DONE


@functools.cache
def kernel() -> Compiled:
    """The only one; `run` below says what it takes."""
    folder = Path(__file__).parent
    return Compiled("the fused engine", _make_run(fingerprint([folder / name for name in _SOURCES])))


def _make_run(version: str) -> Callable[..., Any]:
    """The function to compile; `version` tells versions of these sources apart."""

    def run(
        training: bool, jets: Any, steps: Any, network: Any, state: Any, memory: Any, loss: Any, update: Any,
        outcome: Any,
    ) -> Any:  # fmt: skip
        """Train, or evaluate; returns a STATUS_ code. One function, so that there is one compilation.

        The arguments are the groups of `jsc.engine.arguments`, by their names.
        Training takes an optimizer step for each learning rate, on consecutive batches of rows. Evaluation takes jet
        after jet of the table, with running statistics.
        """
        if version == "":  # what a closure holds is part of the key under which Numba caches the function
            return -1
        if training:
            return _train(jets, steps, network, state, memory, loss, update, outcome)
        return _evaluate(jets, steps, network, state, memory, loss, outcome)

    return run
