"""An adapter that tasks start from: its outer steps are those of the papers, and a run takes it up."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
import weakref
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file, save_file

from ttt_jax.adapt.adapt import Adapter
from ttt_jax.adapt.saved import load_initial, saver
from ttt_jax.config import AdaptConfig, LoraConfig, OptimizerConfig
from ttt_jax.losses import next_token
from ttt_jax.model.io import save_model
from ttt_jax.model.lora import init_adapter
from ttt_jax.tasks.encoding import PAD
from ttt_jax.train import initial
from ttt_jax.train.checkpoint import OtherRun
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.initial import (
    ADAPTER,
    compile_programs,
    expand,
    make_answers,
    make_evaluation,
    make_outer_step,
    mean_over,
    starts_from,
    train_initial,
)
from ttt_jax.train.initial_config import InitialConfig, InitialEvalConfig
from ttt_jax.train.initial_data import eval_batch, make_batch
from ttt_jax.train.metrics import read_metrics
from ttt_jax.update import TrainState, make_optimizer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs pip install --no-deps reasoning-gym==0.1.25"
)
LORA = LoraConfig(rank=2, alpha=2.0, targets=("q", "v"))
SGD = OptimizerConfig(name="sgd", learning_rate=0.1, schedule="constant", b1=0.0, clip_norm=None)
DATA = ReArcConfig(
    lengths=(192,), length_probabilities=(1.0,), tokens_per_batch=6 * 192, difficulties=((0.2, 1.0),), exclude=()
)


@pytest.fixture
def config(tmp_path, tiny_model) -> InitialConfig:
    model, params = tiny_model
    save_model(tmp_path / "model", model.config, params, "arc")
    return InitialConfig(
        run_dir=str(tmp_path / "run"), model=str(tmp_path / "model"), steps=4, save_every=2, log_every=2, queries=1,
        adapt=AdaptConfig(steps=2, batch_size=2, lora=LORA, optimizer=SGD), optimizer=SGD, data=DATA,
        eval=InitialEvalConfig(every=0, tasks=3, length=192, steps=(0, 2)),
    )  # fmt: skip


def phi_of(model, seed=0):
    """An adapter that changes something."""
    adapter = init_adapter(jax.random.key(seed), model.config, LORA)
    return {"lora": jax.tree.map(lambda x: x + 0.02 * jax.random.normal(jax.random.key(7), x.shape), adapter)}


def by_hand(config, model, base, phi, batch):
    """Adapts each task alone with optax.sgd: adapted adapters, and gradients of the queries there."""

    def loss(trainable, arrays):
        return next_token(trainable, {"params": base}, arrays, model)[0]

    adapted, gradients = [], []
    for t in range(batch.tasks):
        theta, tx = phi, optax.sgd(0.1)
        state = tx.init(theta)
        for step in range(config.adapt.steps):
            arrays = expand({name: x[t, step] for name, x in batch.adapt.items()})
            updates, state = tx.update(jax.grad(loss)(theta, arrays), state)
            theta = optax.apply_updates(theta, updates)
        adapted.append(theta)
        gradients.append(jax.grad(loss)(theta, expand({name: x[t] for name, x in batch.query.items()})))
    return adapted, gradients


@pytest.mark.parametrize("method", ["fomaml", "reptile"])
def test_an_outer_step_is_that_of_the_paper(config, tiny_model, method):
    model, base = tiny_model
    model = model.clone(lora_scale=LORA.scale)
    config = dataclasses.replace(config, method=method)
    phi, batch = phi_of(model), make_batch(config, 0)
    assert batch.tasks == 3
    adapted, gradients = by_hand(config, model, base, phi, batch)
    if method == "reptile":
        gradients = [jax.tree.map(lambda a, b: a - b, phi, theta) for theta in adapted]
    mean = jax.tree.map(lambda *g: sum(g) / len(g), *gradients)
    expected = jax.tree.map(lambda x, g: x - 0.1 * g, phi, mean)
    state = TrainState.create(jax.tree.map(jnp.copy, phi), make_optimizer(config.optimizer, config.steps))
    after, metrics = make_outer_step(config, model)(state, base, batch.arrays())
    assert int(metrics["failed"]) == 0 and int(after.step) == 1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.trainable, expected)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.trainable, phi)
    assert max(jax.tree.leaves(moved)) > 1e-4


def test_a_task_that_fails_is_left_out_of_the_mean(config, tiny_model):
    model, base = tiny_model
    model = model.clone(lora_scale=LORA.scale)
    batch = make_batch(config, 0)
    broken = batch.adapt["weights"].copy()
    broken[1] = np.nan
    arrays = {"adapt": {**batch.adapt, "weights": broken}, "query": batch.query}
    phi = phi_of(model)
    _, gradients = by_hand(config, model, base, phi, batch)
    expected = jax.tree.map(lambda x, a, b: x - 0.05 * (a + b), phi, gradients[0], gradients[2])
    state = TrainState.create(jax.tree.map(jnp.copy, phi), make_optimizer(config.optimizer, config.steps))
    after, metrics = make_outer_step(config, model)(state, base, arrays)
    assert int(metrics["failed"]) == 1 and np.isfinite(float(metrics["query_loss"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.trainable, expected)


def test_the_mean_over_none_is_zero():
    assert float(mean_over(jnp.array([jnp.nan, 2.0]), jnp.array([False, False]))) == 0.0


def test_tasks_are_written_as_at_test_time_and_ask_for_the_last_pair(config):
    batch = make_batch(config, 3)
    again = make_batch(config, 3)
    for name, array in batch.adapt.items():
        np.testing.assert_array_equal(array, again.adapt[name])
    assert not np.array_equal(batch.adapt["tokens"], make_batch(config, 4).adapt["tokens"])
    assert batch.adapt["tokens"].shape == (3, 2, 2, 192) and batch.query["tokens"].shape == (3, 1, 192)
    asked = batch.query["weights"] > 0
    sizes = (batch.query["tokens"] != PAD).sum(-1)
    for t in range(3):
        ends = np.flatnonzero(asked[t, 0])
        assert len(ends) and ends[-1] == sizes[t, 0] - 1 and (np.diff(ends) == 1).all()
        # The query is not among what the task is adapted to: fewer pairs, so fewer tokens.
        assert (batch.adapt["tokens"][t] != PAD).sum(-1).max() < sizes[t, 0]
    assert set(np.unique(batch.adapt["weights"])) <= {0.0, 1.0}
    assert batch.real_tokens == (batch.adapt["tokens"] != PAD).sum() + sizes.sum()


def evaluation(config, model):
    answers = make_answers(config, model)
    return make_evaluation(config, {n: partial(answers, steps=n) for n in config.eval.steps})


def test_evaluation_counts_what_the_adapted_model_answers(config, tiny_model):
    model, base = tiny_model
    model = model.clone(lora_scale=LORA.scale)
    held = eval_batch(config)
    phi = phi_of(model)
    found = evaluation(config, model)(starts_from(phi), base, held.arrays())
    assert found.keys() == {"loss@0", "exact@0", "loss@2", "exact@2"}
    total = tokens = 0.0
    for t in range(3):
        query = expand({name: x[t] for name, x in held.query.items()})
        loss, metrics = next_token(phi, {"params": base}, query, model)
        total, tokens = total + float(loss * metrics["loss_tokens"]), tokens + float(metrics["loss_tokens"])
    assert float(found["loss@0"]) == pytest.approx(total / tokens, rel=1e-5)
    assert float(found["loss@2"]) != float(found["loss@0"])


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_evaluation_is_the_same_in_groups_no_larger_than_an_outer_step(config, tiny_model, dropout):
    model, base = tiny_model
    model = model.clone(lora_scale=LORA.scale)
    adapt = dataclasses.replace(config.adapt, lora=dataclasses.replace(LORA, dropout=dropout))
    config = dataclasses.replace(config, adapt=adapt, eval=dataclasses.replace(config.eval, tasks=5))
    held = eval_batch(config).arrays()
    phis = [phi_of(model, seed) for seed in range(5)]
    sizes, alive = [], []

    def starts(which):
        assert all(adapter() is None for adapter in alive), "the last group's adapters are still held"
        sizes.append(len(which))
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *(phis[t] for t in which))
        alive[:] = map(weakref.ref, jax.tree.leaves(stacked))
        return stacked

    def found(side_by_side):
        data = dataclasses.replace(DATA, tokens_per_batch=side_by_side * 2 * 192)
        sizes.clear()
        return evaluation(dataclasses.replace(config, data=data), model)(starts, base, held)

    in_groups = found(2)
    assert sizes == [2, 2, 2]
    whole = found(10)
    assert sizes == [5]
    assert in_groups == pytest.approx(whole, rel=1e-6)


@pytest.mark.slow
def test_memory_of_evaluation_does_not_grow_with_its_tasks(config, tiny_model):
    model, base = tiny_model
    state = TrainState.create(phi_of(model), make_optimizer(config.optimizer, config.steps))

    def temporary(tasks):
        made = dataclasses.replace(config, eval=InitialEvalConfig(2, tasks, 192, (1,)))
        _, answers = compile_programs(made, model, state, base)
        return answers[1].memory_analysis().temp_size_in_bytes

    assert temporary(12) == temporary(3) > 0


def test_a_run_compiles_what_computes_before_its_first_step(config, monkeypatch, caplog, capsys):
    data = dataclasses.replace(DATA, lengths=(192, 256), length_probabilities=(0.5, 0.5))
    config = dataclasses.replace(config, data=data, eval=InitialEvalConfig(2, 4, 192, (0, 2)))
    assert {make_batch(config, step).length for step in range(config.steps)} == {192, 256}
    made = []
    compile_each = initial.compile_each

    def recorded(lower):
        compiled = compile_each(lower)
        made.extend(compiled)
        before.extend(programs_in(caplog))
        caplog.clear()
        return compiled

    def programs_in(log):
        return [name for r in log.records for name in ("outer_step", "answers") if f"jit({name})" in r.getMessage()]

    before = []
    monkeypatch.setattr(initial, "compile_each", recorded)
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        train_initial(config)
    assert sorted(made) == [("answers", 0), ("answers", 2), ("outer", 192), ("outer", 256)]
    assert set(before) == {"outer_step", "answers"} and not programs_in(caplog)
    assert "compiling 2 outer steps and 2 evaluations" in capsys.readouterr().out
    records = read_metrics(Path(config.run_dir))
    assert [r["kind"] for r in records] == ["fresh", "train", "eval", "train", "eval"]


def test_training_lowers_the_query_loss_of_few_steps(config):
    adam = OptimizerConfig(learning_rate=1e-2, schedule="constant")
    lora = LoraConfig(rank=4, alpha=4.0, targets=("q", "v", "up", "down", "head"))
    config = dataclasses.replace(
        config, steps=30, log_every=5, save_every=100, optimizer=adam, eval=InitialEvalConfig(10, 3, 192, (1,)),
        adapt=dataclasses.replace(config.adapt, lora=lora),
    )  # fmt: skip
    train_initial(config)
    records = read_metrics(Path(config.run_dir))
    losses = [r["query_loss"] for r in records if r["kind"] == "train"]
    assert losses[-1] < 0.9 * losses[0]
    fresh = next(r for r in records if r["kind"] == "fresh")
    assert [r["step"] for r in records if r["kind"] == "eval"] == [10, 20, 30]
    assert records[-1]["loss@1"] < fresh["loss@1"]


def test_a_run_that_is_left_and_taken_up_ends_in_the_same_bits(config, tmp_path):
    whole = train_initial(dataclasses.replace(config, run_dir=str(tmp_path / "whole")))
    calls = iter([False, True, True])
    half = train_initial(config, stop=lambda: next(calls))
    assert int(half.step) == 2
    assert (Path(config.run_dir) / ADAPTER).exists()
    resumed = train_initial(config)
    jax.tree.map(np.testing.assert_array_equal, resumed.trainable, whole.trainable)
    saved = load_file(Path(config.run_dir) / ADAPTER)
    expected = load_file(tmp_path / "whole" / ADAPTER)
    assert saved.keys() == expected.keys() and all(np.array_equal(saved[k], expected[k]) for k in saved)
    with pytest.raises(OtherRun, match="queries"):
        train_initial(dataclasses.replace(config, queries=2))
    steps = [r["step"] for r in read_metrics(Path(config.run_dir)) if r["kind"] == "train"]
    assert steps == [2, 4]


def test_a_run_that_diverges_ends_and_keeps_the_last_adapter(config):
    wild = dataclasses.replace(config.optimizer, learning_rate=float("inf"))
    with pytest.raises(initial.NonFinite, match="step"):
        train_initial(dataclasses.replace(config, optimizer=wild))
    assert not (Path(config.run_dir) / ADAPTER).exists()


@pytest.fixture
def saved(tmp_path, tiny_model) -> Path:
    file = tmp_path / "phi.safetensors"
    saver(phi_of(tiny_model[0]))(file)
    return file


def test_tasks_start_from_it(saved, tiny_model):
    model, base = tiny_model
    config = AdaptConfig(steps=2, lora=LORA, optimizer=SGD, init=str(saved))
    state = Adapter(model, base, config, 0, PAD).initial_state(["a", None, "b"])
    for got, expected in zip(jax.tree.leaves(state.train.trainable), jax.tree.leaves(phi_of(model)), strict=True):
        for slot in range(3):
            np.testing.assert_array_equal(got[slot], expected)
    np.testing.assert_array_equal(state.done, [False, True, False])
    fresh = Adapter(model, base, dataclasses.replace(config, init=None), 0, PAD).initial_state(["a"])
    assert all(not np.any(leaf) for path, leaf in flat(fresh.train.trainable) if path.endswith("'b']"))


def flat(tree):
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def edited(file: Path, change) -> Path:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return file


NAME = "lora.layers_0.attn.q.a"
FAULTS = {
    "not finite": lambda t: t.update({NAME: t[NAME] * np.nan}),
    f"has no {NAME}": lambda t: t.pop(NAME),
    "none of adapt.lora.targets q, v": lambda t: t.update({"lora.layers_0.attn.k.a": t[NAME]}),
    "has shape": lambda t: t.update({NAME: t[NAME][:, :1].copy()}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_adapter_that_misfits_is_refused_by_name(saved, tiny_model, fault):
    edited(saved, FAULTS[fault])
    with pytest.raises(ValueError, match=f"adapt.init: .*{fault}"):
        load_initial(saved, tiny_model[0].config, LORA)


def test_what_is_no_adapter_is_refused(saved, tiny_model):
    config = tiny_model[0].config
    with pytest.raises(ValueError, match=r"adapt.init: .*cannot be read"):
        load_initial(saved.with_name("none"), config, LORA)
    saved.write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"adapt.init: .*cannot be read"):
        load_initial(saved, config, LORA)
    with pytest.raises(ValueError, match="init"):
        AdaptConfig(trainable="full", init="a.safetensors")


@pytest.mark.parametrize(
    "wrong, says",
    [
        (dict(queries=0), "queries"),
        (dict(data=dataclasses.replace(DATA, min_pairs=2)), "at least 3"),
        (dict(data=dataclasses.replace(DATA, tokens_per_batch=192)), "hold no task"),
        (dict(adapt=AdaptConfig(trainable="full")), "an adapter"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        InitialConfig(**wrong)


def test_an_adapter_that_misfits_ends_the_script_with_a_line_and_status_2(tmp_path):
    root = Path(__file__).resolve().parent.parent
    run = [
        sys.executable,
        "scripts/ttt.py",
        "--config",
        "configs/arc/quickstart.yaml",
        "--run-dir",
        str(tmp_path / "b"),
    ]
    done = subprocess.run(
        [*run, "--adapt.init", str(tmp_path / "none")], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and "error: adapt.init: " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "b" / "journal.jsonl").exists()
