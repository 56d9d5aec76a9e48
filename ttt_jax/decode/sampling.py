"""The choice of one token from its logits, and the key that makes a draw its row's own."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from ttt_jax.tasks.task import keyed_rng


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
      temperature: divides the logits; 0 takes the likeliest token.
      top_p: draw from the smallest set of likeliest tokens whose
        probabilities (at this temperature) sum to at least this
        (arXiv 1904.09751).
    """

    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"decode.temperature {self.temperature}: must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"decode.top_p {self.top_p}: must lie in (0, 1]; 1 keeps every token")


def row_key(*parts: int | str) -> UInt32[np.ndarray, " 2"]:
    """The random key of one row, a function of `parts` alone: (seed, task id, query, view, sample).

    What a row draws therefore depends neither on its place in the batch nor on its neighbours.
    """
    return keyed_rng(*parts).integers(0, 2**32, size=2, dtype=np.uint32)


def choose(
    logits: Float[Array, " vocab"],
    legal: Bool[Array, " vocab"] | None,
    key: UInt32[Array, " 2"],
    count: Int[Array, ""] | int,
    sampling: Sampling,
) -> tuple[Int[Array, ""], Float[Array, ""], Bool[Array, ""]]:
    """The next token of one row.

    Illegal tokens are left out first, then comes the temperature, then top_p
    over what is left.

    Args:
      logits: float32, the model's own.
      legal: tokens that may come; None allows all.
      key: of the row (`row_key`).
      count: how many tokens the row has drawn before; each draws from its own fold of the key.
      sampling: greedy, or how to draw.

    Returns:
      token; its log-probability under the model (nats; before mask,
      temperature and top_p); and whether there was anything to choose: False
      where no token is legal or the logits are not finite, and then the other
      two mean nothing.
    """
    masked = logits if legal is None else jnp.where(legal, logits, -jnp.inf)
    if sampling.temperature == 0:
        token = jnp.argmax(masked)
    else:
        draw = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), count)
        scaled = masked / sampling.temperature
        if sampling.top_p == 1:
            token = jax.random.categorical(draw, scaled)
        else:
            order = jnp.argsort(-scaled)
            best_first = scaled[order]
            probabilities = jax.nn.softmax(best_first)
            before = jnp.cumsum(probabilities) - probabilities
            token = order[jax.random.categorical(draw, jnp.where(before < sampling.top_p, best_first, -jnp.inf))]
    alive = jnp.isfinite(jnp.max(masked)) & ~jnp.any(jnp.isnan(logits))
    logprob = logits[token] - jax.nn.logsumexp(logits)
    return token.astype(jnp.int32), logprob, alive
