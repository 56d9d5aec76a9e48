"""The memory plan: what fits is found from the compiler, a run compiles what it says, a dry run computes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax
import pytest
from e2e_tools import small_run, with_options, write_model, write_tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax import dry_run as dry
from ttt_jax.compilation import Needs, compile_one, size_of
from ttt_jax.dry_run import DOES_NOT_FIT, dry_run
from ttt_jax.pipeline import Solver
from ttt_jax.programs import CACHES, Programs, misfits
from ttt_jax.run import load, planned
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.memory import most_slots
from ttt_jax.runtime.progress import Progress

pytestmark = pytest.mark.usefixtures("shared_programs")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 100), st.integers(1, 400), st.integers(0, 5000), st.integers(0, 3))
def test_the_most_slots_that_fit_are_found_with_few_measurements(fixed, each, most, limit, uneven):
    asked = []

    def measure(slots):
        asked.append(slots)
        size = fixed + each * slots + uneven * (slots % 3)
        return math.inf if size > 4 * limit else size

    found = most_slots(measure, limit, most)
    fitting = [n for n in range(most + 1) if not n or fixed + each * n + uneven * (n % 3) <= limit]
    assert found in fitting and (found == most or found + 1 not in fitting)
    assert len(asked) == len(set(asked)) <= 4 + most.bit_length()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    model, tasks = write_model(folder / "model"), write_tasks(folder / "tasks", ["a", "b", "c"])
    return small_run(folder / "run", model, tasks, arms=("adapted",), select__method="product_of_experts")


@pytest.fixture(scope="module")
def made(config) -> Programs:
    """Not by the name of conftest's folder of compiled programs, which `shared_programs` asks for."""
    model, base, domain, _ = load(config)
    return Programs(Solver(model, base, domain, config, CompileLog(), Progress(0)).adapter, domain, config)


@pytest.mark.slow
def test_auto_takes_the_most_slots_that_the_memory_holds(config, made):
    three = int(size_of(made.adapt(3, 128)))
    config = with_options(config, adapt__slots="auto")
    auto = Programs(made.adapter, made.domain, config)
    tasks = load(config)[3].tasks
    assert {pool.slots for pool in planned(auto, tasks, 1 << 40).pools} == {3}, "not more than there are tasks"
    for limit, slots in ((three, 3), (three - 1, 2)):
        assert {pool.slots for pool in planned(auto, tasks, limit).pools} == {slots}
        assert (size_of(made.adapt(slots, 128)) <= limit) and (slots == 3 or size_of(made.adapt(3, 128)) > limit)
    with pytest.raises(ValueError, match=r"adapt.slots: not even one fits at 128 tokens"):
        planned(auto, tasks, 1000)


def test_no_decoding_is_compiled_whose_caches_alone_are_too_large(config, made):
    auto = Programs(made.adapter, made.domain, with_options(config, decode__slots="auto"))
    held = {n: max(sum(p.parts.values()) for p in auto.answer(n, 128, "adapted", 2)) for n in (1, 2, 3, 8)}
    for limit, slots in (
        (int(held[3] / CACHES) + 1, 3),
        (int(held[3] / CACHES) - 1, 2),
        (int(held[8] / CACHES) + 1, 8),
    ):
        decoding = auto.most_decoding(8, limit, 2)
        assert decoding is not None and decoding(128) == slots
    assert made.most_decoding(8, 1, 2) is None, "not where the number is the user's"


def test_drafts_count_in_the_memory_of_decoding(config, made):
    options = {**GREEDY, "decode__max_new_tokens": 16, "decode__chunk": 4}
    plain = Programs(made.adapter, made.domain, with_options(config, **options))
    drafts = Programs(made.adapter, made.domain, with_options(config, **options, decode__speculate=True))
    alone, more = (list(p.decode(2, 128, "adapted", 2)) for p in (plain, drafts))
    for name in ("first view: read 2 x 1 x 128", "drafts of 8: read 2 x 2 x 136", "drafts of 16: read 2 x 2 x 144"):
        assert sum(program.name.startswith(name) for program in more) == 1
    assert all(program.length == 128 for program in more if program.stage == "decode")
    plain_most, drafts_most = (max(p.parts["cache"] for p in of if p.parts) for of in (alone, more))
    # Three views, in room for answers; or two in room for drafts too, and the first view's cache beside theirs.
    expected = (2 * (128 + 16 + 15) + (128 + 15)) / (3 * (128 + 15))
    assert drafts_most / plain_most == pytest.approx(expected, rel=0.01)
    most = [
        Programs.most_decoding(of, 8, 4 * plain_most, 0)
        for of in (
            Programs(
                made.adapter,
                made.domain,
                with_options(config, **options, decode__slots="auto", decode__speculate=speculate),
            )
            for speculate in (False, True)
        )
    ]
    fewer = [of(128) for of in most if of is not None]
    assert len(fewer) == 2 and 1 <= fewer[1] <= fewer[0]


