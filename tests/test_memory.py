"""An exhausted device: fewer tasks side by side, the same answers, and it says so."""

from __future__ import annotations

import jax
import pytest
from e2e_tools import read_json, small_run, write_model, write_tasks

from ttt_jax import pipeline
from ttt_jax.adapt.adapt import Adapter
from ttt_jax.run import run
from ttt_jax.runtime.memory import Slots

pytestmark = pytest.mark.usefixtures("shared_programs")


def exhausted():
    return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12345 bytes.")


def test_slots_are_halved_until_it_fits_and_stay_so():
    said, tried = [], []
    slots = Slots("adapt.slots", 20, said.append)

    def run_with(count):
        tried.append(count)
        if count > 5:
            raise exhausted()
        return count

    assert slots.attempt(run_with) == 5
    assert slots.attempt(run_with) == 5
    assert tried == [20, 10, 5, 5]
    assert "adapt.slots 10" in said[0] and "adapt.slots 5" in said[1]


@pytest.mark.parametrize(
    ("count", "error"), [(1, exhausted()), (8, jax.errors.JaxRuntimeError("INTERNAL: no")), (8, ValueError("no"))]
)
def test_other_errors_and_a_device_too_small_for_one_are_raised(count, error):
    slots, tries = Slots("decode.slots", count, print), []

    def run_with(count):
        tries.append(count)
        raise error

    with pytest.raises(type(error)):
        slots.attempt(run_with)
    assert tries == [count]


def test_a_run_on_an_exhausted_device_gives_what_fewer_slots_give(tmp_path, monkeypatch, capsys):
    model = write_model(tmp_path / "model")
    tasks = write_tasks(tmp_path / "tasks", [f"task{i}" for i in range(4)])
    one_arm = {"arms": ("adapted",)}
    assert run(small_run(tmp_path / "few", model, tasks, **one_arm), "few") == 0
    send, decode = Adapter._send, pipeline.decode_candidates

    def send_small(self, state, batches, running, length):
        if len(running) > 2:
            raise exhausted()
        return send(self, state, batches, running, length)

    def decode_small(*args, **options):
        if args[5].slots > 2:
            raise exhausted()
        return decode(*args, **options)

    monkeypatch.setattr(Adapter, "_send", send_small)
    monkeypatch.setattr(pipeline, "decode_candidates", decode_small)
    crowded = small_run(tmp_path / "exhausted", model, tasks, adapt__slots=4, decode__slots=4, **one_arm)
    assert run(crowded, "exhausted") == 0
    assert "going on with adapt.slots 2" in capsys.readouterr().out
    few, many = (tmp_path / name / "candidates" for name in ("few", "exhausted"))
    names = sorted(file.name for file in few.iterdir())
    assert len(names) >= 4 and names == sorted(file.name for file in many.iterdir())
    for name in names:
        a, b = read_json(few / name), read_json(many / name)
        assert [c["tokens"] for c in a["adapted"]] == [c["tokens"] for c in b["adapted"]]
