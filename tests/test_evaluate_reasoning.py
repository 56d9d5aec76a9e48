"""The whole way of reasoning problems with a tiny model: fine-tuned, asked three ways, climbing, stopped, going on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from text_tools import tiny_text_model

from ttt_jax.climb import ClimbConfig
from ttt_jax.config import AdaptConfig, DecodeConfig, ExamplesConfig, LoraConfig, OptimizerConfig, TasksConfig
from ttt_jax.config_loader import from_yaml
from ttt_jax.evaluation import EvaluateConfig, evaluate
from ttt_jax.tasks.growing import open_ladder
from ttt_jax.tasks.reasoning import PARTS as DOMAINS
from ttt_jax.tasks.registry import get_domain
from ttt_jax.train.config import EvalConfig, TracesConfig, TrainConfig
from ttt_jax.train.sft import train

SOURCE = (
    "graphs/test?questions=degree&nodes=7&demos=2&each=2&steps=true "
    "novel:graphs/test?questions=neighbours&nodes=7&demos=2&convention=latent&each=2&steps=true"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_text_model(tmp_path_factory.mktemp("start"))


def fine_tuned(model: Path, folder: Path) -> Path:
    """The model after two steps on oracle traces."""
    traces = TracesConfig(
        sources=("graphs/train?questions=degree&nodes=5&steps=true",),
        lengths=(512,),
        length_probabilities=(1.0,),
        tokens_per_batch=1024,
    )
    train(
        TrainConfig(
            run_dir=str(folder), steps=2, init_from=str(model), model=None, traces=traces, eval=EvalConfig(every=0)
        )
    )
    return folder / "model"


@pytest.fixture(scope="module")
def config(model) -> EvaluateConfig:
    return EvaluateConfig(
        model=str(model),
        lengths=(1536,),
        tasks=TasksConfig(domain="reasoning", source=SOURCE),
        adapt=AdaptConfig(
            steps=2, chunk=2, batch_size=1, slots=4, lora=LoraConfig(rank=2),
            optimizer=OptimizerConfig(learning_rate=1e-3), examples=ExamplesConfig(transforms=("nodes", "order")),
        ),
        decode=DecodeConfig(views=1, transforms=("nodes",), slots=4, chunk=16, max_new_tokens=16),
    )  # fmt: skip


def read(file: Path):
    return json.loads(file.read_text())


@pytest.mark.slow
def test_three_conditions_are_answered_compared_and_reported_and_a_second_call_changes_nothing(config, tmp_path):
    config = replace(config, run_dir=str(tmp_path), model=str(fine_tuned(Path(config.model), tmp_path / "sft")))
    assert evaluate(config, "python scripts/evaluate.py") == 0
    found = read(tmp_path / "evaluation.json")
    assert found["groups"].keys() == {"graphs", "novel"}
    for of in found["groups"].values():
        assert of["tasks"] == 2
        assert list(of["conditions"]) == ["zero_shot", "in_context", "adapted"]
        assert all(n["accuracy"]["n"] == n["length"]["n"] == 2 for n in of["conditions"].values())
        assert of["differences"].keys() == {"adapted - zero_shot", "adapted - in_context"}
        assert of["conditions"]["adapted"]["seconds"] > 0
    assert found["process"]["adapted"].keys() == {"all", "graphs", "novel"}
    assert found["difficulty"]["zero_shot"]["novel"]["nodes"]["bins"][0]["n"] == 2
    journal = (tmp_path / "few_shot" / "journal.jsonl").read_text()
    assert all("steps" in json.loads(line)["arms"]["adapted"] for line in journal.splitlines())
    report = (tmp_path / "few_shot" / "report.html").read_text()
    assert "The steps behind the answers" in report and "first-error accuracy" in report
    assert evaluate(config, "python scripts/evaluate.py") == 0
    assert read(tmp_path / "evaluation.json")["groups"] == found["groups"]
    assert (tmp_path / "few_shot" / "journal.jsonl").read_text() == journal


def test_a_climb_cut_short_ends_where_one_without_a_stop_does(config, tmp_path, capsys):
    ladders = ("graphs/test?questions=degree&nodes=5,8&demos=1&steps=true",)
    options = ClimbConfig(ladders=ladders, rounds=2, count=2)
    config = replace(config, run_dir=str(tmp_path / "a"), arms=("in_context",), climb=options)
    assert evaluate(config, "python scripts/evaluate.py") == 0
    levels = read(tmp_path / "a" / "levels.json")["arms"]
    report = levels["in_context"][ladders[0]]
    assert report["n"] == 4 and report["levels"] == ["5", "8"] and sum(of["n"] for of in report["curve"].values()) == 4
    journal = tmp_path / "a" / "in_context" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 4 and "level at 50%" in capsys.readouterr().out
    journal.write_text("".join(lines[:3]))
    assert evaluate(config, "python scripts/evaluate.py") == 0
    assert read(tmp_path / "a" / "levels.json")["arms"] == levels
    assert sorted(json.loads(line)["task"] for line in journal.read_text().splitlines()) == sorted(
        json.loads(line)["task"] for line in lines
    )
    # The directory belongs to this climb.
    other = replace(config, climb=replace(options, count=3))
    assert evaluate(other, "python scripts/evaluate.py") == 2
    assert "count 2" in capsys.readouterr().err


def test_ladders_are_sources_whose_levels_may_be_chosen():
    ladder = open_ladder("zebra/test?sizes=3x2,2x2&demos=2&steps=true")
    assert ladder.levels == ("2x2", "3x2")
    task = ladder.make("3x2", 5)
    assert len(task.demos) == 2 and task.queries[0].steps and task.queries[0].problem.size == (3, 2)
    assert len(open_ladder("diagnosis/test?mode=choice").levels) > 3
    for bad, match in (("graphs/test", "one question"), ("arc/test", "has no levels"), ("zebra/tests", "no split")):
        with pytest.raises(ValueError, match=match):
            open_ladder(bad)
    for wrong, match in ((dict(rounds=0), "rounds"), (dict(target=1.0), "target"), (dict(ladders=("a", "a")), "twice")):
        with pytest.raises(ValueError, match=match):
            ClimbConfig(**wrong)


@pytest.mark.parametrize("name", ["evaluate", "climb", "sft"])
def test_the_configs_are_read_and_name_real_sources(name):
    file = Path(__file__).resolve().parent.parent / "configs" / "reasoning" / f"{name}.yaml"
    if name == "sft":
        traces = from_yaml(TrainConfig, file).traces
        assert traces is not None
        sources = (*traces.sources, *traces.held_out)
    else:
        config = from_yaml(EvaluateConfig, file)
        sources = config.climb.ladders if name == "climb" else config.tasks.source.split()
        assert sources and set(config.adapt.examples.transforms) <= {k for d in DOMAINS for k in get_domain(d).kinds}
    for source in sources:
        source = source.rpartition(":")[2]
        assert get_domain(source.partition("/")[0]).parse_options(source).steps
