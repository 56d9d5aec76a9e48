"""The trainer end to end on a tiny model: it learns, resumes to the bit, and stops without harm when it must."""

import csv
import dataclasses
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from ttt_jax.config import OptimizerConfig
from ttt_jax.config_loader import from_yaml
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import load_model, save_model
from ttt_jax.train.checkpoint import Checkpoints, OtherRun, claim_run_dir
from ttt_jax.train.config import EvalConfig, ReArcConfig, TrainConfig
from ttt_jax.train.data import FIRST_OUTPUT, INPUT_ROLE, LAST_OUTPUT, MIDDLE_OUTPUT, NO_LOSS, make_batch
from ttt_jax.train.evaluate import make_last_pair_scores
from ttt_jax.train.metrics import read_metrics
from ttt_jax.train.plot import plot_training
from ttt_jax.train.sft import NonFinite, expand, initial_state, role_weights, shardings, train

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs pip install --no-deps reasoning-gym==0.1.25"
)
ROOT = Path(__file__).resolve().parent.parent
DATA = ReArcConfig(lengths=(192,), length_probabilities=(1.0,), tokens_per_batch=1536, difficulties=((0.2, 1.0),))


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
    """Runs of one shape share their compiled programs through jax's cache on disk."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def config(tmp_path, tiny_config) -> TrainConfig:
    return TrainConfig(
        run_dir=str(tmp_path / "run"),
        steps=6,
        save_every=3,
        log_every=1,
        model=tiny_config,
        data=DATA,
        optimizer=OptimizerConfig(learning_rate=3e-3, b2=0.95, warmup_steps=2),
        eval=EvalConfig(every=0),
    )


class Killed(Exception):
    """Stands for a process that ends between two steps."""


def after(steps: int, answer):
    """A `stop` that answers False so many times, and then what `answer()` gives or raises."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return answer() if calls > steps else False

    return stop


def kill():
    raise Killed


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_training_lowers_the_loss_on_unseen_pairs_and_exports_the_averaged_weights(config):
    config = dataclasses.replace(
        config,
        steps=60,
        save_every=60,
        log_every=5,
        ema_decay=0.9,
        optimizer=dataclasses.replace(config.optimizer, schedule="sqrt", decay_fraction=0.3),
        eval=EvalConfig(every=20, rows=16, length=192),
    )
    state = train(config)
    records = read_metrics(config.run_dir)
    losses = [r["loss"] for r in records if r["kind"] == "train"]
    evals = [r for r in records if r["kind"] == "eval"]
    assert len(losses) == 12 and losses[-1] < losses[0] - 0.5
    assert [r["step"] for r in evals] == [20, 40, 60]
    assert evals[-1]["fresh_loss"] < evals[0]["fresh_loss"]
    assert all(0 <= r[f"{name}_exact"] <= 1 for r in evals for name in ("held_out", "fresh"))
    with (Path(config.run_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [str(r["step"]) for r in records]

    model, params, _ = load_model(Path(config.run_dir) / "model")
    assert model.config == config.model
    assert_same_bits(params, jax.tree.map(lambda p: p.astype(jnp.bfloat16).astype(jnp.float32), state.ema))
    assert not np.array_equal(state.ema["embed"]["embedding"], state.train.trainable["params"]["embed"]["embedding"])

    image = Path(config.run_dir) / "curves.png"
    plot_training(records, image)
    assert image.stat().st_size > 10_000


def test_a_run_killed_and_started_again_ends_in_the_same_bits(config, tmp_path):
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, name="muon"))
    straight = train(dataclasses.replace(config, run_dir=str(tmp_path / "straight")))
    with pytest.raises(Killed):
        train(config, stop=after(4, kill))  # during step 5, two steps after the checkpoint
    assert Checkpoints(Path(config.run_dir) / "checkpoints", 2).latest == 3
    resumed = train(dataclasses.replace(config, workers=1))
    assert_same_bits(straight, resumed)
    directories = (Path(config.run_dir), tmp_path / "straight")
    exported = [(d / "model" / "model.safetensors").read_bytes() for d in directories]
    assert exported[0] == exported[1]
    curves = [[(r["step"], r["loss"], r["tokens"]) for r in read_metrics(d)] for d in directories]
    assert curves[0] == curves[1]
    assert [step for step, *_ in curves[0]] == [1, 2, 3, 4, 5, 6]


def test_a_run_asked_to_stop_saves_at_once_and_goes_on_later(config, tmp_path, capsys):
    straight = train(dataclasses.replace(config, run_dir=str(tmp_path / "straight")))
    train(config, stop=after(1, lambda: True))
    assert "stopped and saved after step 2 of 6" in capsys.readouterr().out
    train(dataclasses.replace(config, max_minutes=1e-9))
    assert "stopped and saved after step 3 of 6" in capsys.readouterr().out
    assert_same_bits(straight, train(config))


def test_a_finished_run_started_again_changes_nothing(config):
    assert_same_bits(train(config), train(config))
    assert [r["step"] for r in read_metrics(config.run_dir)] == [1, 2, 3, 4, 5, 6]


def test_a_run_directory_of_another_config_is_refused_naming_what_differs(config):
    file = claim_run_dir(config) / "config.yaml"
    before = file.read_text()
    with pytest.raises(OtherRun) as refused:
        train(dataclasses.replace(config, workers=3, seed=5, data=dataclasses.replace(DATA, reuse=1)))
    assert "seed: 0 != 5" in str(refused.value) and "data.reuse: 2 != 1" in str(refused.value)
    assert "workers" not in str(refused.value)
    assert file.read_text() == before
    file.write_text("no: config\n")
    with pytest.raises(OtherRun, match="name another run_dir"):
        train(config)


