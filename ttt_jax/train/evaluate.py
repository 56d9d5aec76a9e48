"""How well a base model answers the last pair of a sequence from the pairs before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ttt_jax.tasks.rearc import held_out_ids, training_ids
from ttt_jax.train.config import TrainConfig
from ttt_jax.train.data import LAST_OUTPUT, Batch, make_rows


def eval_batches(config: TrainConfig) -> dict[str, list[Batch]]:
    """Fixed sequences, the same at every step: `held_out` generators, and `fresh` pairs of the training ones."""
    if not config.eval.every:
        return {}
    own = dict(invented=0.0, crossed=0.0, altered=0.0)  # shares: the generators' own rules
    data = dataclasses.replace(config.data, reuse=1, **own)
    rows = data.rows(config.eval.length)
    batches = -(-config.eval.rows // rows)
    return {
        name: [make_rows(data, ids, config.eval.length, rows, (name, config.seed, b)) for b in range(batches)]
        for name, ids in (("held_out", held_out_ids()), ("fresh", training_ids()))
    }


def make_last_pair_scores(model: Any, expand: Callable[[Any], Any]) -> Callable[[Any, Any], dict[str, jax.Array]]:
    """A jitted `scores(params, compact batch)`, summed over the rows of the batch.

    Returns of it: `nll` (nats) and `tokens` over the tokens of last outputs,
    `exact`, the rows whose last output is the most likely token at every place
    given the true tokens before it (just then greedy decoding finds it), and
    `rows`.
    """

    @jax.jit
    def scores(params: Any, compact: dict[str, jax.Array]) -> dict[str, jax.Array]:
        batch = expand(compact)
        variables = {"params": params}
        hidden, _ = model.apply(variables, batch["tokens"], batch["positions"], method="hidden")
        logprobs = jax.nn.log_softmax(model.apply(variables, hidden, method="logits"))[:, :-1]
        targets, asked = batch["tokens"][:, 1:], compact["roles"][:, 1:] == LAST_OUTPUT
        picked = jnp.take_along_axis(logprobs, targets[..., None], axis=-1)[..., 0]
        right = jnp.argmax(logprobs, axis=-1) == targets
        return {
            "nll": -jnp.sum(picked * asked),
            "tokens": jnp.sum(asked),
            "exact": jnp.sum(jnp.all(right | ~asked, axis=1)),
            "rows": jnp.asarray(len(targets)),
        }

    return scores


def evaluate(
    scores: Callable[[Any, Any], dict[str, jax.Array]], params: Any, batches: dict[str, list[Any]]
) -> dict[str, float]:
    """`{name}_loss`, mean nats per token of the last outputs, and `{name}_exact`, the share answered whole."""
    results = {}
    for name, compact in batches.items():
        totals = jax.tree.map(lambda *parts: float(sum(parts)), *[scores(params, c) for c in compact])
        results[f"{name}_loss"] = totals["nll"] / totals["tokens"]
        results[f"{name}_exact"] = totals["exact"] / totals["rows"]
    return results
