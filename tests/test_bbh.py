"""BIG-Bench Hard: its files, its protocol, what counts as an answer, and whole runs on a tiny model."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import shutil
from dataclasses import replace

import fsspec
import numpy as np
import pytest
from e2e_tools import ROOT, journal, read_json, with_options
from text_tools import boolean_examples, choice_examples, tiny_text_model, tiny_tokenizer, write_bbh

from ttt_jax.adapt.examples import ExampleStream
from ttt_jax.adapt.shared import SharedStream
from ttt_jax.config import AdaptConfig, DecodeConfig, ExamplesConfig, LoraConfig, RunConfig, SelectConfig, TasksConfig
from ttt_jax.config_loader import from_yaml
from ttt_jax.run import run
from ttt_jax.tasks import remote
from ttt_jax.tasks.bbh import BbhDomain
from ttt_jax.tasks.bbh_scores import explained, majority_label, measure
from ttt_jax.tasks.bbh_tasks import TASKS
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task

DOMAIN = BbhDomain()


def load_script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOKENIZER = tiny_tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    files = {"boolean_expressions": boolean_examples(16), "hyperbaton": choice_examples(15)}
    return write_bbh(tmp_path_factory.mktemp("bbh"), files)


def config(folder, **options) -> TasksConfig:
    return TasksConfig(domain="bbh", path=str(folder), **options)


def test_there_are_27_tasks_with_a_description_a_format_and_a_reader():
    assert len(TASKS) == 27
    assert all(text.description.endswith(".") and text.answer_format.endswith(".") for text in TASKS.values())


def test_a_seed_shuffles_the_whole_task_and_the_first_examples_are_the_demonstrations(folder):
    tasks = {task.id: task for task in DOMAIN.read(config(folder, demos=4, seeds=(42, 43))).tasks}
    assert set(tasks) == {f"{name}@{seed}" for name in ("boolean_expressions", "hyperbaton") for seed in (42, 43)}
    examples = boolean_examples(16)
    random.seed(43)
    random.shuffle(examples)
    task = tasks["boolean_expressions@43"]
    shown = [*task.demos, *zip(task.queries, task.answers or (), strict=True)]
    assert shown == [(e["input"], e["target"]) for e in examples]
    assert len(task.demos) == 4 and task.family == "seed43"


def test_a_schedule_can_be_tried_on_the_demonstrations_alone(folder):
    whole = DOMAIN.read(config(folder, demos=6, seeds=(42,))).tasks[0]
    tried = DOMAIN.read(config(folder, demos=4, queries=2, seeds=(42,))).tasks[0]
    pairs = [*tried.demos, *zip(tried.queries, tried.answers or (), strict=True)]
    assert pairs == list(whole.demos) and len(tried.demos) == 4


def test_the_prompt_is_description_format_and_questions_with_answers(folder):
    domain = get_domain("bbh").bind(TOKENIZER)
    task = next(t for t in domain.load(config(folder, demos=2, seeds=(42,))).tasks if t.id.startswith("bool"))
    (x, y), (x2, y2) = task.demos
    text = TASKS["boolean_expressions"]
    expected = (
        f"{text.description} {text.answer_format}\n\nQ: {x}\nA: {y}\n\nQ: {x2}\nA: {y2}\n\nQ: {task.queries[0]}\nA:"
    )
    assert TOKENIZER.decode(domain.encode(task.demos, task.queries[0]).tokens) == expected
    alone = TOKENIZER.decode(domain.encode((), task.queries[0]).tokens)
    assert alone == f"{text.description} {text.answer_format}\n\nQ: {task.queries[0]}\nA:"


READ = [
    ("hyperbaton", " (A)", "(A)"),
    ("hyperbaton", " b) the second", "(B)"),
    ("hyperbaton", " B", "(B)"),
    ("hyperbaton", "The answer is (B).", "(B)"),
    ("hyperbaton", " A man walks", None),
    ("hyperbaton", " I think (A)", None),
    ("hyperbaton", " 7", None),
    ("salient_translation_error_detection", " (F)", "(F)"),
    ("boolean_expressions", " true", "True"),
    ("boolean_expressions", " False because", "False"),
    ("boolean_expressions", " yes", None),
    ("sports_understanding", " Yes.", "yes"),
    ("web_of_lies", " no, she lies", "No"),
    ("navigate", " Nothing", None),
    ("formal_fallacies", " invalid", "invalid"),
    ("formal_fallacies", " VALID", "valid"),
    ("multistep_arithmetic_two", " -1,234", "-1234"),
    ("multistep_arithmetic_two", " 007.0", "7"),
    ("object_counting", " 12 fruits", "12"),
    ("object_counting", " twelve", None),
    ("object_counting", " 12.5", "12"),
    ("dyck_languages", " ] )}", "] ) }"),
    ("dyck_languages", " ( ]", None),
    ("dyck_languages", " ] then )", None),
    ("word_sorting", " apple, bear  cat", "apple bear cat"),
    ("word_sorting", " apple", None),
    ("movie_recommendation", " Monsters, Inc", "Monsters, Inc"),
    ("movie_recommendation", " (C)", "(C)"),
    ("ruin_names", "", None),
]


@pytest.mark.parametrize(("name", "line", "answer"), READ)
def test_the_first_word_or_letter_counts(name, line, answer):
    assert DOMAIN.parse_for(Task(f"{name}@42", (), ()), line) == answer


def test_answers_are_compared_without_case_and_spacing():
    assert DOMAIN.same("] ) }", " ]  ) } ") and DOMAIN.same("True", "true") and not DOMAIN.same("(A)", "(B)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "file: not JSON"),
        ("[]", "examples: expected a list"),
        ('{"examples": [{"input": "x", "target": "y"}, {"input": "x"}]}', r"examples\[1\]: target: expected a text"),
        ('{"examples": [{"input": " ", "target": "y"}]}', r"examples\[0\]: input: expected a text"),
        ('{"examples": ["x"]}', r"examples\[0\]: expected an object"),
        ('{"examples": [{"input": "x", "target": "y"}]}', "leave no query"),
    ],
)
def test_bad_files_are_refused_by_name_and_number(tmp_path, content, message):
    write_bbh(tmp_path, {"hyperbaton": choice_examples(15)})
    (tmp_path / "snarks.json").write_text(content)
    loaded = DOMAIN.read(config(tmp_path, seeds=(42,)))
    assert [task.id for task in loaded.tasks] == ["hyperbaton@42"]
    assert len(loaded.refused) == 1 and loaded.refused[0].task_id == "snarks"
    assert re.search(f"snarks.json.*{message}", str(loaded.refused[0]))


def test_wrong_paths_are_refused_with_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match=r"tasks\.path: bbh needs the directory"):
        DOMAIN.read(TasksConfig(domain="bbh"))
    with pytest.raises(ValueError, match="no such directory"):
        DOMAIN.read(config(tmp_path / "none"))
    with pytest.raises(ValueError, match="holds no task file"):
        DOMAIN.read(config(tmp_path))
    (tmp_path / "snark.json").write_text("{}")
    with pytest.raises(ValueError, match="did you mean snarks"):
        DOMAIN.read(config(tmp_path / "snark.json"))


def test_a_folder_behind_a_url_is_copied_once_and_read_from_the_copy(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.put(f"{folder}/", "/published/bbh/", recursive=True)
    store.pipe("/published/bbh/README.md", b"no task")
    options = TasksConfig(domain="bbh", path="memory://published/bbh", demos=4, seeds=(42,))
    there, here = DOMAIN.read(options), DOMAIN.read(replace(options, path=str(folder)))
    assert there.tasks == here.tasks and there.tasks
    store.rm("/published", recursive=True)
    assert DOMAIN.read(options).tasks == here.tasks
    with pytest.raises(ValueError, match="memory://published/none: cannot be read"):
        DOMAIN.read(replace(options, path="memory://published/none"))
    store.pipe("/empty/README.md", b"no task")
    with pytest.raises(ValueError, match="holds no task file"):
        DOMAIN.read(replace(options, path="memory://empty"))


def test_two_processes_may_fetch_the_same_files_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fs = fsspec.filesystem("memory")
    fs.pipe("/raced/navigate.json", b"{}")

    def too_late(source, target):
        shutil.copytree(source, target)  # the other process has just put its copy there
        raise OSError("Directory not empty")

    monkeypatch.setattr(remote.os, "replace", too_late)
    folder = remote.local("memory://raced", lambda name: name.endswith(".json"))
    assert [file.name for file in folder.iterdir()] == ["navigate.json"]
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def task_of(name: str, seed: int, truths: str) -> Task:
    return Task(f"{name}@{seed}", (("x", "a"), ("y", "b"), ("z", "b")), tuple(truths), tuple(truths))


def test_accuracies_are_means_over_tasks_then_over_seeds():
    tasks = [task_of("p", 42, "aabb"), task_of("q", 42, "bbbb"), task_of("p", 43, "aaaa"), task_of("q", 43, "abab")]
    answers = {"p@42": list("aabb"), "q@42": ["b", None, "a", "b"], "p@43": list("abbb"), "q@43": list("aaaa")}
    found = measure(tasks, answers, DOMAIN.same)
    # Seeds: (1 + 0.5) / 2 and (0.25 + 0.5) / 2.
    assert found["accuracy"]["value"] == pytest.approx((0.75 + 0.375) / 2) and found["accuracy"]["n"] == 2
    assert found["accuracy"]["stderr"] == pytest.approx(np.std([0.75, 0.375], ddof=1) / np.sqrt(2))
    assert found["tasks"]["p"]["accuracy"]["value"] == pytest.approx((1 + 0.25) / 2)
    assert found["tasks"]["q"]["valid"] == pytest.approx((0.75 + 1) / 2)
    one = measure(tasks[:2], answers, DOMAIN.same)
    assert one["accuracy"] == {"value": 0.75, "stderr": None, "n": 1}


def test_the_majority_label_is_a_baseline_that_sees_demonstrations_only():
    task = task_of("p", 42, "aabb")
    assert majority_label(task) == "b"
    baseline = DOMAIN.baselines([task])["majority_label"]
    assert baseline == {"p@42": ["b"] * 4}
    assert measure([task], baseline, DOMAIN.same)["accuracy"]["value"] == 0.5


def test_the_share_of_a_gain_that_the_label_explains():
    before, after = {"p": 0.2, "q": 0.5, "r": 0.9}, {"p": 0.6, "q": 0.7, "r": 0.8}
    assert explained(before, after, {"p": 0.5, "q": 0.4, "r": 1.0}) == pytest.approx(0.3 / 0.6)
    assert explained(before, before, before) is None


def test_a_pool_of_40_orders_is_one_epoch_of_8_steps(folder):
    domain = get_domain("bbh").bind(TOKENIZER)
    task = domain.load(config(folder, demos=6, seeds=(42,))).tasks[0]
    options = ExamplesConfig(transforms=("order",), cap=40, first_output_loss=1.0)
    stream = ExampleStream(task, domain, options, seed=0)
    sequences = [encoded.tokens.tobytes() for step in range(8) for encoded in stream.sequences(step, 5)]
    assert len(set(sequences)) == 40
    batch = stream.batch(0, 5, stream.max_length)
    assert {int(row.sum()) for row in batch["weights"]} == {sum(domain.encode(task.demos).outputs >= 0)}


def test_a_family_gives_every_task_a_sequence_in_every_round(folder):
    domain = get_domain("bbh").bind(TOKENIZER)
    tasks = domain.load(config(folder, demos=3, seeds=(42,))).tasks
    streams = [ExampleStream(task, domain, ExamplesConfig(transforms=()), seed=0) for task in tasks]
    shared = SharedStream("seed42", streams, seed=0)
    own = {domain.encode(task.demos).tokens.tobytes(): task.id for task in tasks}
    arrays = shared.padding((4, 3), shared.max_length)
    for step in range(4):
        shared.fill({name: array[step] for name, array in arrays.items()}, step)
    tokens = np.concatenate(arrays["tokens"])
    seen = [own[row[row != domain.pad_token].tobytes()] for row in tokens]
    assert all(len(set(seen[i : i + 2])) == 2 for i in range(0, 12, 2))
    assert len(set(map(tuple, zip(seen[::2], seen[1::2], strict=True)))) == 2


@pytest.fixture(scope="module")
def small(folder, tmp_path_factory) -> RunConfig:
    return RunConfig(
        model=str(tiny_text_model(tmp_path_factory.mktemp("model"))),
        lengths=(192, 448),
        tasks=config(folder, demos=4, seeds=(42, 43)),
        adapt=AdaptConfig(
            steps=4,
            batch_size=2,
            chunk=2,
            slots=4,
            lora=LoraConfig(rank=4, alpha=4.0, targets=("q", "v", "o", "gate", "up", "down"), dropout=0.05),
            examples=ExamplesConfig(transforms=("order",), cap=8, first_output_loss=1.0),
        ),
        decode=DecodeConfig(views=2, transforms=("order",), slots=8, chunk=8, max_new_tokens=8),
        select=SelectConfig(attempts=1),
    )


@pytest.mark.slow
def test_a_run_answers_every_task_and_seed_and_reports_every_arm_and_baseline(small, tmp_path):
    small = with_options(small, run_dir=str(tmp_path / "run"))
    assert run(small, "python scripts/ttt.py") == 0
    metrics, lines = read_json(tmp_path / "run" / "metrics.json"), journal(tmp_path / "run")
    assert len(lines) == metrics["tasks"] == 4 and metrics["failed"] == 0
    assert all(len(arm["ranked"]) in (11, 12) for line in lines.values() for arm in line["arms"].values())
    found = metrics["measures"]
    assert set(found) == {"in_context", "adapted", "majority_label"}
    assert set(found["adapted"]["tasks"]) == {"boolean_expressions", "hyperbaton"}
    assert all(0 <= arm["valid"] <= 1 and arm["accuracy"]["n"] == 2 for arm in found.values())
    assert found["majority_label"]["accuracy"]["value"] > 0 and found["majority_label"]["valid"] == 1
    report = (tmp_path / "run" / "report.html").read_text()
    assert "majority label" in report and "hyperbaton" in report
    # A run that stopped before the last tasks goes on to the same answers.
    again = tmp_path / "again"
    again.mkdir()
    (again / "config.yaml").write_text((tmp_path / "run" / "config.yaml").read_text())
    first = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()[0]
    (again / "journal.jsonl").write_text(first + "\n")
    assert run(replace(small, run_dir=str(again)), "python scripts/ttt.py") == 0
    for name, line in journal(again).items():
        assert {arm: of["ranked"] for arm, of in line["arms"].items()} == {
            arm: of["ranked"] for arm, of in lines[name]["arms"].items()
        }


@pytest.mark.slow
def test_in_context_answers_are_the_same_beside_the_adapted_arm_and_alone(small, tmp_path):
    found = []
    for arms in (("in_context", "adapted"), ("in_context",)):
        path = tmp_path / str(len(arms))
        assert run(with_options(small, run_dir=str(path), arms=arms), "python scripts/ttt.py") == 0
        found.append({file.name: read_json(file)["in_context"] for file in (path / "candidates").iterdir()})
    both, alone = found
    assert {name: [c["tokens"] for c in of] for name, of in both.items()} == {
        name: [c["tokens"] for c in of] for name, of in alone.items()
    }


@pytest.mark.slow
def test_a_shared_adapter_is_trained_once_a_seed_and_is_the_same_for_its_tasks(small, tmp_path):
    small = with_options(
        small, run_dir=str(tmp_path / "run"), adapt__shared=True, arms=("adapted",), save_adapters=True
    )
    assert run(small, "python scripts/ttt.py") == 0
    files = {file.stem: file.read_bytes() for file in (tmp_path / "run" / "adapters").glob("*.safetensors")}
    assert files["boolean_expressions@42"] == files["hyperbaton@42"] != files["hyperbaton@43"]
    curves = {name: json.loads((tmp_path / "run" / "curves" / f"{name}.json").read_text()) for name in files}
    assert curves["boolean_expressions@42"] == curves["hyperbaton@42"] and len(curves["hyperbaton@42"]["loss"]) == 4


def measured(before: float, after: float, label: float) -> dict:
    def arm(value: float) -> dict:
        own = {"value": value, "stderr": 0.01, "n": 2}
        return {"accuracy": own, "valid": 1.0, "majority_label": 0.5, "tasks": {"snarks": {"accuracy": own}}}

    stages = {"adapt": 4.0, "decode": 2.0, "select": 0.0}
    return {
        "benchmark": "bbh",
        "tasks": 2,
        "per_task": {"snarks@42": {}, "snarks@43": {}},
        "arms": {"in_context": {}, "adapted": {}},
        "seconds_by_arm": {"in_context": stages, "adapted": stages},
        "measures": {"in_context": arm(before), "adapted": arm(after), "majority_label": arm(label)},
    }


def test_runs_stand_in_one_table_with_their_seconds_and_what_the_label_explains(tmp_path, capsys):
    for name, values in {"paper": (0.3, 0.5, 0.4), "long": (0.3, 0.7, 0.4)}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(measured(*values)))
    table = load_script("bbh_table")
    runs = [str(tmp_path / name) for name in ("paper", "long")]
    assert table.main([*runs, "--out", str(tmp_path / "table.json")]) == 0
    found = read_json(tmp_path / "table.json")
    assert list(found["arms"]) == [
        "paper, in_context", "paper, adapted", "long, in_context", "long, adapted", "majority_label"
    ]  # fmt: skip
    assert found["seconds"]["long, adapted"]["adapt"] == 2.0
    assert found["explained"] == pytest.approx({"paper": 0.5, "long": 0.25})
    assert "70.0 ± 1.0" in capsys.readouterr().out
    other = measured(0.1, 0.2, 0.3) | {"per_task": {"snarks@42": {}}}
    (tmp_path / "long" / "metrics.json").write_text(json.dumps(other))
    assert table.main(runs) == 2
    assert "over different tasks or seeds" in capsys.readouterr().err


CONFIGS = sorted((ROOT / "configs" / "bbh").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_configs_name_their_own_command_and_have_batches_of_whole_orders(file):
    assert f"--config configs/bbh/{file.name} " in file.read_text()
    loaded = from_yaml(RunConfig, file)
    assert loaded.tasks.domain == "bbh" and loaded.tasks.demos == 10 and loaded.tasks.seeds == (42, 43, 44, 45, 46)
    assert loaded.tasks.demo_tokens == 4096
    if "adapted" in loaded.arms:
        assert loaded.adapt.lora.dropout == 0.05
    if "adapted" in loaded.arms and file.stem != "long":
        assert loaded.adapt.steps * loaded.adapt.batch_size == 40 * (27 if loaded.adapt.shared else 1)


def test_the_8b_configs_have_the_slots_that_the_compilers_plan_fits():
    """docs/results/memory_8b.json, as scripts/memory_8b.py writes it: adaptation, and decoding beside its state."""
    cases = read_json(ROOT / "docs" / "results" / "memory_8b.json")
    for device in ("gpu", "tpu"):
        loaded = from_yaml(RunConfig, ROOT / "configs" / "bbh" / f"llama8b_{device}.yaml")
        adapt, decode, more = (cases[f"{device}, {name}"] for name in ("adapt", "decode", "adapt, one slot more"))
        assert adapt["slots"]["adapt"] == loaded.adapt.slots == more["slots"]["adapt"] - 1
        assert decode["slots"]["decode"] == loaded.decode.slots
        limit = adapt["memory_gib"] * 2**30
        (trained,) = (program["bytes"] for program in adapt["programs"])
        assert trained["total"] < limit and "does_not_fit" in more
        assert all(program["bytes"]["total"] + trained["state"] < limit for program in decode["programs"])
