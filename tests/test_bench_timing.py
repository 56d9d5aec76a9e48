"""Timings are medians without warm-up; a budget leaves out what does not fit and says so; traces are summed rightly."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from ttt_jax.bench.report import Report, amount, table
from ttt_jax.bench.timing import Budget, Timing, measure
from ttt_jax.bench.trace import kind, summarise


def test_warm_up_is_not_counted_and_every_call_is_waited_for() -> None:
    delays, waited = iter([0.2, 0.01, 0.01, 0.01, 0.01]), []
    timing = measure(lambda: next(delays), lambda d: (time.sleep(d), waited.append(d)), calls=2, rounds=2, warmup=1)
    assert timing.calls == 4
    assert len(waited) == 5
    assert 0.01 <= timing.seconds < 0.1


def test_the_spread_is_between_rounds() -> None:
    timing = Timing(rounds=(1.0, 1.2), calls=10)
    assert timing.seconds == pytest.approx(1.1)
    assert timing.spread == pytest.approx(0.2 / 1.1)
    assert timing.per(10)["rounds"] == pytest.approx([0.1, 0.12])


def test_past_its_deadline_a_measurement_makes_one_call_a_round() -> None:
    timing = measure(lambda: None, lambda _: None, calls=50, rounds=2, deadline=time.monotonic() - 1)
    assert timing.calls == 2


def test_a_budget_leaves_out_what_does_not_fit() -> None:
    budget = Budget(100.0)
    assert budget.allows("short", needs=10)
    assert not budget.allows("long", needs=1000)
    assert [what.split(":")[0] for what in budget.left_out] == ["long"]


def test_a_report_is_whole_after_every_case(tmp_path) -> None:
    report = Report("adapt", {"calls": 1}, str(tmp_path / "new" / "adapt.json"))
    for name in ("a", "b"):
        report.case({"name": name})
        written = json.loads((tmp_path / "new" / "adapt.json").read_text())
        assert written["cases"][-1] == {"name": name}
    budget = Budget(0.0)
    budget.allows("late")
    report.finish(budget)
    assert json.loads((tmp_path / "new" / "adapt.json").read_text())["left_out"][0].startswith("late")


def test_columns_are_aligned() -> None:
    lines = table([("a", "1"), ("bbb", "22")], ("name", "n")).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert amount(3.1e12, "TB/s", 1e12) == "3.1 TB/s"
    assert amount(None) == "-"


@pytest.fixture
def trace_file(tmp_path):
    """Two kernels that overlap, a gap, a third; a line of operations covers the same time again; a host thread."""

    def name(pid, value, tid=None):
        where = {"pid": pid} if tid is None else {"pid": pid, "tid": tid}
        return {"ph": "M", "name": "process_name" if tid is None else "thread_name", **where, "args": {"name": value}}

    def kernel(tid, label, start, took, pid=1):
        return {"ph": "X", "pid": pid, "tid": tid, "name": label, "ts": start, "dur": took}

    events = [
        name(1, "/device:GPU:0"), name(1, "Stream #13(Compute)", 5), name(1, "XLA Ops", 9),
        name(2, "/host:CPU"), name(2, "Stream of thoughts", 1),
        {"ph": "M", "pid": 1, "tid": 5, "name": "thread_sort_index", "args": {"sort_index": 5}},
        kernel(5, "nvjet_hsh_128x256", 100, 50), kernel(5, "loop_add_fusion", 120, 40),
        kernel(5, "nvjet_hsh_128x256", 260, 40),
        kernel(9, "dot.3", 100, 200), kernel(1, "python", 0, 10_000, pid=2),
    ]  # fmt: skip
    path = tmp_path / "x.trace.json.gz"
    with gzip.open(path, "wt") as file:
        json.dump({"traceEvents": events}, file)
    return path


def test_a_trace_counts_device_time_once_and_finds_the_gap(trace_file) -> None:
    summary = summarise(trace_file)
    assert summary is not None
    assert summary.launches == 3
    assert summary.span == pytest.approx(200e-6)
    assert summary.busy == pytest.approx(100e-6)
    assert summary.kinds == pytest.approx({"matmul": 90e-6, "other fusion": 40e-6})
    assert summary.kernels[0] == {"name": "nvjet_hsh_128x256", "seconds": pytest.approx(90e-6), "calls": 2}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop", "attention"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", "matmul"),
        ("gemm_fusion_dot_12", "matmul"),
        ("MemcpyD2D", "copy"),
        ("input_reduce_fusion", "reduction"),
        ("something_else", "other"),
    ],
)
def test_kernels_are_known_by_their_names(name, expected) -> None:
    assert kind(name) == expected
