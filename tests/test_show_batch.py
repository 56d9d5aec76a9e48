import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ttt_jax.adapt.examples import loss_weights
from ttt_jax.adapt.rendering import render_sequence
from ttt_jax.config import ExamplesConfig
from ttt_jax.tasks.encoding import encode_pairs

GOOD = {
    "train": [{"input": [[1, 2]], "output": [[3]]}, {"input": [[4, 5]], "output": [[6]]}],
    "test": [{"input": [[7, 8]], "output": [[9]]}],
}


@pytest.fixture
def show(capsys, monkeypatch):
    """Runs the script in this process: (status, stdout, stderr)."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "scripts")
    module = importlib.import_module("show_batch")

    def run(*argv: str):
        status = module.main(list(argv))
        out, err = capsys.readouterr()
        return status, out, " ".join(err.split())

    return run


def drawn(width: int = 80, **options) -> list[str]:
    x, y = np.array([[1, 2]], np.int8), np.array([[3], [4]], np.int8)
    encoded = encode_pairs([(x, y), (y, x)])
    weights = loss_weights(encoded.outputs, ExamplesConfig(**options))
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(
            render_sequence(np.pad(encoded.tokens, (0, 2), constant_values=15), np.pad(weights, (0, 2)), width)
        )
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_loss_mask_is_drawn_beside_every_token():
    assert drawn() == [
        "21 tokens, 4 under loss, 2 of padding",
        "input 0    output 0",
        "1 2 ↵      3 ↵",
        "           4 ↵",
        "           ■",
        "",
        "input 1    output 1",
        "3 ↵        1•2•↵•",
        "4 ↵        ■•",
        "",
    ]


def test_input_loss_is_told_apart_from_full_loss():
    lines = drawn(input_loss=0.1)
    assert lines[0] == "21 tokens, 4 under loss, 16 under input_loss, 2 of padding"
    assert "1∘2∘↵∘     3∘↵∘" in lines
    assert "3∘↵∘       1•2•↵•" in lines


def test_in_a_narrow_terminal_outputs_go_below_inputs():
    lines = drawn(width=12)
    assert lines.index("output 1") > lines.index("3 ↵")
    assert all(len(line) <= 12 or "tokens" in line for line in lines[2:])


def test_the_script_shows_the_batch_that_a_run_would_train_on(show, tmp_path):
    (tmp_path / "good.json").write_text(json.dumps(GOOD))
    arguments = ["--tasks.path", str(tmp_path), "--adapt.batch-size", "3", "--adapt.examples.transforms", "order"]
    status, out, _ = show(*arguments, "--step", "5")
    assert status == 0
    assert all(f"task good, step 5, sequence {i} of 3" in out for i in range(3))
    assert "6•↵•" in out or "3•↵•" in out
    assert "9" not in out.split("sequence 0", 1)[1]


def test_the_script_reports_refused_and_too_long_tasks_and_fails(show, tmp_path):
    (tmp_path / "good.json").write_text(json.dumps(GOOD))
    (tmp_path / "bad.json").write_text("{")
    status, out, err = show("--tasks.path", str(tmp_path))
    assert status == 1
    assert "task good" in out
    assert "bad.json: task bad: file: is not JSON" in err
    status, _, err = show("--tasks.path", str(tmp_path / "good.json"), "--adapt.examples.max-tokens", "5")
    assert status == 1
    assert "task good: its shortest training sequence takes 17 tokens" in err
    status, _, err = show("--tasks.path", str(tmp_path / "missing"))
    assert status == 2
    assert "does not exist" in err
