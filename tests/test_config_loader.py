"""Configs: defaults, then the file, then the flags; nothing unknown or ill-typed gets through."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.config import DecodeConfig, RunConfig
from ttt_jax.config_loader import diff, from_dict, from_yaml, load_config, to_yaml
from ttt_jax.config_values import ConfigError, options


@dataclass(frozen=True)
class Inner:
    """The inner options."""

    rate: float = 0.5
    """Fraction kept, in %."""
    name: str | None = None
    kind: Literal["slow", "fast"] = "slow"
    on: bool = False


@dataclass(frozen=True)
class Middle:
    inner: Inner = field(default_factory=lambda: Inner(rate=0.25))
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 0.5)
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Outer:
    """A program."""

    run_dir: str = "runs/x"
    count: int = 3
    words: tuple[str, ...] = ()
    limit: int | None = None
    optional: Inner | None = None
    middle: Middle = field(default_factory=lambda: Middle(inner=Inner(rate=0.125)))

    def __post_init__(self):
        if self.count < 0:
            raise ValueError("count: must not be negative")


# Strings that YAML would take for something else when they are not quoted.
TRAPS = ["", "null", "None", "~", "true", "no", "1e-3", "00576224", "12:30", "0x1f", ".inf", "- a", "a: b", "#x", " x "]
TEXT = st.one_of(st.sampled_from(TRAPS), st.text(st.characters(exclude_categories=["C"]), max_size=12))
FLOATS = st.floats(allow_nan=False)
INNER = st.builds(Inner, rate=FLOATS, name=st.none() | TEXT, kind=st.sampled_from(["slow", "fast"]), on=st.booleans())
MIDDLE = st.builds(
    Middle,
    inner=INNER,
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
    pair=st.tuples(st.integers(), FLOATS),
    spans=st.lists(st.tuples(st.integers(), st.integers()), max_size=2).map(tuple),
)
OUTER = st.builds(
    Outer,
    run_dir=TEXT,
    count=st.integers(0, 10**20),
    words=st.lists(TEXT, max_size=3).map(tuple),
    limit=st.none() | st.integers(),
    optional=st.none() | INNER,
    middle=MIDDLE,
)


def load(*argv: str, cls: type = Outer) -> Any:
    return load_config(cls, list(argv), prog="program")


def refusal(capsys: pytest.CaptureFixture[str], *argv: str, cls: type = Outer) -> str:
    with pytest.raises(SystemExit) as left:
        load(*argv, cls=cls)
    assert left.value.code == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err and captured.out == ""
    return captured.err


def write(folder: Path, text: str) -> str:
    path = folder / "options.yaml"
    path.write_text(text)
    return str(path)


@given(config=OUTER)
@settings(max_examples=150, deadline=None)
def test_a_config_written_as_yaml_reads_back_equal(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert from_yaml(Outer, path) == config
    assert from_dict(Outer, dataclasses.asdict(config)) == config


@given(a=OUTER, b=OUTER)
@settings(max_examples=60, deadline=None)
def test_diff_is_empty_exactly_for_equal_configs(a, b):
    assert diff(a, a) == []
    assert bool(diff(a, b)) == (a != b)


@given(steps=st.integers(1), rate=FLOATS, shared=st.booleans(), limit=st.none() | st.integers(1), seed=st.integers())
@settings(max_examples=60, deadline=None)
def test_flags_mean_what_their_values_say(steps, rate, shared, limit, seed):
    argv = [f"--adapt.steps={steps}", f"--adapt.optimizer.learning-rate={rate}", f"--adapt.shared={shared}"]
    config = load(*argv, f"--tasks.limit={limit}", f"--seed={seed}", cls=RunConfig)
    adapt = dataclasses.replace(
        RunConfig().adapt,
        steps=steps,
        shared=shared,
        optimizer=dataclasses.replace(RunConfig().adapt.optimizer, learning_rate=rate),
    )
    assert config == dataclasses.replace(
        RunConfig(), adapt=adapt, seed=seed, tasks=dataclasses.replace(RunConfig().tasks, limit=limit)
    )


def test_no_arguments_give_the_defaults():
    assert load(cls=RunConfig) == RunConfig()


def test_flags_override_the_file_which_overrides_the_defaults(tmp_path):
    file = write(tmp_path, "count: 7\nmiddle:\n  sizes: [4, 5]\n  inner: {kind: fast}\n")
    config = load("--config", file, "--count", "9", "--middle.inner.on", "true")
    assert (config.count, config.middle.sizes, config.middle.inner.kind) == (9, (4, 5), "fast")
    assert config.middle.inner.on is True


def test_a_field_keeps_the_nested_defaults_of_its_own_field(tmp_path):
    assert load("--middle.inner.kind", "fast").middle.inner == Inner(rate=0.125, kind="fast")
    assert load("--config", write(tmp_path, "middle: {inner: {on: true}}")).middle.inner.rate == 0.125


def test_hyphens_and_underscores_are_one_spelling_and_values_keep_theirs():
    assert load("--run-dir", "a_b-c") == load("--run_dir", "a_b-c") == load("--run_dir=a_b-c")
    assert load("--run_dir", "a_b-c").run_dir == "a_b-c"


@pytest.mark.parametrize(("text", "value"), [("False", False), ("false", False), ("True", True), ("true", True)])
def test_a_boolean_flag_means_its_word(text, value):
    assert load("--middle.inner.on", text).middle.inner.on is value


def test_a_boolean_flag_alone_is_true():
    assert load("--middle.inner.on", "--count", "4").middle.inner.on is True


def test_tuples_take_several_words_or_none():
    assert load("--words", "a", "b", "--count", "1").words == ("a", "b")
    assert load("--words").words == ()
    assert load("--middle.pair", "3", "4").middle.pair == (3, 4.0)
    assert load("--middle.spans", "[1, 2]", "[3, 4]").middle.spans == ((1, 2), (3, 4))


def test_an_optional_group_is_switched_on_by_any_of_its_options(tmp_path):
    assert load().optional is None
    assert load("--optional.kind", "fast").optional == Inner(kind="fast")
    assert load("--config", write(tmp_path, "optional: null")).optional is None
    assert load("--config", write(tmp_path, "optional: {}")).optional == Inner()


def test_task_ids_of_digits_stay_text(tmp_path):
    file = write(tmp_path, "words: [00576224, 1e097544, 12345678]")
    assert load("--config", file).words == ("00576224", "1e097544", "12345678")


def test_an_exponent_without_a_point_is_a_number(tmp_path):
    assert load("--config", write(tmp_path, "middle: {inner: {rate: 1e-3}}")).middle.inner.rate == 1e-3


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--cuont", "3"], "--count"),
        (["--inner.rate", "3"], "--middle.inner.rate"),
        (["--kind", "fast"], "kind"),
        (["--count", "many"], "an integer"),
        (["--count", "3.5"], "an integer"),
        (["--count", "true"], "an integer"),
        (["--middle.inner.on", "maybe"], "true or false"),
        (["--middle.inner.on", "1"], "true or false"),
        (["--middle.inner.kind", "fats"], "did you mean fast?"),
        (["--middle.inner.rate", "half"], "a number"),
        (["--middle.pair", "1"], "2 values"),
        (["--middle.spans", "[1, 2"], "--middle.spans"),
        (["--limit", "ten"], "an integer or null"),
        (["--run-dir", ""], "text"),
        (["--count"], "--count"),
        (["--count", "-3"], "must not be negative"),
        (["stray"], "stray"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(argv, told, capsys):
    assert told in refusal(capsys, *argv)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cuont: 3", "unknown option cuont; did you mean count?"),
        ("middle: {iner: {}}", "unknown option middle.iner; did you mean middle.inner?"),
        ("middle: {inner: {count: 3}}", "unknown option middle.inner.count; did you mean count?"),
        ("sizes: 3", "did you mean middle.sizes?"),
        ("middle: {inner: {rate: fast}}", "middle.inner.rate: expected a number, found 'fast'"),
        ("middle: {sizes: [1, x]}", "middle.sizes[1]: expected an integer"),
        ("middle: {sizes: 3}", "middle.sizes: expected a list"),
        ("middle: 3", "middle: expected options"),
        ('count: "3"', "count: expected an integer"),
        ("count: null", "count: expected an integer"),
        ("count: [3]", "count: expected an integer"),
        ("run_dir:", "run_dir: expected text"),
        ("run_dir: {a: b}", "run_dir: expected text"),
        ("count: 3\ncount: 4", "count: given twice"),
        ("count: [3", "not YAML"),
        ("- count", "expected options"),
        ("count: -1", "must not be negative"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(text, told, tmp_path, capsys):
    file = write(tmp_path, text)
    message = refusal(capsys, "--config", file)
    assert told in message and file in message


def test_a_missing_or_unreadable_file_is_refused(tmp_path, capsys):
    assert "no such file" in refusal(capsys, "--config", str(tmp_path / "none.yaml"))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert str(binary) in refusal(capsys, "--config", str(binary))
    assert str(tmp_path) in refusal(capsys, "--config", str(tmp_path))


def test_an_empty_file_states_nothing(tmp_path):
    assert load("--config", write(tmp_path, "# nothing\n")) == Outer()
    assert load("--config", write(tmp_path, "middle:\n  # all commented out\n")) == Outer()


def test_a_required_option_must_be_given(capsys):
    @dataclass(frozen=True)
    class Needs:
        path: str

    # Annotations of a class in a function resolve through its module.
    assert "path: required" in refusal(capsys, cls=Needs)
    assert load("--path", "x", cls=Needs).path == "x"


def test_plain_values_must_already_be_of_the_type():
    with pytest.raises(ConfigError, match="count: expected an integer, found '3'"):
        from_dict(Outer, {"count": "3"})
    with pytest.raises(ConfigError, match="count: expected an integer, found True"):
        from_dict(Outer, {"count": True})
    assert from_dict(Outer, {"middle": {"inner": {"rate": 1}}}).middle.inner.rate == 1.0


def test_help_lists_every_option_with_its_default_and_doc(capsys):
    with pytest.raises(SystemExit) as left:
        load("--help")
    assert left.value.code == 0
    text = capsys.readouterr().out
    for option in options(Outer):
        assert "--" + option.key.replace("_", "-") in text
    assert "Fraction kept, in %. (default: 0.125)" in text
    assert "The inner options." in text


def test_diff_names_dotted_keys_and_leaves_out_the_ignored():
    a, b = load(), load("--count", "4", "--middle.inner.rate", "1", "--run-dir", "y")
    assert diff(a, b, ignore=("run_dir",)) == ["count: 3 != 4", "middle.inner.rate: 0.125 != 1.0"]


def test_several_samples_of_a_view_need_a_temperature():
    with pytest.raises(ValueError, match="samples: 4"):
        DecodeConfig(samples=4)
    assert DecodeConfig(samples=4, temperature=0.7).samples == 4
