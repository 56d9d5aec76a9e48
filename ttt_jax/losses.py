"""Every training objective, one pure function each.

The contract, for every stage (adaptation, SFT and what follows them):

    loss(trainable, frozen, batch, model) -> (scalar, metrics)

`trainable` and `frozen` are disjoint parts of the model's variables, for
example {"lora": adapter} and {"params": base}, or {"params": params} and {}.
Where adapters have dropout, `frozen` holds the masks of the step as well: apply
the model to both together, `{**frozen, **trainable}`.
`batch` is a dict of arrays. `metrics` is a dict of float32 scalars. A loss
knows nothing of tasks, steps or devices: adaptation maps it over tasks.

To use your own, write such a function in any importable module and name it in
the config: `--adapt.loss my_module:my_loss`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Variables = dict[str, Any]
Batch = dict[str, jax.Array]
Loss = Callable[[Variables, Variables, Batch, Any], tuple[jax.Array, dict[str, jax.Array]]]


def next_token(trainable: Variables, frozen: Variables, batch: Batch, model: Any):
    """Weighted mean cross-entropy of the next token, in nats.

    Args:
      batch: tokens int32[B, L], positions int32[B, L, axes], weights
        float32[B, L] (weights[b, i] is the weight of predicting tokens[b, i]
        from what precedes it; column 0 is ignored), and optionally segments
        int32[B, L].

    Returns:
      sum(weights * -log p) / sum(weights), and metrics: the loss and the summed weights.
    """
    variables = {**frozen, **trainable}
    hidden, _ = model.apply(variables, batch["tokens"], batch["positions"], batch.get("segments"), method="hidden")
    # The whole length goes through (the last position against a dummy target),
    # so that lengths stay multiples of the bucket size.
    targets = jnp.roll(batch["tokens"], -1, axis=1)
    weights = jnp.roll(batch["weights"], -1, axis=1).at[:, -1].set(0.0)
    logprobs = model.apply(variables, hidden, targets, method="token_logprobs")
    total = jnp.sum(weights)
    loss = -jnp.sum(weights * logprobs) / jnp.maximum(total, 1e-6)
    return loss, {"loss": loss, "loss_tokens": total}


LOSSES: dict[str, Loss] = {"next_token": next_token}


def get_loss(name: str) -> Loss:
    """A loss by its name in `LOSSES` or by a dotted path `my_module:my_loss`.

    Raises:
      ValueError: where neither exists, naming what is missing.
    """
    if name in LOSSES:
        return LOSSES[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"loss {name!r} is not one of {', '.join(LOSSES)}; a loss of your own is `my_module:my_loss`")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"loss {name!r} could not be imported: {error}") from error
