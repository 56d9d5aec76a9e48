"""Worked problems as training text: pure functions of (seed, step), exact, unseen in development, learnt from."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from text_tools import tiny_text_model

from ttt_jax.config import OptimizerConfig
from ttt_jax.config_loader import ConfigError
from ttt_jax.model.io import load_model
from ttt_jax.process.judging import judge
from ttt_jax.tasks.complexity import fingerprint
from ttt_jax.train.config import EvalConfig, TracesConfig, TrainConfig
from ttt_jax.train.data import FIRST_OUTPUT, INPUT_ROLE, LAST_OUTPUT, NO_LOSS
from ttt_jax.train.metrics import read_metrics
from ttt_jax.train.sft import train
from ttt_jax.train.sources import open_data
from ttt_jax.train.traces import make_batch, make_rows, open_sources
from ttt_jax.train.workers import OrderedWorkers

TRACES = TracesConfig(
    sources=(
        "zebra/train?sizes=2x3&steps=true",
        "graphs/train?questions=degree,connectivity&nodes=5&demos=2&steps=true",
        "diagnosis/train?sizes=4&mode=choice&steps=true",
    ),
    held_out=("zebra/development?sizes=2x2&steps=true",),
    lengths=(1024, 4096),
    length_probabilities=(0.5, 0.5),
    tokens_per_batch=8192,
)
GRAPHS = dataclasses.replace(
    TRACES,
    sources=("graphs/train?questions=degree&nodes=5&steps=true",),
    held_out=("graphs/development?questions=degree&nodes=6&steps=true",),
    lengths=(512,),
    length_probabilities=(1.0,),
    tokens_per_batch=2048,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_text_model(tmp_path_factory.mktemp("model"))


def run_config(model: Path, folder: Path, **options) -> TrainConfig:
    config = TrainConfig(
        run_dir=str(folder), steps=4, save_every=2, log_every=1, init_from=str(model), model=None, traces=GRAPHS,
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=1), eval=EvalConfig(every=0),
    )  # fmt: skip
    return dataclasses.replace(config, **options)


def test_batches_do_not_depend_on_workers_and_differ_between_steps_and_seeds(model):
    make = partial(make_batch, TRACES, str(model), 3)
    expected = [make(step) for step in (1, 2)]
    with OrderedWorkers(make, 1, 2) as batches:
        found = [next(batches) for _ in expected]
    for a, b in zip(expected, found, strict=True):
        assert np.array_equal(a.tokens, b.tokens) and np.array_equal(a.roles, b.roles)
    assert {make_batch(TRACES, str(model), 0, step).length for step in range(6)} == {1024, 4096}
    assert not np.array_equal(make_batch(GRAPHS, str(model), 0, 0).tokens, make_batch(GRAPHS, str(model), 1, 0).tokens)


def test_rows_show_problems_outside_the_loss_and_worked_solutions_inside(model):
    for domain, options in open_sources(TRACES.sources, str(model), 0):
        task = domain.draw_task(options, 0)
        batch = make_rows(TRACES, [(domain, options)], 4096, 2, ("test", domain.name))
        for tokens, roles in zip(batch.tokens, batch.roles, strict=True):
            solution, asked = (domain.text_of(tokens[roles == role]) for role in (LAST_OUTPUT, INPUT_ROLE))
            assert solution.startswith("Step 1: ") and domain.parse_text(solution) is not None
            # The very first token is predicted by none.
            assert asked.startswith(domain.opening(task.demos, task.queries[0])[1:40])
            assert bool((roles == FIRST_OUTPUT).any()) == (options.demos > 0)
            padding = np.flatnonzero(roles == LAST_OUTPUT)[-1] + 1
            assert (roles[padding:] == NO_LOSS).all() and (tokens[padding:] == domain.pad_token).all()
            assert tokens[padding - 1] == domain.stop_token


def test_rows_are_longer_than_the_bucket_below(model):
    (source,) = open_sources(TRACES.sources[2:], str(model), 0)
    batch = make_rows(dataclasses.replace(TRACES, lengths=(2048, 4096)), [source], 4096, 3, ("test",))
    assert ((batch.roles != NO_LOSS).sum(1) >= 2048 - 1).all()
    assert batch.real_tokens <= batch.tokens.size and batch.pairs >= 3


def test_what_is_trained_on_is_valid_to_the_verifier(model):
    for domain, options in open_sources(TRACES.sources, str(model), 5):
        task = domain.draw_task(options, 17)
        text = domain.solved_text(task.queries[0], task.answers[0])
        chain = judge(domain.name, task.queries[0], text, right=True)
        assert chain.verdicts and chain.first_error == -1


def test_held_out_sequences_share_no_problem_with_training(model):
    config = TrainConfig(init_from=str(model), model=None, traces=TRACES, eval=EvalConfig(rows=4, length=1024))
    held = open_data(config).held()
    assert set(held) == {"held_out", "fresh"} and sum(len(b.tokens) for b in held["held_out"]) >= 4
    ((domain, options),) = open_sources(TRACES.held_out, str(model), 0)
    trained = open_sources(TRACES.sources[:1], str(model), 0)[0]
    marks = [
        {fingerprint(d.draw_task(o, i).queries[0].problem) for i in range(30)} for d, o in ((domain, options), trained)
    ]
    assert not marks[0] & marks[1]


def test_fine_tuning_lowers_the_loss_and_exports_the_model_with_its_tokenizer(model, tmp_path):
    config = run_config(model, tmp_path / "run", eval=EvalConfig(every=4, rows=4, length=512))
    train(config)
    records = read_metrics(config.run_dir)
    losses = [r["loss"] for r in records if r["kind"] == "train"]
    assert losses[-1] < losses[0] - 0.1
    assert [set(r) >= {"held_out_loss", "fresh_exact"} for r in records if r["kind"] == "eval"] == [True]
    before, _, tokenizer = load_model(model)
    after, _, exported = load_model(Path(config.run_dir) / "model")
    assert after.config == before.config
    assert exported.encode("Step 1: edges of 3: 1, 4") == tokenizer.encode("Step 1: edges of 3: 1, 4")


def test_wrong_options_are_refused_by_name(model, tmp_path):
    with pytest.raises(ValueError, match="'test', not of 'train'"):
        TracesConfig(sources=("zebra/test?steps=true",))
    with pytest.raises(ValueError, match="weights"):
        TracesConfig(sources=("zebra/train",), weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="set init_from, and model to null"):
        TrainConfig(traces=GRAPHS)
    wrong = dataclasses.replace(GRAPHS, sources=("graphs/train?question=degree",))
    with pytest.raises(ConfigError, match="did you mean 'questions'"):
        train(run_config(model, tmp_path / "c", traces=wrong))
    assert not (tmp_path / "c").exists()
    tiny = dataclasses.replace(GRAPHS, lengths=(16,))
    with pytest.raises(ValueError, match=r"raise traces\.lengths"):
        make_batch(tiny, str(model), 0, 0)


def test_data_workers_never_import_jax():
    code = "import sys; from ttt_jax.train import traces, workers; print('jax' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"
