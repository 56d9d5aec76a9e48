"""Every page of docs/guides: its files are written and its commands run, in order, as they stand, on a tiny model."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_tools import ROOT, read_json
from random_checkpoint import LLAMA, write_checkpoint
from safetensors.numpy import load_file
from text_tools import boolean_examples, choice_examples, write_bbh

from ttt_jax.model.io import save_model
from ttt_jax.train.metrics import read_metrics

GUIDES = {path.stem: path.read_text() for path in sorted((ROOT / "docs" / "guides").glob("*.md"))}
ELSEWHERE = ("tpu",)
"""Pages whose commands need hardware, or minutes of compiling; what they call is tested where it lives."""
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
NAMED = re.compile(r"# (\w+\.py)\n")

# Options after those of the page: small shapes, few of them, and the model where the page leaves it to the config.
SMALL = """
    --model my-model --lengths 512 --adapt.steps 2 --adapt.chunk 2 --adapt.slots 2 --adapt.batch-size 2
    --adapt.lora.rank 4 --decode.views 2 --decode.slots 2 --decode.chunk 8 --decode.max-new-tokens 8
""".split()  # noqa: SIM905
BBH = "--tasks.demos 4 --tasks.seeds 42 43 --adapt.examples.cap null --decode.slots 12".split()  # noqa: SIM905
FEW = """
    --model my-grids --adapt.steps 1 --adapt.batch-size 1 --adapt.lora.rank 4
""".split()  # noqa: SIM905
ONE = """
    --tasks.order shortest --tasks.limit 1 --lengths 512 --adapt.chunk 1 --adapt.slots 1 --select.method vote
    --decode.slots 1 --decode.views 1 --decode.max-new-tokens 8
""".split()  # noqa: SIM905
TASKS = """
    --steps 2 --workers 0 --queries 1 --eval.tasks 2 --eval.length 512 --eval.steps 0 1
    --data.lengths 512 --data.length-probabilities 1.0 --data.tokens-per-batch 1024
