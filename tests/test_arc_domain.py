import json

import numpy as np
import pytest
from grid_strategies import grids, small_task
from hypothesis import given, settings

from ttt_jax.config import TasksConfig
from ttt_jax.tasks import encoding
from ttt_jax.tasks.arc import SOURCES, ArcDomain, prompt_tokens, read_source
from ttt_jax.tasks.registry import get_domain

DOMAIN = ArcDomain()


@given(grids(), grids())
@settings(max_examples=50, deadline=None)
def test_equal_answers_have_equal_keys_and_survive_json(a, b):
    again = DOMAIN.from_json(json.loads(json.dumps(DOMAIN.to_json(a))))
    assert DOMAIN.same(a, again)
    assert DOMAIN.key(a) == DOMAIN.key(again)
    assert DOMAIN.same(a, b) == (DOMAIN.key(a) == DOMAIN.key(b))


def test_grids_of_equal_cells_and_other_shape_are_not_the_same():
    row, column = np.zeros((1, 4), np.int8), np.zeros((4, 1), np.int8)
    assert not DOMAIN.same(row, column)
    assert len({DOMAIN.key(g) for g in (row, column, row.reshape(2, 2))}) == 3


def test_an_answer_ends_with_the_stop_token_and_fits_the_room():
    x = np.zeros((30, 30), np.int8)
    outputs = DOMAIN.encode([(x, x)]).outputs
    assert (outputs == 0).sum() == DOMAIN.max_answer_tokens == 931
    assert DOMAIN.encode([(x, x)]).tokens[-1] == DOMAIN.stop_token


@pytest.mark.parametrize(
    ("source", "tasks", "queries"),
    [("arc-agi-1/training", 400, 416), ("arc-agi-1/evaluation", 400, 419), ("arc-agi-2/evaluation", 120, 167)],
)
def test_packaged_benchmarks_are_whole(source, tasks, queries):
    loaded = read_source(source)
    assert loaded.benchmark == source
    assert len({t.id for t in loaded.tasks}) == tasks
    assert sum(len(t.queries) for t in loaded.tasks) == queries
    assert all(len(t.answers or ()) == len(t.queries) and t.demos[0][0].dtype == np.int8 for t in loaded.tasks)


def test_agi_1_evaluation_is_the_default_and_differs_from_agi_2():
    assert TasksConfig().source == "arc-agi-1/evaluation"
    one, two = ({t.id for t in read_source(s).tasks} for s in ("arc-agi-1/evaluation", "arc-agi-2/evaluation"))
    assert "00576224" in one
    assert len(one & two) == 6


def test_the_development_tasks_share_nothing_with_agi_1():
    development = read_source("arc-agi-2/development").tasks
    assert len(development) == 233

    def pairs(tasks):
        return {
            (x.shape, x.tobytes(), y.shape, y.tobytes())
            for t in tasks
            for x, y in [*t.demos, *zip(t.queries, t.answers, strict=True)]
        }

    training, evaluation = (read_source(f"arc-agi-1/{part}").tasks for part in ("training", "evaluation"))
    assert not {t.id for t in development} & {t.id for t in (*training, *evaluation)}
    assert not pairs(development) & pairs(evaluation)


def test_the_rules_choose_by_demonstrations_and_query_inputs():
    everything = {t.id: t for t in DOMAIN.load(TasksConfig()).tasks}
    shortest = DOMAIN.load(TasksConfig(order="shortest", limit=8)).tasks
    lengths = {id_: prompt_tokens(t) for id_, t in everything.items()}
    assert [t.id for t in shortest] == sorted(everything, key=lambda i: (lengths[i], i))[:8]

    fits = DOMAIN.load(TasksConfig(max_prompt_tokens=1536)).tasks
    assert [t.id for t in fits] == sorted(i for i, n in lengths.items() if n <= 1536)

    drawn = DOMAIN.load(TasksConfig(max_prompt_tokens=1536, sample=100)).tasks
    ids = sorted(t.id for t in fits)
    assert {t.id for t in drawn} == set(np.random.default_rng(0).choice(ids, 100, replace=False).tolist())
    assert [t.id for t in drawn] == sorted(t.id for t in drawn)


def test_a_prompt_counts_the_longest_query_and_no_output():
    demos = small_task(side=3).demos
    short, long = np.zeros((1, 1), np.int8), np.zeros((5, 5), np.int8)
    huge = np.zeros((30, 30), np.int8)
    task = small_task()
    task = type(task)("t", demos, (short, long), (huge, huge))
    assert prompt_tokens(task) == prompt_tokens(task.hide_answers()) == len(encoding.encode_pairs(demos, long))


def test_ids_are_taken_as_named_and_unknown_ones_name_the_nearest():
    ids = ("66e6c45b", "00576224")
    assert [t.id for t in DOMAIN.load(TasksConfig(ids=ids)).tasks] == sorted(ids)
    with pytest.raises(ValueError, match=r"tasks\.ids: no task is called '00576225'.*00576224"):
        DOMAIN.load(TasksConfig(ids=("00576225",)))


def test_an_id_whose_file_is_malformed_is_refused_not_unknown(tmp_path):
    good = {"train": [{"input": [[1]], "output": [[1]]}], "test": [{"input": [[1]]}]}
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "bad.json").write_text("{")
    loaded = DOMAIN.load(TasksConfig(path=str(tmp_path), ids=("good", "bad")))
    assert [t.id for t in loaded.tasks] == ["good"]
    assert [r.task_id for r in loaded.refused] == ["bad"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TasksConfig(source="arc-agi-1/eval"), r"tasks\.source.*did you mean 'arc-agi-1/evaluation'"),
        (TasksConfig(sample=401), r"tasks\.sample: 401 of the 400"),
        (TasksConfig(max_prompt_tokens=1), r"none of the 400 tasks"),
    ],
)
def test_rules_that_cannot_be_met_are_errors_that_name_the_option(config, message):
    with pytest.raises(ValueError, match=message):
        DOMAIN.load(config)


def test_domains_are_found_by_name_or_path():
    assert get_domain("arc").name == "arc"
    assert isinstance(get_domain("ttt_jax.tasks.arc:ArcDomain"), ArcDomain)
    with pytest.raises(ValueError, match=r"tasks\.domain: no domain is called 'arcs', did you mean 'arc'"):
        get_domain("arcs")


def test_every_source_names_a_benchmark_and_a_split():
    assert set(SOURCES) == {f"arc-agi-{n}/{split}" for n in (1, 2) for split in ("training", "evaluation")}


def test_malformed_tasks_that_nobody_asked_for_do_not_count(tmp_path):
    good = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[1]], "output": [[2]]}]}
    for name, content in (("good", good), ("asked", {"train": []}), ("other", {"train": []})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    loaded = DOMAIN.load(TasksConfig(path=str(tmp_path), ids=("good", "asked")))
    assert [t.id for t in loaded.tasks] == ["good"]
    assert {r.task_id for r in loaded.refused} == {"asked"}
    assert {r.task_id for r in DOMAIN.load(TasksConfig(path=str(tmp_path))).refused} == {"asked", "other"}
