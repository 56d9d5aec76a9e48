"""Tasks in a file: what the model reads of docs/guides/text_tasks.md, and which lines are refused."""

from __future__ import annotations

import importlib
import json
import re

import pytest
from e2e_tools import ROOT
from text_tools import tiny_text_model, tiny_tokenizer

from ttt_jax.config import RunConfig, TasksConfig
from ttt_jax.config_loader import load_config
from ttt_jax.run import SOME_REFUSED, run
from ttt_jax.tasks.jsonl import JsonlDomain
from ttt_jax.tasks.registry import get_domain

GUIDE = (ROOT / "docs" / "guides" / "text_tasks.md").read_text()
SMALL = """
    --lengths 64 128 512 --adapt.steps 2 --adapt.chunk 2 --adapt.slots 2 --adapt.lora.rank 4
    --decode.views 2 --decode.slots 2 --decode.chunk 8 --decode.max_new_tokens 8
""".split()  # noqa: SIM905


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_text_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the guide's files, and the project's configs."""
    (tmp_path / "tasks.jsonl").write_text(blocks("jsonl")[0])
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return tmp_path


def options_of(script: str, kind: int = 0) -> list[str]:
    """The options of the n-th command of the guide that runs a script."""
    commands = [block.split() for block in blocks("bash") if script in block]
    return commands[kind][2:]


def test_a_training_sequence_is_shown_with_its_answers_in_brackets(here, model, capsys):
    show = importlib.import_module("show_batch")
    assert show.main([*options_of("show_batch.py"), "--model", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "Give the plural." in shown
    assert shown.count("⟦ cats↵") == 4 and "Q: cat↵" in shown


def test_what_the_guide_says_the_model_reads_is_what_it_reads(here):
    domain = get_domain("text").bind(tiny_tokenizer())
    task = next(
        task for task in domain.load(TasksConfig(domain="text", path="tasks.jsonl")).tasks if task.id == "plurals"
    )
    expected = re.search(r"## What the model reads\n\n(.*?)\n\nEach", GUIDE, re.DOTALL)
    assert expected
    text = "\n".join(line.removeprefix("    ") for line in expected[1].split("\n"))
    assert domain._tokenizer.decode(domain.encode(task.demos[:2], task.queries[0]).tokens) == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line: not JSON"),
        ("[1]", "line: expected an object"),
        ('{"demos": [], "queries": []}', "id: expected a text"),
        ('{"id": "x", "demo": [], "queries": []}', "demo: unknown; the fields are id, instructions, demos, queries"),
        ('{"id": "x", "demos": 3, "queries": []}', "demos: expected a list, found 3"),
        ('{"id": "x", "demos": [], "queries": []}', "queries: there are none"),
        (
            '{"id": "x", "demos": [{"input": "a"}], "queries": [{"input": "b"}]}',
            r"demos\[0\].output: expected one line",
        ),
        (
            '{"id": "x", "demos": [], "queries": [{"input": "b", "output": "c\\nd"}]}',
            r"queries\[0\].output: expected one",
        ),
        ('{"id": "x", "demos": [], "queries": [{"input": "b", "output": "c"}, {"input": "d"}]}', "give all or none"),
        ('{"id": "good", "demos": [], "queries": [{"input": "b"}]}', "id: another line has this id already"),
    ],
)
def test_malformed_lines_are_refused_by_number_and_the_others_stay(tmp_path, line, message):
    file = tmp_path / "tasks.jsonl"
    good = json.dumps(
        {"id": "good", "demos": [], "queries": [{"input": "b\u2028c", "output": "d"}]}, ensure_ascii=False
    )
    file.write_text(f"{good}\n\n{line}\n")
    loaded = JsonlDomain().read(TasksConfig(domain="text", path=str(file)))
    assert [task.id for task in loaded.tasks] == ["good"]
    assert len(loaded.refused) == 1 and re.search(rf"tasks.jsonl:3: .*{message}", str(loaded.refused[0]))


def test_a_run_says_which_lines_it_refused(here, model, capsys):
    with open("tasks.jsonl", "a") as file:
        file.write("{}\n")
    options = [*options_of("ttt.py"), "--model", str(model), *SMALL, "--arms", "in_context"]
    assert run(load_config(RunConfig, options), "python scripts/ttt.py") == SOME_REFUSED
    assert "tasks.jsonl:3: task line3: id: expected a text" in capsys.readouterr().err
