"""What the three generated domains share: steps in demonstrations, tasks drawn without end, exact training texts."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from random_checkpoint import byte_tokenizer
from text_tools import tiny_tokenizer

from ttt_jax.config import TasksConfig
from ttt_jax.model.errors import ModelError
from ttt_jax.process.judging import judge
from ttt_jax.tasks.problem_text import with_steps
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tokenizers.text import TextTokenizer

SOURCES = (
    "zebra/train?sizes=2x3,3x4&demos=2&each=1&steps=true",
    "graphs/train?questions=spanning_tree,connectivity&nodes=5&demos=2&each=1&steps=true",
    "diagnosis/train?sizes=4&demos=2&each=1&steps=true",
)


def tasks_of(source: str):
    domain = get_domain(source.partition("/")[0])
    return domain, domain.read(TasksConfig(domain=domain.name, source=source)).tasks


@pytest.mark.parametrize("source", SOURCES)
def test_demos_with_steps_show_valid_chains_that_end_in_a_right_answer_in_every_view(source):
    domain, tasks = tasks_of(source)
    for task in tasks:
        for view in domain.views(domain.kinds, task, 3, np.random.default_rng(0)):
            shown = view.apply(task)
            assert with_steps(shown.queries[0])
            for x, y in shown.demos:
                text = domain.solved_text(x, y)
                chain = judge(domain.name, x, text, right=True)
                assert chain.verdicts and chain.first_error < 0
                assert domain.same(domain.parse_text(text), y)
                assert text in domain.prompt(shown.demos, shown.queries[0])


@pytest.mark.parametrize("source", SOURCES)
def test_a_training_text_begins_with_the_very_prompt_and_its_answer_has_the_tokens_of_a_demo(source):
    domain, (task, *_) = tasks_of(source)
    bound, answer = domain.bind(tiny_tokenizer()), task.answers[0]
    for demos in ((), task.demos):
        prompt, solved = bound.encode(demos, task.queries[0]), bound.encode_solved(demos, task.queries[0], answer)
        written = solved.tokens[len(prompt) :]
        assert np.array_equal(solved.tokens[: len(prompt)], prompt.tokens)
        assert (solved.outputs[len(prompt) :] == len(demos)).all() and written[-1] == bound.stop_token
        as_demo = bound.encode([(task.queries[0], answer)])
        assert np.array_equal(as_demo.tokens[as_demo.outputs == 0], written)


@pytest.mark.parametrize("source", SOURCES)
def test_steps_change_neither_the_problems_nor_their_answers_and_outlive_a_pickle(source):
    domain, tasks = tasks_of(source)
    _, plain = tasks_of(source.replace("&steps=true", ""))
    assert [(t.id, t.queries, t.answers) for t in tasks] == [(t.id, t.queries, t.answers) for t in plain]
    assert not with_steps(plain[0].queries[0]) and with_steps(pickle.loads(pickle.dumps(tasks[0].queries[0])))
    assert domain.solved_text(plain[0].queries[0], plain[0].answers[0]) == domain.answer_text(plain[0].answers[0])


@pytest.mark.parametrize("source", SOURCES)
def test_tasks_are_drawn_without_end_the_first_of_them_those_of_the_source(source):
    domain, tasks = tasks_of(source)
    options = domain.parse_options(source)
    drawn = [domain.draw_task(options, index) for index in range(3 * len(tasks))]
    assert [t.id for t in drawn[: len(tasks)]] == [t.id for t in tasks]
    assert len({t.queries for t in drawn}) == len(drawn)


def test_in_a_chat_questions_are_the_users_turns_and_answers_the_assistants_to_the_token():
    tokenizer = byte_tokenizer()
    tokenizer.core.add_special_tokens(["<turn>"])
    template = (
        "{{ bos_token }}{% for m in messages %}<turn>{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    )
    template += "{% if add_generation_prompt %}<turn>assistant: {% endif %}"
    tokenizer = TextTokenizer(tokenizer.core, tokenizer.special, chat_template=template)
    source = SOURCES[1] + "&chat=true"
    domain = get_domain("graphs").bind(tokenizer)
    (task, *_) = domain.read(TasksConfig(domain="graphs", source=source)).tasks
    for view in domain.views(("nodes",), task, 2, np.random.default_rng(0)):
        shown = view.apply(task)
        ((x, y), *others), query = shown.demos, shown.queries[0]
        opening = domain.opening(shown.demos, query)
        turns = [("user", opening + domain.question(x).rstrip()), ("assistant", domain.solved_text(x, y))]
        for x, y in others:
            turns += [("user", domain.question(x).rstrip()), ("assistant", domain.solved_text(x, y))]
        turns.append(("user", domain.question(query).rstrip()))
        expected = tokenizer.encode_chat([{"role": role, "content": text} for role, text in turns])
        found = domain.encode(shown.demos, query)
        assert tokenizer.decode(found.tokens, special=True) == tokenizer.decode(expected, special=True)
        assert found.tokens[found.outputs == 0][-1] == tokenizer.eos_token
    with pytest.raises(ModelError, match="no chat template"):
        get_domain("graphs").bind(tiny_tokenizer()).encode(task.demos, task.queries[0])
    odd = TextTokenizer(tokenizer.core, tokenizer.special, chat_template=template.replace("{{ eos_token }}", "!"))
    with pytest.raises(ModelError, match="leave out chat=true"):
        get_domain("graphs").bind(odd).encode(task.demos, task.queries[0])
