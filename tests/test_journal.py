"""The journal: a line that was reported as written stays, however the process ends."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.runtime.files import dumps, plain, replacing
from ttt_jax.runtime.journal import Journal, JournalError, read_journal

WRITER = """
import sys
from ttt_jax.runtime.journal import Journal
journal = Journal(sys.argv[1])
for i in range(len(journal.records), 100000):
    journal.append({"task": f"t{i}", "padding": "x" * 3000})
    print(i, flush=True)
"""


def record(task: str, **rest):
    return {"task": task, "status": "done", **rest}


def test_records_come_back_in_order(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for task in ("b", "a", "ünïcode"):
        journal.append(record(task, x=np.float32(0.5), grid=np.ones((2, 2), np.int8)))
    journal.close()
    assert list(read_journal(path)) == list(Journal(path).records) == ["b", "a", "ünïcode"]
    assert read_journal(path)["a"] == record("a", x=0.5, grid=[[1, 1], [1, 1]])


def test_this_process_and_the_next_see_equal_records(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(record("a", loss=math.nan, pair=(1, 2), rows={1: np.int64(3)}))
    assert journal.records == read_journal(tmp_path / "journal.jsonl")
    assert journal.records["a"] == record("a", loss=None, pair=[1, 2], rows={"1": 3})


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_journal_cut_at_any_byte_keeps_every_whole_line_and_goes_on(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    tasks = data.draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5, unique=True))
    lines = [(json.dumps(record(t), ensure_ascii=False) + "\n").encode(errors="surrogatepass") for t in tasks]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = [t for i, t in enumerate(tasks) if sum(map(len, lines[: i + 1])) <= cut]

    before = path.read_bytes()
    assert list(read_journal(path)) == kept
    assert path.read_bytes() == before, "reading changed the journal"

    journal = Journal(path)
    assert list(journal.records) == kept
    assert journal.torn_bytes == cut - sum(map(len, lines[: len(kept)]))
    journal.append(record("and one more task"))
    journal.close()
    assert list(read_journal(path)) == [*kept, "and one more task"]


def test_a_last_line_of_garbage_is_cut_off_like_a_torn_one(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"task": "a"}\n' + bytes(40) + b"\n")
    journal = Journal(path)
    assert list(journal.records) == ["a"] and path.read_bytes() == b'{"task": "a"}\n'


@pytest.mark.parametrize("line", [b"garbage", b'"text"', b'{"status": "done"}', b"[1]", b'{"task": "b"'])
def test_garbage_in_the_middle_is_an_error_with_its_line(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    content = b'{"task": "a"}\n' + line + b'\n{"task": "c"}\n'
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"journal\.jsonl:2: "):
        Journal(path)
    assert path.read_bytes() == content


def test_a_task_is_recorded_once(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(record("a"))
    with pytest.raises(ValueError, match="task a has a record already"):
        journal.append(record("a"))
    with pytest.raises(ValueError, match="task"):
        journal.append({"status": "done"})
    assert list(read_journal(journal.path)) == ["a"]


def test_killed_in_the_middle_of_writing_nothing_reported_is_lost(tmp_path):
    path = tmp_path / "journal.jsonl"
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        reported = [int(writer.stdout.readline())]
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        reported += [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        records = read_journal(path)
        assert {f"t{i}" for i in reported} <= records.keys()
        assert list(records) == [f"t{i}" for i in range(len(records))], "a record is missing or out of order"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "metrics.json"
    with replacing(path) as unfinished:
        unfinished.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as unfinished:
        unfinished.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [f.name for f in Path(path.parent).iterdir()] == ["metrics.json"]


def test_json_is_strict():
    values = {"a": np.float64("nan"), "b": [math.inf, np.array([1.0, -math.inf])], "c": np.bool_(True)}
    assert plain(values) == {"a": None, "b": [None, [1.0, None]], "c": True}
    json.loads(dumps(values), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