def breaks_after_five(schedule):
    """An optimizer that ruins the weights in its sixth update."""
    return optax.sgd(lambda count: jnp.where(jnp.asarray(count) < 5, 1e-3, jnp.inf))


@pytest.mark.parametrize("save_every", [3, 4])
def test_divergence_stops_the_run_and_leaves_the_last_good_checkpoint(config, save_every):
    broken = OptimizerConfig(name=f"{__name__}:breaks_after_five")
    # Saving every third step meets the ruined weights themselves, every fourth the loss that follows from them.
    config = dataclasses.replace(config, steps=9, save_every=save_every, optimizer=broken)
    with pytest.raises(NonFinite, match=f"checkpoint of step {save_every} is still good"):
        train(config)
    assert Checkpoints(Path(config.run_dir) / "checkpoints", 2).latest == save_every
    _, params, _ = load_model(Path(config.run_dir) / "model")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert all(math.isfinite(r["loss"]) for r in read_metrics(config.run_dir))


def test_a_run_starts_from_the_saved_weights_of_another(config, tmp_path, tiny_model):
    model, params = tiny_model
    save_model(tmp_path / "model", config.model, params)
    config = dataclasses.replace(config, seed=1, init_from=str(tmp_path / "model"))
    state = initial_state(config, model)
    rounded = jax.tree.map(lambda p: p.astype(jnp.bfloat16).astype(jnp.float32), params)
    assert_same_bits(state.train.trainable["params"], rounded)
    assert_same_bits(state.ema, rounded)
    assert int(state.train.step) == 0

    deeper = dataclasses.replace(config.model, num_layers=2 * config.model.num_layers)
    grown = initial_state(dataclasses.replace(config, model=deeper), Decoder(deeper)).train.trainable["params"]
    tokens = jnp.arange(12)[None] % 16
    logits = [Decoder(shape).apply({"params": p}, tokens) for shape, p in ((config.model, rounded), (deeper, grown))]
    np.testing.assert_allclose(*logits, atol=1e-5)

    wider = dataclasses.replace(config.model, intermediate_size=96)
    with pytest.raises(ValueError, match="another shape"):
        initial_state(dataclasses.replace(config, model=wider), model)


def test_roles_become_the_configured_loss_weights_and_positions_the_grid_places():
    batch = make_batch(DATA, 0, 0)
    full = expand(batch.arrays(), role_weights(dataclasses.replace(DATA, input_weight=0.25, first_output_weight=0.5)))
    expected = {NO_LOSS: 0.0, INPUT_ROLE: 0.25, FIRST_OUTPUT: 0.5, MIDDLE_OUTPUT: 1.0, LAST_OUTPUT: 1.0}
    for role, weight in expected.items():
        assert (np.asarray(full["weights"])[batch.roles == role] == weight).all()
    assert np.array_equal(full["positions"][3, :, 0], np.arange(192))
    assert np.array_equal(full["positions"][..., 1:], np.stack([batch.rows, batch.cols], -1))


def test_exact_counts_only_rows_whose_whole_last_output_is_the_most_likely():
    batch = make_batch(DATA, 0, 1)

    class Knows:
        """Predicts every next token, save one token of the last output of row 2 and one input of row 3."""

        def apply(self, variables, x, *args, method):
            if method == "hidden":
                return x, None
            following = jnp.roll(x, -1, axis=1)
            last = int(np.flatnonzero(batch.roles[2] == LAST_OUTPUT)[-1])
            given = int(np.flatnonzero(batch.roles[3] == INPUT_ROLE)[-1])
            for row, column in ((2, last), (3, given)):
                following = following.at[row, column - 1].set((following[row, column - 1] + 1) % 16)
            return 20.0 * jax.nn.one_hot(following, 16)

    result = make_last_pair_scores(Knows(), lambda c: expand(c, role_weights(DATA)))({}, batch.arrays())
    assert int(result["rows"]) == 8 and int(result["exact"]) == 7
    assert int(result["tokens"]) == (batch.roles == LAST_OUTPUT).sum()
    assert float(result["nll"]) == pytest.approx(20.0, abs=0.1)


def test_batches_that_do_not_split_over_the_devices_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    monkeypatch.setattr(jax, "make_mesh", lambda *args, **kwargs: None)
    with pytest.raises(ValueError, match=r"set data\.row_multiple to 3"):
        shardings(DATA)


@pytest.mark.parametrize("name", ["small_pretrain", "small_continue", "small_grow", "small_anneal", "tiny_pretrain"])
def test_shipped_configs_are_valid(name):
    config = from_yaml(TrainConfig, ROOT / "configs" / "arc" / f"{name}.yaml")
    assert config.data.rows(max(config.data.lengths)) > 0


@pytest.mark.slow
def test_the_script_trains_stops_at_sigterm_and_resumes(tmp_path):
    command = [
        sys.executable, ROOT / "scripts" / "train_sft.py", "--config", ROOT / "configs" / "arc" / "tiny_pretrain.yaml",
        "--run-dir", tmp_path / "run", "--log-every", "1", "--workers", "2",
    ]  # fmt: skip
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("step 3/"))
    process.send_signal(signal.SIGTERM)
    output = process.stdout.read()
    assert process.wait() == 0 and "stopped and saved" in output

    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout
    steps = [r["step"] for r in map(json.loads, (tmp_path / "run" / "metrics.jsonl").open()) if r["kind"] == "train"]
    assert steps == list(range(1, 61))

    refused = subprocess.run([*command, "--seed", "9"], env=env, capture_output=True, text=True)
    assert refused.returncode == 2 and "seed: 0 != 9" in refused.stderr and "Traceback" not in refused.stderr