def test_slots_are_lowered_until_what_was_compiled_fits_and_nothing_is_compiled_twice(config, made, monkeypatch):
    auto = Programs(made.adapter, made.domain, with_options(config, adapt__slots="auto", decode__slots="auto"))
    tasks, limit, tried = load(config)[3].tasks, 1 << 40, []

    def compile_nothing(programs):
        # Compiled, a slot of adaptation takes 0.4 of the device, and one of decoding 0.6.
        tried.append({(p.stage, p.slots) for p in programs if p.stage != "small"})
        share = {"adapt": 0.4, "decode": 0.6, "small": 0.0}
        return [Needs(p, int(share[p.stage] * p.slots * limit), 0.0, 0.0) for p in programs]

    monkeypatch.setattr(auto, "compile", compile_nothing)
    plan = planned(auto, tasks, limit)
    assert {pool.slots for pool in plan.pools} == {2} and {group.slots for group in plan.groups} == {1}
    assert tried[0] == {("adapt", 3), ("decode", 3)} and tried[-1] == {("adapt", 2), ("decode", 1)} and len(tried) == 2
    assert planned(auto, tasks, limit, finished=[task.id for task in tasks]).pools, "and what is finished asks nothing"
    assert tried[-1] == set()


def test_the_parts_of_a_program_are_those_of_its_state(made):
    needs = compile_one(made.adapt(2, 128))
    parts = needs.program.parts
    adapters = made.adapter.initial_state(["a", "b"]).train
    bytes_of = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))  # noqa: E731
    assert parts["adapters"] == bytes_of(adapters.trainable) and parts["optimizer"] == bytes_of(adapters.opt_state)
    assert needs.bytes == sum(parts.values()) + needs.temporary and needs.temporary > 0 and needs.flops > 0


def test_what_does_not_fit_is_named_with_the_slots_that_would(made):
    needs = compile_one(made.adapt(3, 128))
    assert misfits([needs], made, needs.bytes) == []
    (line,) = misfits([needs], made, needs.bytes - 1)
    assert line.startswith("adapt 3 x 2 x 128 needs") and line.endswith("adapt.slots 2 fits at 128 tokens")


def test_a_dry_run_names_every_program_and_what_does_not_fit_and_writes_nothing(config, capsys):
    assert dry_run(config) == 0
    out = capsys.readouterr().out
    for said in (
        "adapt 2 x 2 x 128",
        "read 2 x 3 x 128, adapted",
        "write 16 tokens after 128, adapted",
        "score 4 x 4 x 32 tokens after 128, adapted",
        "compilations",
    ):
        assert said in out
    assert dry_run(with_options(config, select__method="vote"), 1000) == DOES_NOT_FIT
    error = capsys.readouterr().err
    assert "adapt 2 x 2 x 128 needs" in error and "not even one slot fits" in error
    assert not Path(config.run_dir).exists()


GREEDY = {"decode__samples": 1, "decode__temperature": 0.0}


@pytest.mark.parametrize(
    ("longest", "options"),
    [
        # Room for answers grows twice; answers are scored under views of their own.
        (129, {"decode__max_new_tokens": 160, "decode__chunk": 64, "adapt__stop_demo": True, "select__score_views": 2}),
        # Answers lie in two rooms when branches are looked for.
        pytest.param(
            4,
            {**GREEDY, "decode__search_above": 0.02, "decode__max_new_tokens": 16, "decode__chunk": 2},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_compiles_nothing_that_its_plan_does_not_name(config, longest, options):
    model, base, domain, loaded = load(config)
    config = with_options(config, **options)
    with CompileLog() as log:
        solver = Solver(model, base, domain, config, log, Progress(0))
        programs = Programs(solver.adapter, domain, config)
        plan = planned(programs, loaded.tasks)
        programs.compile(programs.of_plan(plan))
        before = log.programs.copy()
        lengths = [
            len(candidate.tokens)
            for _, arms, _ in solver.answers(plan)
            for answers in arms["adapted"]
            for of_query in answers.candidates
            for candidate in of_query
        ]
    assert max(lengths) > longest, "no answer needed the largest room"
    # Of what is in the compute type already there is nothing to cast.
    assert (log.programs - before).keys() <= {"cast"}


def test_the_expected_time_follows_measured_rates(config, tmp_path):
    device = dry.describe_device()["kind"]
    model, base, domain, loaded = load(config)
    plan = planned(
        Programs(Solver(model, base, domain, config, CompileLog(), Progress(0)).adapter, domain, config), loaded.tasks
    )
    assert "not known" in dry.expected_time(plan, config, tmp_path)
    trained = sum(job.examples.max_length for pool in plan.pools for job in pool.jobs) * 8 * 2
    read = sum(len(v.prompt) for g in plan.groups for t in g.tasks for views in t.views for v in views)
    measured = {
        "model": config.model, "device": {"kind": device},
        "tokens": {"adapt": trained // 2, "prompt": read * 2, "decode": read},
        "seconds": {"adapt": 100, "decode": 50, "select": 10},
    }  # fmt: skip
    (tmp_path / "other.json").write_text(json.dumps({**measured, "model": "another"}))
    assert "not known" in dry.expected_time(plan, config, tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(measured))
    said = dry.expected_time(plan, config, tmp_path)
    assert "adapt 3:20, decode and select 0:30" in said and "run.json" in said
