"""Labels by roll-outs: what is continued, how it is counted, and where it is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from text_tools import tiny_text_model

from ttt_jax import rollouts
from ttt_jax.config import DecodeConfig, RunConfig, TasksConfig
from ttt_jax.decode.candidate import Candidate
from ttt_jax.decode.candidates import candidates_of
from ttt_jax.decode.generate import Generated
from ttt_jax.decode.views import make_views
from ttt_jax.evaluate.records import Answers, task_files
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.model.io import load_model
from ttt_jax.process.judging import process_of
from ttt_jax.process.steps import first_error, steps, write_steps
from ttt_jax.rollouts import compare_labels, label_run, roll_out, written_chains
from ttt_jax.run import finish
from ttt_jax.runtime.run_dir import RunDir
from ttt_jax.select.rank import rank
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import keyed_rng


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny_text_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """A run whose answers were written by the oracle, in half of the tasks with an error, in a renumbered view."""
    path = tmp_path_factory.mktemp("run")
    source = "graphs/test?questions=neighbours,common_neighbours,connectivity&nodes=7&each=2&steps=true"
    config = RunConfig(
        run_dir=str(path), arms=("in_context",), tasks=TasksConfig(domain="graphs", source=source),
        decode=DecodeConfig(views=2, transforms=("nodes",)),
    )  # fmt: skip
    domain = get_domain("graphs").bind(model[2])
    loaded = domain.load(config.tasks)
    with RunDir.open(path, config, "python scripts/ttt.py") as run_dir:
        run_dir.save_tasks(loaded.tasks)
        for i, task in enumerate(loaded.tasks):
            view = make_views(task, 0, domain, config.decode, config.seed)[1]
            shown = view.transform.apply(task)
            text = domain.solved_text(shown.queries[0], shown.answers[0])
            if i % 2:
                problem = shown.queries[0].problem
                chain, _ = process_of(problem).corrupt(problem, steps(text), keyed_rng(i))
                text = write_steps(chain) + "\\boxed{99}"
            tokens = domain._tokens(text)
            said = Generated(tokens[None, None], np.zeros((1, 1), np.float32), np.array([[len(tokens)]]))
            candidates = candidates_of([view], said, 0, 1, domain)
            answers = Answers([candidates], [rank(candidates, "vote", domain)], [None], {}, {})
            run_dir.save(**task_files(task.hide_answers(), {"in_context": answers}, None, domain))
        finish(config, loaded, run_dir, {})
    return SavedRun(path), domain, loaded.tasks


def ideal(domain, chains):
    """In place of decoding: goes on rightly after valid steps and wrongly after others."""
    by_id = {w.task.id: w for w in chains}

    def decode(model, base, trainable, queries, domain_, config, length, seed):
        found = []
        for _, (view,) in queries:
            id_, _, count = view.task.id.rpartition(" after ")
            written = by_id[id_]
            problem = view.transform.apply(written.task).queries[0].problem
            text = domain.text_of(view.prompt.tokens)
            begun = steps(text)
            assert len(view.prompt) <= length and len(begun) == int(count)
            assert begun == [step for step, *_ in written.steps][: int(count)]
            ok = first_error(process_of(problem).verify(problem, begun)) < 0
            answer = written.task.answers[0] if ok else "wrong"
            found.append([Candidate(0, "", "", s, (), 0.0, answer) for s in range(config.samples)])
        return found

    return decode


def test_ideal_roll_outs_agree_with_the_verifier_and_find_every_first_error(model, saved, monkeypatch):
    run, domain, tasks = saved
    chains = written_chains(run, tasks, domain, "in_context")
    assert len(chains) == 6 and {w.right for w in chains} == {True, False}
    assert all((w.chain.first_error < 0) == w.right for w in chains)
    monkeypatch.setattr(rollouts, "decode_candidates", ideal(domain, chains))
    labels = roll_out(*model[:2], domain, chains, DecodeConfig(samples=3, temperature=0.5), (4096,), 0)
    found = compare_labels(chains, labels)["all"]
    assert found["agreement"]["agreement"]["value"] == 1.0 and found["agreement"]["kappa"] == pytest.approx(1.0)
    assert found["first_error"]["f1"] == found["first_error"]["accuracy"]["value"] == 1.0 and found["chains"] == 6
    # A beginning that no bucket holds has no label, and its chain does not count.
    shortest = min(len(w.view.prompt) for w in chains) + 60
    part = roll_out(*model[:2], domain, chains, DecodeConfig(samples=1), (shortest,), 0)
    assert any(None in of for of in part) and compare_labels(chains, part).get("all", {"chains": 0})["chains"] < 6


def test_labels_stand_in_the_metrics_and_the_report_of_the_run(model, saved, monkeypatch):
    run, domain, tasks = saved
    chains = written_chains(run, tasks, domain, "in_context")
    monkeypatch.setattr(rollouts, "decode_candidates", ideal(domain, chains))
    label_run(run, domain, *model[:2], "in_context", DecodeConfig(samples=2, temperature=0.5), 4, 0)
    path = Path(run.path)
    numbers = json.loads((path / "metrics.json").read_text())["process"]["in_context"]["graphs"]
    assert numbers["monte_carlo"]["rollouts"] == 2 and numbers["monte_carlo"]["chains"] <= 4
    kept = json.loads((path / "step_labels.json").read_text())["chains"]
    assert len(kept) == 4 and all(len(of["labels"]) == len(of["reasons"]) for of in kept)
    assert "100.0 (" in (path / "report.html").read_text()
    with pytest.raises(ValueError, match="arm adapted has no steps"):
        written_chains(run, tasks, domain, "adapted")


def test_a_real_model_continues_every_beginning_by_keys_of_its_own(model, saved):
    run, domain, tasks = saved
    chains = [w for w in written_chains(run, tasks, domain, "in_context") if len(w.steps) < 4][:2]
    config = DecodeConfig(samples=2, temperature=1.0, slots=4, chunk=8, max_new_tokens=8)
    seen = []
    labels = roll_out(*model[:2], domain, chains, config, (1024,), 0, lambda done, total: seen.append((done, total)))
    assert [len(of) for of in labels] == [len(w.steps) for w in chains] and seen[-1][0] == seen[-1][1]
    assert all(x == 0.0 for of in labels for x in of)  # eight random bytes are no answer
    views = [rollouts._begun(domain, chains[0].view, "Step 1: a\n", i) for i in (1, 2)]
    assert views[0].task.id != views[1].task.id and replace(views[0], task=views[1].task).prompt is views[0].prompt
