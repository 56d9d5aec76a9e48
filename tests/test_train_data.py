"""Batches are pure functions of (seed, step), well-formed and full; workers deliver them in order or say why not."""

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial

import numpy as np
import pytest

from ttt_jax.tasks.encoding import BOS, END, INPUT, OUTPUT, PAD, encode_pairs, parse_grid
from ttt_jax.tasks.rearc import held_out_ids, training_ids
from ttt_jax.train import data, rules
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.data import FIRST_OUTPUT, INPUT_ROLE, LAST_OUTPUT, MIDDLE_OUTPUT, NO_LOSS, make_batch, make_rows
from ttt_jax.train.workers import OrderedWorkers, WorkerDied

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs pip install --no-deps reasoning-gym==0.1.25"
)
SMALL = ReArcConfig(
    lengths=(256, 512), length_probabilities=(0.5, 0.5), tokens_per_batch=2048, difficulties=((0.2, 1.0),)
)


def pairs_of(batch: data.Batch, row: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pairs written in a row, read back token by token; fails where the row breaks the grammar."""
    tokens = batch.tokens[row][batch.tokens[row] != PAD].tolist()
    assert tokens[0] == BOS and tokens[-1] == END
    pairs = []
    for text in "".join(map(chr, tokens[1:])).split(chr(END))[:-1]:
        question, answer = text[1:].split(chr(OUTPUT))
        assert ord(text[0]) == INPUT
        grids = [parse_grid([ord(c) for c in part]) for part in (question, answer)]
        assert grids[0] is not None and grids[1] is not None
        pairs.append((grids[0], grids[1]))
    return pairs


def same(a: data.Batch, b: data.Batch) -> bool:
    return all(np.array_equal(x, b.arrays()[name]) for name, x in a.arrays().items())


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers_or_where_they_start(workers):
    expected = [make_batch(SMALL, 7, step) for step in range(2, 6)]
    with OrderedWorkers(partial(make_batch, SMALL, 7), 2, workers) as batches:
        found = [next(batches) for _ in expected]
    assert all(map(same, expected, found))


def test_seeds_and_steps_give_different_batches():
    a, b, c = make_batch(SMALL, 0, 0), make_batch(SMALL, 0, 1), make_batch(SMALL, 1, 0)
    assert not same(a, b) and not same(a, c)
    assert {data.batch_length(SMALL, 0, step) for step in range(20)} == {256, 512}


def test_rows_are_the_encoding_of_their_pairs_with_a_role_for_every_token():
    batch = make_rows(SMALL, training_ids(), 256, 8, ("test", 0))
    for row in range(len(batch.tokens)):
        pairs = pairs_of(batch, row)
        assert SMALL.min_pairs <= len(pairs) <= SMALL.max_pairs
        encoded, n = encode_pairs(pairs), int(np.sum(batch.tokens[row] != PAD))
        assert np.array_equal(encoded.tokens, batch.tokens[row, :n])
        assert np.array_equal(encoded.positions[:, 1], batch.rows[row, :n])
        assert np.array_equal(encoded.positions[:, 2], batch.cols[row, :n])
        expected = np.full(n, MIDDLE_OUTPUT)
        expected[encoded.outputs == -1] = INPUT_ROLE
        expected[encoded.outputs == 0] = FIRST_OUTPUT
        expected[encoded.outputs == len(pairs) - 1] = LAST_OUTPUT
        expected[0] = NO_LOSS
        assert np.array_equal(expected, batch.roles[row, :n])
        assert (batch.roles[row, n:] == NO_LOSS).all() and (batch.tokens[row, n:] == PAD).all()


def test_a_row_that_takes_a_pair_too_many_is_the_beginning_of_a_sequence_and_full():
    config = dataclasses.replace(SMALL, max_pairs=50)
    batch = make_rows(config, training_ids(), 256, 16, ("test", 0), cut=True)
    full = (batch.tokens != PAD).all(axis=1)
    assert full.sum() >= 12 and batch.real_tokens == np.sum(batch.tokens != PAD)
    for row in np.flatnonzero(full):
        tokens = batch.tokens[row]
        assert np.sum(tokens == END) >= config.min_pairs - 1  # the order of pairs may have put a long one last
        assert set(batch.roles[row][np.flatnonzero(tokens == END)]) <= {FIRST_OUTPUT, MIDDLE_OUTPUT, LAST_OUTPUT}
        first = np.flatnonzero(tokens == END)[0]
        whole = pairs_of(dataclasses.replace(batch, tokens=np.where(np.arange(256) > first, PAD, batch.tokens)), row)
        assert len(whole) == 1


def test_rows_that_share_pairs_show_them_under_other_transforms():
    batch = make_rows(SMALL, training_ids(), 256, 8, ("test", 0))
    for row in range(0, 8, 2):
        first, second = pairs_of(batch, row), pairs_of(batch, row + 1)
        areas = [sorted((x.size, y.size) for x, y in pairs) for pairs in (first, second)]
        assert areas[0] == areas[1]
        assert not np.array_equal(batch.tokens[row], batch.tokens[row + 1])
    assert [x.size for x, _ in pairs_of(batch, 0)] != [x.size for x, _ in pairs_of(batch, 2)]


def test_no_row_shows_one_input_twice():
    batch = make_rows(SMALL, training_ids(), 512, 16, ("test", 1))
    for row in range(16):
        inputs = [(x.tobytes(), x.shape) for x, _ in pairs_of(batch, row)]
        assert len(set(inputs)) == len(inputs)


def test_training_never_draws_a_held_out_generator(monkeypatch):
    drawn = set()
    rng = np.random.default_rng(0)

    def record(generator_id, rng_, difficulty, timeout, failures, program_id, reads):
        drawn.update({generator_id, program_id} - {None})
        grid = rng.integers(0, 10, (5, 5), dtype=np.int8)
        return grid, grid

    monkeypatch.setattr(rules, "sample_pair", record)
    config = dataclasses.replace(SMALL, crossed=0.5)
    for step in range(300):
        make_batch(config, 0, step)
    assert len(drawn) > 300
    assert not drawn & set(held_out_ids())
    assert "40853293" not in drawn


def test_batches_are_at_least_three_quarters_full():
    config = dataclasses.replace(ReArcConfig(), tokens_per_batch=49152)
    for length in config.lengths:
        batch = make_rows(config, training_ids(), length, config.rows(length), ("test", 0))
        real = int(np.sum(batch.tokens != PAD))
        assert batch.real_tokens == real
        assert real / batch.tokens.size >= 0.75


def test_thrown_away_pairs_are_counted_and_a_failing_generator_is_left(monkeypatch):
    real, bad = rules.sample_pair, training_ids()[0]

    def fail_one(generator_id, rng, difficulty, timeout, failures, *program):
        if generator_id != bad:
            return real(generator_id, rng, difficulty, timeout, failures, *program)
        failures["timeout"] += 1
        return None

    monkeypatch.setattr(rules, "sample_pair", fail_one)
    failures: Counter[str] = Counter()
    rng = np.random.default_rng(0)
    for _ in range(4):
        pairs, _ = data.draw_pairs(SMALL, [bad, training_ids()[1]], 512, rng, failures)
        assert len(pairs) >= SMALL.min_pairs
    assert failures["timeout"] >= 4 and failures["timeout"] % 4 == 0


def test_lengths_in_which_nothing_fits_are_refused_by_name():
    with pytest.raises(ValueError, match=r"data\.lengths"):
        data.draw_pairs(SMALL, training_ids(), 8, np.random.default_rng(0), Counter())


def test_wrong_data_options_are_refused_by_name():
    with pytest.raises(ValueError, match="length_probabilities"):
        ReArcConfig(lengths=(256,))
    with pytest.raises(ValueError, match="difficulties"):
        ReArcConfig(difficulties=((2.0, 1.0),))
    with pytest.raises(ValueError, match="tokens_per_batch"):
        ReArcConfig(tokens_per_batch=1000)


def test_data_workers_never_import_jax():
    code = "import sys; from ttt_jax.train import data, rules, workers; print('jax' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
        == "False\n"
    )


def number_or_raise(n: int) -> int:
    if n == 3:
        raise ValueError("three is not allowed")
    return n


def number_or_die(n: int) -> int:
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@pytest.mark.parametrize(
    ("make", "message"), [(number_or_raise, "ValueError: three is not allowed"), (number_or_die, "exit code -9")]
)
def test_a_worker_that_raises_or_is_killed_is_reported_and_does_not_hang(make, message):
    began = time.monotonic()
    with OrderedWorkers(make, 0, 2) as numbers, pytest.raises(WorkerDied, match=message):
        [next(numbers) for _ in range(6)]
    assert time.monotonic() - began < 20


def test_closing_ends_the_worker_processes():
    workers = OrderedWorkers(number_or_raise, 4, 2)
    assert [next(workers) for _ in range(5)] == [4, 5, 6, 7, 8]
    processes = list(workers._processes)
    workers.close()
    assert not any(process.is_alive() for process in processes)


def test_workers_leave_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\nfrom ttt_jax.train.workers import OrderedWorkers\n"
        "if __name__ == '__main__':\n"
        "    workers = OrderedWorkers(abs, 0, 2)\n    next(workers)\n"
        "    print(*[p.pid for p in workers._processes], flush=True)\n    time.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script)], env=env, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while time.monotonic() < until and any(map(running, pids)):
        time.sleep(0.1)
    assert len(pids) == 2 and not any(map(running, pids))


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