""".split()  # noqa: SIM905
EXTRA = {
    "ttt": {"bbh": [*SMALL, *BBH], "initial_adapter": [*FEW, *ONE], None: SMALL},
    "train_initial_adapter": {None: [*FEW, *TASKS]},
    "show_batch": {None: ["--model", "my-model"]},
    "measure_bbh": {None: [*SMALL, *BBH, "--arms", "paper", "long"]},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """In Hugging Face layout, in shards, with random weights."""
    folder = tmp_path_factory.mktemp("model")
    write_checkpoint(folder, LLAMA | {"num_hidden_layers": 1})
    return folder


@pytest.fixture
def folder(tmp_path, model, monkeypatch) -> Iterator[Path]:
    """Where a reader stands: a checkout, a model, the file of text_tasks.md and a directory of BIG-Bench Hard."""
    for name in ("scripts", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "my-model").symlink_to(model)
    (tmp_path / "tasks.jsonl").write_text(blocks("text_tasks", "jsonl")[0])
    write_bbh(tmp_path / "BBH", {"boolean_expressions": boolean_examples(12), "hyperbaton": choice_examples(12)})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def blocks(guide: str, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(GUIDES[guide]) if kind == language]


def follow(guide: str, monkeypatch) -> None:
    """Does what the page says, from top to bottom."""
    for kind, text in BLOCK.findall(GUIDES[guide]):
        named = NAMED.match(text)
        if kind == "python" and named:
            Path(named[1]).write_text(text)
        elif kind == "python":
            exec(compile(text, guide, "exec"), {})
        elif kind == "bash":
            for line in text.strip().splitlines():
                do(guide, line.split(), monkeypatch)


def do(guide: str, words: list[str], monkeypatch) -> None:
    with monkeypatch.context() as patch:
        if words[0] == "PYTHONPATH=.":
            patch.syspath_prepend(".")
            words = words[1:]
        assert words[0] == "python", words
        script = Path(words[1])
        extra = EXTRA.get(script.stem, {})
        patch.setattr(sys, "argv", [*words[1:], *extra.get(guide, extra.get(None, []))])
        patch.syspath_prepend(str(ROOT / "scripts"))
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as left:
            assert not left.code, (words, left.code)


@pytest.mark.slow
def test_the_guide_to_models_adapts_exports_and_merges(folder, monkeypatch, shared_programs):
    follow("own_model", monkeypatch)
    first, again = (journal_answers(folder / "runs" / name) for name in ("mine", "again"))
    assert {task: arms["adapted"] for task, arms in first.items()} == {t: arms["adapted"] for t, arms in again.items()}
    assert json.loads((folder / "plurals-peft" / "adapter_config.json").read_text())["r"] == 4
    merged = load_file(folder / "plurals-merged" / "model.safetensors")
    assert "model.layers.0.mlp.down_proj.weight" in merged and not any("lora" in name for name in merged)


@pytest.mark.slow
def test_the_guide_to_losses_trains_by_the_loss_of_the_page(folder, monkeypatch, shared_programs, capsys):
    follow("own_loss", monkeypatch)
    curves = {name: read_json(folder / "runs" / name / "curves" / "plurals.json")["loss"] for name in ("text", "focal")}
    # The same adapter and batch at the first step: each token counts for less than its whole cross-entropy.
    assert 0 < curves["focal"][0] < curves["text"][0]
    assert "⟦ cats↵" in capsys.readouterr().out


@pytest.mark.slow
def test_the_guide_to_domains_answers_its_sums_and_swaps_them(folder, monkeypatch, shared_programs):
    follow("own_domain", monkeypatch)
    for name in ("sums", "swapped"):
        metrics = read_json(folder / "runs" / name / "metrics.json")
        assert metrics["failed"] == 0 and metrics["arms"]["adapted"]["outputs@1"]["n"] == 2
    views = {c["view"] for c in read_json(folder / "runs" / "swapped" / "candidates" / "sums.json")["adapted"]}
    assert views == {"identity", "swapped"}


def test_the_guide_to_text_tasks_answers_its_file(folder, monkeypatch, shared_programs):
    follow("text_tasks", monkeypatch)
    metrics = read_json(folder / "runs" / "text" / "metrics.json")
    assert metrics["tasks"] == 2 and metrics["failed"] == 0
    # The second task has no answers: it is answered and not scored.
    assert set(metrics["measures"]["adapted"]["tasks"]) == {"plurals"}
    assert set(read_json(folder / "runs" / "text" / "submission.json")) == {"plurals", "opposites"}


@pytest.mark.slow
def test_the_guide_to_an_adapter_to_start_from_trains_it_and_starts_there(
    folder, monkeypatch, shared_programs, tiny_model
):
    save_model(folder / "my-grids", tiny_model[0].config, tiny_model[1], "arc")
    follow("initial_adapter", monkeypatch)
    fresh, trained = (r for r in read_metrics(folder / "runs" / "initial") if r["kind"] in ("fresh", "eval"))
    assert {"loss@0", "exact@1"} < fresh.keys() and trained["step"] == 2
    assert (folder / "runs" / "initial" / "adapter.safetensors").exists()
    assert read_json(folder / "runs" / "few" / "metrics.json")["tasks"] == 1


@pytest.mark.slow
def test_the_guide_to_big_bench_hard_measures_and_makes_its_table(folder, monkeypatch, shared_programs):
    follow("bbh", monkeypatch)
    found = read_json(folder / "table.json")
    assert "paper, in_context" in found["arms"] and "long" in found["gain"]


def test_every_guide_is_followed_by_a_test():
    source = Path(__file__).read_text()
    assert [name for name in GUIDES if name not in ELSEWHERE and f'follow("{name}"' not in source] == []


def journal_answers(run_dir: Path) -> dict:
    lines = map(json.loads, (run_dir / "journal.jsonl").read_text().splitlines())
    return {line["task"]: {arm: of["ranked"] for arm, of in line["arms"].items()} for line in lines}
