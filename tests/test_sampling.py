"""One token from its logits: distribution, mask, keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.decode.sampling import Sampling, choose, row_key

LOGITS = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1], jnp.float32))
DRAWS = 8000


def frequencies(sampling, legal=None):
    counts = jnp.arange(DRAWS)
    key = jnp.asarray(row_key("frequencies"))
    tokens = jax.vmap(lambda n: choose(LOGITS, legal, key, n, sampling)[0])(counts)
    return np.bincount(np.asarray(tokens), minlength=4) / DRAWS


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.5, 0.25, 0.15, 0.1]),
        # Temperature 0.5 squares the probabilities, 2 takes their roots.
        (0.5, 1.0, np.array([0.25, 0.0625, 0.0225, 0.01]) / 0.345),
        (2.0, 1.0, np.sqrt([0.5, 0.25, 0.15, 0.1]) / np.sqrt([0.5, 0.25, 0.15, 0.1]).sum()),
        (1.0, 0.5, [1, 0, 0, 0]),
        (1.0, 0.6, [2 / 3, 1 / 3, 0, 0]),
        (1.0, 0.8, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        # top_p counts probabilities after the temperature: 0.725 + 0.181 > 0.8.
        (0.5, 0.8, [0.8, 0.2, 0, 0]),
    ],
)
def test_draws_follow_temperature_and_top_p(temperature, top_p, expected):
    seen = frequencies(Sampling(temperature, top_p))
    np.testing.assert_allclose(seen, expected, atol=0.02)
    assert (seen[np.asarray(expected) == 0] == 0).all()


def test_top_p_is_taken_over_legal_tokens():
    seen = frequencies(Sampling(1.0, 0.6), legal=jnp.array([False, True, True, True]))
    np.testing.assert_allclose(seen, [0, 0.25 / 0.4, 0.15 / 0.4, 0], atol=0.02)


def test_temperature_zero_takes_the_likeliest_legal_token():
    legal = jnp.array([False, False, True, True])
    key = jnp.zeros(2, jnp.uint32)
    assert int(choose(LOGITS, None, key, 0, Sampling())[0]) == 0
    assert int(choose(LOGITS, legal, key, 0, Sampling())[0]) == 2


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.3), Sampling(2.0, 0.9)])
def test_logprob_is_the_models_own_before_mask_and_temperature(sampling):
    legal = jnp.array([False, True, True, False])
    token, logprob, alive = choose(LOGITS + 7.0, legal, jnp.zeros(2, jnp.uint32), 0, sampling)
    assert alive
    assert logprob.dtype == jnp.float32
    np.testing.assert_allclose(logprob, LOGITS[token], rtol=1e-5)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0), Sampling(1.0, 0.9)])
def test_nothing_can_be_chosen_from_no_legal_token_or_from_nan(sampling):
    key = jnp.zeros(2, jnp.uint32)
    assert not choose(LOGITS, jnp.zeros(4, bool), key, 0, sampling)[2]
    assert not choose(LOGITS.at[2].set(jnp.nan), None, key, 0, sampling)[2]
    assert not choose(LOGITS.at[2].set(jnp.inf), None, key, 0, sampling)[2]


def test_a_row_key_depends_on_every_part_and_on_nothing_else():
    parts = [0, "task", 0, 0, 0]
    keys = [row_key(*parts)]
    for i, other in enumerate([1, "kast", 1, 2, 3]):
        keys.append(row_key(*parts[:i], other, *parts[i + 1 :]))
    assert len({tuple(k.tolist()) for k in keys}) == len(keys)
    np.testing.assert_array_equal(keys[0], row_key(*parts))
    assert keys[0].dtype == np.uint32
    assert keys[0].shape == (2,)


@pytest.mark.parametrize(("temperature", "top_p"), [(-0.1, 1.0), (1.0, 0.0), (1.0, 1.1)])
def test_options_out_of_range_are_refused_by_name(temperature, top_p):
    with pytest.raises(ValueError, match=r"decode\.(temperature|top_p)"):
        Sampling(temperature, top_p)
