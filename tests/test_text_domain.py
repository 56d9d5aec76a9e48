"""Text domains: tokens of demonstrations and of decoded answers agree; prompts that share a prefix decode alike."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from text_tools import boolean_examples, choice_examples, tiny_text_config, tiny_tokenizer, write_bbh

from ttt_jax.adapt.examples import ExampleStream, loss_weights
from ttt_jax.config import DecodeConfig, ExamplesConfig, LoraConfig, TasksConfig
from ttt_jax.decode.candidates import decode_candidates
from ttt_jax.decode.shared import common_lengths, decode_shared, read_tokens, views_and_rows
from ttt_jax.decode.views import make_views
from ttt_jax.evaluate.records import task_files
from ttt_jax.evaluate.summary import note
from ttt_jax.model.cache import Cache, Prefix
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.lora import init_adapter
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task
from ttt_jax.tasks.text import TextDomain

TOKENIZER = tiny_tokenizer()


class Echo(TextDomain):
    """One-line answers to one-line questions."""

    name = "echo"

    def instructions(self, demos):
        return "Repeat.\n\n"

    def question(self, query, alone=False):
        return f"Q: {query}\nA:"

    def answer_text(self, answer):
        return f" {answer}"

    def parse_text(self, text):
        return text.strip() or None


class LongEcho(Echo):
    one_line = False


DEMOS = (("a b", "a"), ("c d", "c"), ("e", "e"))
TASK = Task("t", DEMOS, ("f g",), ("f",))


@pytest.mark.parametrize("kind", [Echo, LongEcho])
def test_an_answer_has_the_same_tokens_in_a_demonstration_and_as_it_is_read_back(kind):
    domain = kind().bind(TOKENIZER)
    encoded = domain.encode(DEMOS)
    for k, (_, answer) in enumerate(DEMOS):
        own = encoded.tokens[encoded.outputs == k]
        assert own[-1] == domain.stop_token
        assert domain.parse(own.tolist()) == domain.parse(own[:-1].tolist()) == answer


@pytest.mark.parametrize("kind", [Echo, LongEcho])
def test_the_text_of_a_prompt_is_what_the_domain_writes(kind):
    domain = kind().bind(TOKENIZER)
    assert TOKENIZER.decode(domain.encode(DEMOS, "f g").tokens) == domain.prompt(DEMOS, "f g")


def test_a_prompt_with_its_answer_is_the_training_sequence():
    domain = Echo().bind(TOKENIZER)
    prompt, whole = domain.encode(DEMOS[:2], DEMOS[2][0]).tokens, domain.encode(DEMOS).tokens
    np.testing.assert_array_equal(whole[: len(prompt)], prompt)
    assert domain.parse(whole[len(prompt) :].tolist()) == "e"


def test_one_line_answers_end_at_any_token_that_holds_a_newline():
    domain = Echo().bind(TOKENIZER)
    newlines = {t for t in range(TOKENIZER.vocab_size) if "\n" in TOKENIZER.decode([t])}
    assert len(newlines) == 2 and newlines | {TOKENIZER.eos_token} == set(domain.stop_tokens)
    assert TOKENIZER.decode([domain.stop_token]) == "\n"
    assert LongEcho().bind(TOKENIZER).stop_tokens == (TOKENIZER.eos_token,)


def test_an_answer_that_ran_out_of_room_is_read_as_far_as_it_goes():
    domain = Echo().bind(TOKENIZER)
    assert domain.decoded(TOKENIZER.encode(" a long answer"), TASK) == "a long answer"
    assert domain.decoded(TOKENIZER.encode(" a\nQ: and more"), TASK) == "a"
    assert domain.decoded([], TASK) is None


def test_a_domain_of_text_refuses_a_model_of_grids_and_the_other_way_round():
    with pytest.raises(ValueError, match="'echo' is text, and the model reads none"):
        Echo().bind(get_domain("arc"))
    with pytest.raises(ValueError, match="reads text, not grids"):
        get_domain("arc").bind(TOKENIZER)


def test_too_long_prompts_lose_whole_demonstrations_from_the_end():
    domain = Echo().bind(TOKENIZER)
    most = domain.prompt_tokens(replace(TASK, demos=DEMOS[:2]))
    assert most == len(domain.encode(DEMOS[:2], "f g"))
    fitted = domain._fit(TASK, most)
    assert fitted.demos == DEMOS[:2] and fitted.dropped_demos == 1
    assert domain._fit(TASK, most - 1).dropped_demos == 2
    assert domain._fit(TASK, 10_000) == TASK


def test_orders_are_permutations_that_leave_questions_and_answers_alone():
    domain, rng = Echo().bind(TOKENIZER), np.random.default_rng(0)
    seen = {domain.transform(("order",), TASK, rng).apply(TASK).demos for _ in range(50)}
    assert len(seen) == 6 and all(sorted(demos) == sorted(DEMOS) for demos in seen)
    views = domain.views(("order",), TASK, 4, rng)
    assert views[0].name == "identity" and views[1].invert("x") == "x"
    with pytest.raises(ValueError, match="no transform called 'colours'"):
        domain.views(("colours",), TASK, 4, rng)


def weights(layout: str, **options) -> np.ndarray:
    domain = Echo().bind(TOKENIZER)
    encoded = domain.encode(DEMOS)
    found = loss_weights(encoded.outputs, ExamplesConfig(layout=layout, transforms=(), **options))  # pyright: ignore
    return np.array([found[encoded.outputs == k].mean() for k in (-1, 0, 1, 2)])


def test_loss_is_on_the_answers_that_the_layout_says():
    np.testing.assert_allclose(weights("all_outputs", first_output_loss=1.0), [0, 1, 1, 1])
    np.testing.assert_allclose(weights("all_outputs"), [0, 0, 1, 1])
    np.testing.assert_allclose(weights("leave_one_out", demo_loss=False, first_output_loss=1.0), [0, 0, 0, 1])
    inputs = weights("all_outputs", first_output_loss=1.0, input_loss=1.0)
    assert inputs[0] > 0.9 and (inputs[1:] == 1).all()


def test_direct_training_shows_one_demonstration_at_a_time():
    domain = Echo().bind(TOKENIZER)
    stream = ExampleStream(TASK, domain, ExamplesConfig(layout="direct", transforms=("order",)), seed=0)
    alone = {domain.encode([pair]).tokens.tobytes() for pair in DEMOS}
    assert {encoded.tokens.tobytes() for encoded in stream.sequences(0, 40)} == alone
    assert stream.max_length == max(len(domain.encode([pair])) for pair in DEMOS)
    batch = stream.batch(0, 2, stream.max_length)
    assert (batch["weights"].sum(axis=1) > 0).all()


def test_prompts_without_demonstrations_are_zero_shot():
    domain = Echo().bind(TOKENIZER)
    view = make_views(TASK, 0, domain, DecodeConfig(views=1, transforms=("order",), show_demos=False), seed=0)[0]
    np.testing.assert_array_equal(view.prompt.tokens, domain.encode((), "f g").tokens)


@pytest.fixture(scope="module")
def model():
    model = Decoder(tiny_text_config(TOKENIZER))
    return model, model.init(jax.random.key(1), jax.numpy.zeros((1, 2), jax.numpy.int32))["params"]


@pytest.fixture(scope="module")
def bbh(tmp_path_factory):
    files = {"boolean_expressions": boolean_examples(8), "hyperbaton": choice_examples(9)}
    folder = write_bbh(tmp_path_factory.mktemp("bbh"), files)
    domain = get_domain("bbh").bind(TOKENIZER)
    return domain, domain.load(TasksConfig(domain="bbh", path=str(folder), demos=3, seeds=(42,))).tasks


@pytest.mark.parametrize(
    ("sampled", "adapted"),
    [
        (True, True),
        (False, False),
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
    ],
)
def test_reading_common_tokens_once_gives_the_answers_and_logprobs_of_reading_them_every_time(
    model, bbh, adapted, sampled
):
    model, base = model
    domain, tasks = bbh
    sampling = {"samples": 2, "temperature": 0.8} if sampled else {}
    config = DecodeConfig(views=2, transforms=("order",), slots=4, chunk=3, max_new_tokens=8, **sampling)  # pyright: ignore
    views = [[make_views(task, q, domain, config, seed=0) for q in range(len(task.queries))] for task in tasks]
    trainable = None
    if adapted:
        keys = jax.random.split(jax.random.key(2), 2)
        adapters = jax.vmap(lambda key: init_adapter(key, model.config, LoraConfig(rank=4)))(keys)
        # b starts at zero, which changes nothing; these adapters do.
        trainable = {"lora": jax.tree.map(lambda x: x + 0.05 * jax.random.normal(keys[1], x.shape), adapters)}
    queries = [(t, of_query) for t, of_task in enumerate(views) for of_query in of_task]
    plain = decode_candidates(model, base, trainable, queries, domain, config, 512, seed=0)
    shared = decode_shared(model, base, trainable, list(enumerate(views)), domain, config, (64, 256, 512), seed=0)
    assert len(shared) == len(plain) == sum(len(task.queries) for task in tasks)
    for a, b in zip(shared, plain, strict=True):
        assert [replace(c, logprob=0.0) for c in a] == [replace(c, logprob=0.0) for c in b]
        np.testing.assert_allclose([c.logprob for c in a], [c.logprob for c in b], atol=2e-4)
    assert len({c.tokens for of_query in shared for c in of_query}) > 1


@pytest.mark.parametrize(
    ("queries", "room", "shards", "views", "rows"),
    [
        (5, 8, 1, 1, 8),
        (5, 8, 4, 4, 2),
        (240, 1024, 1, 4, 256),
        (240, 256, 4, 4, 64),
        (240, 2, 4, 4, 1),
        (3, 100, 3, 27, 4),
    ],
)
def test_a_device_has_no_more_rows_than_its_share_of_the_room(queries, room, shards, views, rows):
    assert views_and_rows(queries, room, shards) == (views, rows)


@pytest.mark.parametrize("window", [None, 5])
def test_rows_see_as_much_of_a_shared_prefix_as_of_one_of_their_own(window):
    """Rows of several lengths after a padded prefix; a window counts tokens, not slots."""
    config = replace(tiny_text_config(TOKENIZER), sliding_window=window)
    model, read, own = Decoder(config), 7, np.array([4, 2])
    tokens = np.random.default_rng(0).integers(0, TOKENIZER.vocab_size, (2, read + 4)).astype(np.int32)
    tokens[1, :read] = tokens[0, :read]

    @jax.jit
    def both(tokens):
        params = {"params": model.init(jax.random.key(0), tokens)["params"]}
        whole, _ = model.apply(params, tokens, method="hidden")
        padded = jnp.pad(tokens[:1, :read], ((0, 0), (0, 3)))
        _, cache = model.apply(params, padded, cache=Cache.empty(config, 1, read + 3, jnp.float32), method="hidden")
        keys, values = jax.tree.map(lambda x: x[0], (cache.keys, cache.values))
        cache = replace(Cache.empty(config, 2, 4, jnp.float32), prefix=Prefix(keys, values, jnp.asarray(read)))
        positions = jnp.broadcast_to(read + jnp.arange(4)[None, :, None], (2, 4, 1))
        return whole, model.apply(params, tokens[:, read:], positions, None, cache, method="hidden")[0]

    whole, after = both(tokens)
    for row, length in enumerate(own):
        np.testing.assert_allclose(after[row, :length], whole[row, read : read + length], atol=2e-5)


def test_common_tokens_are_counted_once_a_view(bbh):
    domain, tasks = bbh
    config = DecodeConfig(views=2, transforms=("order",))
    views = [make_views(tasks[0], q, domain, config, seed=0) for q in range(len(tasks[0].queries))]
    common = common_lengths(views)
    for v, n in enumerate(common):
        assert len({of_query[v].prompt.tokens[:n].tobytes() for of_query in views}) == 1
        assert n > 0.5 * len(views[0][v].prompt)
    every = sum(len(view.prompt) for of_query in views for view in of_query)
    assert read_tokens(views, 1) == every - (len(views) - 1) * sum(common)


def test_the_journal_and_the_table_say_how_many_demonstrations_were_dropped(bbh):
    domain, tasks = bbh
    short = domain._fit(tasks[0], domain.prompt_tokens(tasks[0]) - 1)
    record = task_files(short.hide_answers(), {}, None, domain)["record"]
    assert record["dropped_demos"] == short.dropped_demos == 1
    assert "1 demonstrations too many for the prompt" in note(record)
    assert "dropped_demos" not in task_files(tasks[0].hide_answers(), {}, None, domain)["record"]
