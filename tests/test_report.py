"""report.html is whole in itself, shows every task, and escapes what it shows; the terminal summary agrees."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from synthetic_run import COMMAND, make_run

from ttt_jax.evaluate.drawing import COLOURS, draw_curve, draw_grid
from ttt_jax.evaluate.report import render_report, write_report
from ttt_jax.evaluate.summary import print_summary
from ttt_jax.tasks.task import Task

VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """Tags in order, text, and whether every tag is closed."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str, class_: str = "") -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and (not class_ or class_ in (a.get("class") or "").split())]


def task(id_: str, queries: int = 1, size: int = 3) -> Task:
    rng = np.random.default_rng(len(id_) + queries)
    grids = [rng.integers(0, 10, (size, size + 1)).astype(np.int8) for _ in range(4 + 2 * queries)]
    return Task(
        id_, ((grids[0], grids[1]), (grids[2], grids[3])), tuple(grids[4 : 4 + queries]), tuple(grids[-queries:])
    )


TASKS = [task("aaa"), task("bbb", queries=2), task("ccc"), dataclasses.replace(task("dddd"), answers=None)]
REASON = "the loss is not finite at step 3 <&>"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "run", TASKS, failed={"ccc": REASON})


@pytest.fixture(scope="module")
def html(run) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_it_is_whole_html_without_scripts_or_anything_from_outside(html):
    page = Page(html)
    assert not page.all("script") and not page.all("link") and not page.all("img") and not page.all("iframe")
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]|url\(|@import|srcset", html)
    links = [a["href"] for a in page.all("a") if "href" in a]
    ids = {a.get("id") for _, a in page.tags}
    assert links and all(link and link.startswith("#") and link[1:] in ids for link in links)


def test_every_task_is_there_with_all_its_grids(html, run):
    page = Page(html)
    assert [a["id"] for a in page.all("details", "task")] == [t.id for t in TASKS]
    shown = 0
    for t in TASKS:
        shown += 2 * len(t.demos) + len(t.queries) + len(t.answers or ())
        for arm in run.records[t.id]["arms"].values():
            shown += sum(min(len(ranked), 5) for ranked in arm["ranked"])
    assert len(page.all("svg", "grid")) == shown


def test_right_answers_are_marked_and_no_others(html, run):
    marked = html.count('<figure class="right')
    right = 0
    for t in TASKS:
        for arm in run.records[t.id]["arms"].values():
            for ranked, truth in zip(arm["ranked"], t.answers or (None,) * len(t.queries), strict=True):
                right += sum(truth is not None and e["answer"] == truth.tolist() for e in ranked[:5])
    assert marked == right > 0


def test_tasks_carry_their_outcome_for_the_filters(html, run):
    classes = {a["id"]: set((a["class"] or "").split()) for a in Page(html).all("details", "task")}
    for id_, ranks in run.metrics["per_task"].items():
        if not ranks:
            assert not classes[id_] & {"solved", "unsolved", "flipped"}
            continue
        first, last = (all(r is not None and r <= 2 for r in ranks[arm]) for arm in ("in_context", "adapted"))
        assert ("solved" in classes[id_]) == last and ("unsolved" in classes[id_]) == (not last)
        assert ("flipped" in classes[id_]) == (first != last)
    assert {id_ for id_, c in classes.items() if "failed" in c} == {"ccc"}


def test_every_filter_has_a_rule_that_hides_the_rest(html):
    filters = [a["id"] or "" for a in Page(html).all("input")]
    assert "show-all" in filters and "show-failed" in filters
    for name in filters:
        assert name == "show-all" or f"#{name}:checked) .task:not(.{name.removeprefix('show-')})" in html


def test_the_numbers_and_the_run_are_named(html):
    text = " ".join("".join(Page(html).text).split())
    for part in ("solved within 2 attempts", "pass@2 partial", "arc-small", COMMAND, "compilations", REASON):
        assert part in text
    assert "Adapted against in-context" in text and "McNemar" in text
    assert "<&>" not in html


def test_metrics_and_page_agree(html, run):
    value = run.metrics["arms"]["adapted"]["pass@2"]["value"]
    assert f"{100 * value:.1f}% <small>" in html


def test_an_unfinished_run_says_so(tmp_path):
    page = render_report(make_run(tmp_path / "run", TASKS[:2], finish=False))
    assert "has not come to its end" in page and 'id="aaa"' in page


def test_text_answers_are_shown_as_escaped_text(run, tmp_path):
    unfinished = make_run(tmp_path / "run", TASKS[:1])
    raw = unfinished.raw_tasks
    raw["aaa"] = {"demos": [["is <b>1</b> odd?", "yes"]], "queries": ["is 2 odd?"], "answers": ["no & never"]}
    (ranked,) = unfinished.records["aaa"]["arms"]["adapted"]["ranked"]
    ranked[:] = [{"answer": "no & never", "votes": 2, "score": 2.0}]
    page = render_report(unfinished)
    assert "is &lt;b&gt;1&lt;/b&gt; odd?" in page and "no &amp; never" in page and "<b>1</b> odd" not in page


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_drawing_shows_every_cell_in_its_colour(data):
    height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    row = st.lists(st.integers(0, 9), min_size=width, max_size=width)
    grid = data.draw(st.lists(row, min_size=height, max_size=height))
    svg = draw_grid(grid)
    drawn = np.full((height, width), -1)
    for colour, path in re.findall(r'<path fill="(#\w+)" d="([^"]*)"', svg):
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path):
            cells = drawn[int(y), int(x) : int(x) + int(length)]
            assert cells.size == int(length) and (cells == -1).all()
            cells[:] = COLOURS.index(colour)
    assert drawn.tolist() == grid


def test_a_curve_keeps_gaps_and_single_points():
    assert draw_curve([]) == draw_curve([None]) == ""
    assert draw_curve([1.0, None, 0.5, 0.25]).count("M") == 3  # the axis, a point, a line
    assert "nan" not in draw_curve([0.0, 0.0])


def test_the_terminal_summary_names_every_task_and_number(run):
    out = io.StringIO()
    print_summary(run.metrics, run.records, Console(file=out, width=160))
    text = out.getvalue()
    assert all(t.id in text for t in TASKS) and REASON in text
    assert "4 tasks, 1 failed" in text and "7 compilations" in text
    for name in ("pass@1", "pass@2", "coverage", "outputs@2"):
        assert name in text
    line = next(line for line in text.splitlines() if "dddd" in line)
    assert "?" in line  # its answers are not known


def test_metrics_json_is_strict_json(run):
    content = (run.path / "metrics.json").read_text()
    json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
