"""A good JAX loop for the comparison: jit(lax.scan) over optimizer steps, parameters and Adam's state as one vector.

Shapes: N jets, F features, C classes, B batch, S steps, P parameters.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from torch import nn

jax.config.update("jax_platforms", "cpu")


def _forward(layers: list[nn.Module], weights: list[Any], x_BF: Any, key: Any) -> tuple[Any, list[Any]]:
    """Logits, and the batch statistics of every BatchNorm."""
    statistics = []
    for layer, weight in zip(layers, weights, strict=True):
        if isinstance(layer, nn.Linear):
            x_BF = x_BF @ weight["w"].T + weight["b"]
        elif isinstance(layer, nn.BatchNorm1d):
            mean, var = x_BF.mean(0), x_BF.var(0)
            statistics.append((mean, var * (x_BF.shape[0] / (x_BF.shape[0] - 1))))
            x_BF = (x_BF - mean) * lax.rsqrt(var + layer.eps) * weight["w"] + weight["b"]
        elif isinstance(layer, nn.Dropout):
            key, now = jax.random.split(key)
            x_BF = jnp.where(jax.random.bernoulli(now, 1 - layer.p, x_BF.shape), x_BF / (1 - layer.p), 0.0)
        else:
            x_BF = jax.nn.relu(x_BF)
    return x_BF, statistics


def make_stretch(
    model: nn.Module, x_NF: Any, labels_N: Any, order: Any, batch_size: int, rate: float
) -> Callable[[int], None]:
    """A function that trains for S steps with Adam, and waits for the end."""
    layers = list(model.children())
    weights = [
        {"w": jnp.asarray(layer.weight.detach().numpy()), "b": jnp.asarray(layer.bias.detach().numpy())}
        if isinstance(layer, (nn.Linear, nn.BatchNorm1d))
        else {}
        for layer in layers
    ]
    theta_P, unravel = ravel_pytree(weights)
    running = [
        (jnp.zeros(layer.num_features), jnp.ones(layer.num_features))
        for layer in layers
        if isinstance(layer, nn.BatchNorm1d)
    ]
    x_NF, labels_N = jnp.asarray(x_NF), jnp.asarray(labels_N, jnp.int32)

    def loss_of(theta_P: Any, x_BF: Any, labels_B: Any, key: Any) -> Any:
        logits_BC, statistics = _forward(layers, unravel(theta_P), x_BF, key)
        log_p_BC = jax.nn.log_softmax(logits_BC)
        loss = -jnp.take_along_axis(log_p_BC, labels_B[:, None], 1).mean()
        return loss, ((logits_BC.argmax(1) == labels_B).sum(), statistics)

    def step(carry: Any, rows_B: Any) -> Any:
        theta_P, m_P, v_P, running, count = carry
        key = jax.random.fold_in(jax.random.key(0), count)
        (loss, (num_correct, statistics)), gradient_P = jax.value_and_grad(loss_of, has_aux=True)(
            theta_P, x_NF[rows_B], labels_N[rows_B], key
        )
        count = count + 1
        m_P = 0.9 * m_P + 0.1 * gradient_P
        v_P = 0.999 * v_P + 0.001 * gradient_P**2
        size = rate * m_P / (1 - 0.9**count)
        theta_P = theta_P - size / (jnp.sqrt(v_P / (1 - 0.999**count)) + 1e-8)
        running = [(0.9 * a + 0.1 * b, 0.9 * c + 0.1 * d) for (a, c), (b, d) in zip(running, statistics, strict=True)]
        return (theta_P, m_P, v_P, running, count), (loss, num_correct)

    scan = jax.jit(lambda carry, rows_SB: lax.scan(step, carry, rows_SB))
    state = [(theta_P, jnp.zeros_like(theta_P), jnp.zeros_like(theta_P), running, jnp.float32(0))]

    def stretch(num_steps: int) -> None:
        rows_SB = order.take(num_steps * batch_size).reshape(num_steps, batch_size).astype(np.int32)
        carry, outcome = scan(state[0], rows_SB)
        state[0] = carry
        jax.block_until_ready((carry, outcome))

    return stretch
