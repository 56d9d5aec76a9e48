"""Log-probabilities of tokens: those of the whole logits, with their gradients, whatever the chunk or vocabulary."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.model import head
from ttt_jax.model.head import token_logprobs

COUNT, HIDDEN = 30, 8


def product(kernel, hidden, out_dtype):
    return jnp.matmul(hidden, kernel.astype(hidden.dtype), preferred_element_type=out_dtype)


def case(vocab_size: int, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(vocab_size), 4)
    kernel = jax.random.normal(keys[0], (HIDDEN, vocab_size))
    hidden = jax.random.normal(keys[1], (COUNT, HIDDEN)).astype(dtype)
    targets = jax.random.randint(keys[2], (COUNT,), 0, vocab_size)
    return kernel, hidden, targets, jax.random.normal(keys[3], (COUNT,))


def plainly(kernel, hidden, targets):
    return jnp.take_along_axis(jax.nn.log_softmax(hidden @ kernel), targets[:, None], axis=-1)[:, 0]


@pytest.mark.parametrize("trained", [(0,), (1,), (0, 1)], ids=["head", "hidden", "both"])
@pytest.mark.parametrize("chunk", [1 << 25, 7], ids=["whole", "chunks of 7"])
@pytest.mark.parametrize("vocab_size", [16, 3000])
def test_values_and_gradients_are_those_of_the_whole_logits(vocab_size, chunk, trained, monkeypatch) -> None:
    monkeypatch.setattr(head, "LOGIT_CHUNK", chunk * vocab_size)
    kernel, hidden, targets, weights = case(vocab_size)

    def total(f):
        def weighted(kernel, hidden):
            logprobs = f(kernel, hidden)
            return (weights * logprobs).sum(), logprobs

        return jax.jit(jax.grad(weighted, trained, has_aux=True))(kernel, hidden)

    ours = total(lambda kernel, hidden: token_logprobs(product, kernel, hidden, targets, vocab_size))
    theirs = total(lambda kernel, hidden: plainly(kernel, hidden, targets))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=1e-5)


def test_mapped_over_tasks_with_one_frozen_head(monkeypatch) -> None:
    monkeypatch.setattr(head, "LOGIT_CHUNK", 7 * 16)
    kernel, hidden, targets, weights = case(16)
    stacked = jnp.stack([hidden, 2 * hidden])

    def gradient(f):
        one_task = lambda h: (weights * f(kernel, h)).sum()  # noqa: E731
        return jax.jit(jax.vmap(jax.grad(one_task)))(stacked)

    ours = gradient(lambda kernel, h: token_logprobs(product, kernel, h, targets, 16))
    theirs = gradient(lambda kernel, h: plainly(kernel, h, targets))
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-4, atol=1e-5)


def test_a_frozen_heads_logits_are_computed_once() -> None:
    kernel, hidden, targets, weights = case(3000)

    def operations(trained):
        def loss(kernel, hidden):
            return (weights * token_logprobs(product, kernel, hidden, targets, 3000)).sum()

        return jax.jit(jax.grad(loss, trained)).lower(kernel, hidden).compile().cost_analysis()["flops"]

    one = 2 * COUNT * HIDDEN * 3000
    assert 2 * one <= operations(1) < 3 * one <= operations((0, 1))


def test_bfloat16_gives_gradients_of_its_own_type_close_to_the_exact_ones() -> None:
    kernel, hidden, targets, weights = case(300)
    exact = jax.grad(lambda h: (weights * plainly(kernel, h, targets)).sum())(hidden)
    low = jax.grad(lambda h: (weights * token_logprobs(product, kernel, h, targets, 300)).sum())(
        hidden.astype(jnp.bfloat16)
    )
    assert low.dtype == jnp.bfloat16
    assert np.abs(np.asarray(low, np.float32) - exact).max() < 0.03 * np.abs(exact).max()
