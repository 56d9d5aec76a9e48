"""Log-probabilities of given tokens, without the logits of a whole batch ever being there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jaxtyping import Array, Float, Int

# Logits of more positions than this many floats are never alive at once (for one task).
LOGIT_CHUNK = 1 << 25

Head = Callable[[Any, jax.Array, Any], jax.Array]
"""`head(weights, hidden[n, D], out_dtype) -> logits[n, V]`."""


def token_logprobs(
    head: Head, weights: Any, hidden: Float[Array, "n hidden"], targets: Int[Array, " n"], vocab_size: int
) -> Float[Array, " n"]:
    """log p(targets[i]) under the logits of hidden[i], in nats, float32.

    Positions go through in chunks. With a frozen head the gradient of each
    log-probability with respect to its hidden state, one vector, is made while
    the chunk's logits are there, and only scaled in the backward pass: the
    logits are computed once. Where the head is trained as well, they are
    computed again from the hidden states, for which one number a position (the
    log of the sum) is kept. Products of the gradient are in the type of
    `hidden`, as those of every other layer are.

    Args:
      head: the product that gives logits.
      weights: its arrays, frozen or trained.
      hidden: after the final norm.
      targets: token ids.
      vocab_size: width of the logits, for the size of chunks.
    """
    count = max(1, -(-len(targets) * vocab_size // LOGIT_CHUNK))
    size = -(-len(targets) // count)
    pad = count * size - len(targets)
    h_CxNxD = jnp.pad(hidden, ((0, pad), (0, 0))).reshape(count, size, -1)
    t_CxN = jnp.pad(targets, (0, pad)).reshape(count, size)
    logprobs: Any = _logprobs(head, weights, h_CxNxD, t_CxN)
    return logprobs.reshape(-1)[: len(targets)]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _logprobs(head: Head, weights: Any, h_CxNxD: jax.Array, t_CxN: jax.Array) -> jax.Array:
    return _map(lambda chunk: _picked(head, weights, *chunk)[0], (h_CxNxD, t_CxN))


def _forward(head, weights, h_CxNxD, t_CxN):
    trained = any(leaf.perturbed for leaf in jax.tree.leaves(weights, is_leaf=_is_primal))
    weights, h_CxNxD, t_CxN = jax.tree.map(lambda leaf: leaf.value, (weights, h_CxNxD, t_CxN), is_leaf=_is_primal)
    if trained:
        logprobs, totals = _map(lambda chunk: _picked(head, weights, *chunk)[:2], (h_CxNxD, t_CxN))
        return logprobs, (weights, h_CxNxD, t_CxN, totals, None)

    def with_gradient(chunk):
        h, t = chunk
        logprobs, totals, logits = _picked(head, weights, h, t)
        _, pull = jax.vjp(lambda h: head(weights, h, h.dtype), h)
        return logprobs, *pull(_gradient(logits, totals, t).astype(h.dtype))

    logprobs, gradients = _map(with_gradient, (h_CxNxD, t_CxN))
    return logprobs, (None, None, None, None, gradients)


def _backward(head, residuals, dy):
    weights, h_CxNxD, t_CxN, totals, gradients = residuals
    if isinstance(dy, SymbolicZero):
        return None, None, None
    if gradients is not None:
        return None, (dy[..., None] * gradients.astype(jnp.float32)).astype(gradients.dtype), None

    def pull_chunk(d_weights, chunk):
        h, t, total, d = chunk
        of_logits = d[:, None] * _gradient(head(weights, h, jnp.float32), total, t)
        _, pull = jax.vjp(lambda weights, h: head(weights, h, h.dtype), weights, h)
        of_weights, of_h = pull(of_logits.astype(h.dtype))
        return jax.tree.map(jnp.add, d_weights, of_weights), of_h

    d_weights, d_h = jax.lax.scan(
        pull_chunk, jax.tree.map(jnp.zeros_like, weights), (h_CxNxD, t_CxN, totals, dy), unroll=len(h_CxNxD) == 1
    )
    return d_weights, d_h, None


_logprobs.defvjp(_forward, _backward, symbolic_zeros=True)


def _picked(head: Head, weights: Any, h_NxD: jax.Array, t_N: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The log-probability of each target, the log of the sum of exponentials, and the logits."""
    logits = head(weights, h_NxD, jnp.float32)
    total = _log_sum_exp(logits)
    return jnp.take_along_axis(logits, t_N[:, None], axis=-1)[:, 0] - total, total, logits


def _log_sum_exp(logits: jax.Array) -> jax.Array:
    """Of each row, in one pass: its largest and the sum relative to that are reduced together (arXiv 1805.02867)."""

    def join(one: Any, other: Any) -> Any:
        largest = jnp.maximum(one[0], other[0])
        return largest, one[1] * jnp.exp(one[0] - largest) + other[1] * jnp.exp(other[0] - largest)

    # A finite start: of two infinite ones the difference is not a number.
    start = (np.finfo(np.float32).min, np.float32(0))
    largest, total = jax.lax.reduce((logits, jnp.ones_like(logits)), start, join, (logits.ndim - 1,))
    return largest + jnp.log(total)


def _gradient(logits: jax.Array, total: jax.Array, t_N: jax.Array) -> jax.Array:
    """Of the targets' log-probabilities with respect to the logits."""
    target = jnp.arange(logits.shape[-1])[None] == t_N[:, None]
    return target - jnp.exp(logits - total[:, None])


def _map(f: Callable[[Any], Any], chunks: Any) -> Any:
    """`f` of one chunk after the other; a loop only where there are several."""
    if len(jax.tree.leaves(chunks)[0]) > 1:
        return jax.lax.map(f, chunks)
    return jax.tree.map(lambda x: x[None], f(jax.tree.map(lambda x: x[0], chunks)))


def _is_primal(leaf: Any) -> bool:
    return isinstance(leaf, CustomVJPPrimal)
