"""Labels of steps by roll-outs (arXiv 2312.08935) beside the exact verifier's: how often chains go on to end right.

A run's chains are cut after every step, a model continues each beginning
several times, and the share of continuations that end right is the step's
label. How far these labels agree with the verifier's, and how well they find
first errors, goes into the run's metrics.json and report.html.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ttt_jax.adapt.plan import bucket
from ttt_jax.config import DecodeConfig
from ttt_jax.decode.candidate import Candidate, JudgedStep, Ranked
from ttt_jax.decode.candidates import decode_candidates
from ttt_jax.decode.views import View, make_views
from ttt_jax.evaluate.reasoning import ALL, chosen
from ttt_jax.evaluate.report import write_report
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.process.metrics import Chain, agreement, processbench
from ttt_jax.process.steps import VALID, Verdict, write_steps
from ttt_jax.runtime.files import write_json
from ttt_jax.tasks.task import Domain, Encoded, Task, keyed_rng

LABELS = "step_labels.json"


@dataclass(frozen=True)
class Written:
    """A chain of a run.

    Attributes:
      task: with its answers.
      group: of the task.
      view: what the model was shown.
      steps: what it wrote, judged.
      right: whether its answer is right.
    """

    task: Task
    group: str
    view: View
    steps: tuple[JudgedStep, ...]
    right: bool

    @property
    def chain(self) -> Chain:
        verdicts = (Verdict(False, reason, detail) if reason else VALID for _, reason, detail in self.steps)
        return Chain(tuple(verdicts), self.right)


def written_chains(run: SavedRun, tasks: Sequence[Task], domain: Domain, arm: str) -> list[Written]:
    """The chains behind an arm's answers, those without steps left out.

    Args:
      run: a run whose tasks asked for steps.
      tasks: loaded again, since a run directory keeps texts and not problems.
      domain: in the tokens of the model.
      arm: of the run.

    Raises:
      ValueError: there are none.
    """
    by_id, found = {task.id: task for task in tasks}, []
    for id_, record in run.records.items():
        own, task = record["arms"].get(arm, {}), by_id.get(id_)
        if task is None or task.answers is None or own.get("fell_back"):
            continue
        candidates = run.candidates(id_).get(arm, [])
        for query, ranked in enumerate(own.get("ranked", [])):
            answers = [Ranked(domain.from_json(r["answer"]), r["votes"], r["score"]) for r in ranked]
            best = chosen([c for c in candidates if c.query == query], answers, domain)
            if best is None or not best.steps:
                continue
            views = make_views(task, query, domain, run.config.decode, run.config.seed)
            view = next((view for view in views if view.transform.name == best.view), None)
            if view is not None:
                right = best.answer is not None and domain.same(best.answer, task.answers[query])
                found.append(Written(task, record.get("group", ALL), view, best.steps, right))
    if not found:
        raise ValueError(f"{run.path}: arm {arm} has no steps; ask for them with steps=true in tasks.source")
    return found


def roll_out(
    model: Any,
    base: Any,
    domain: Any,
    chains: Sequence[Written],
    config: DecodeConfig,
    lengths: Sequence[int],
    seed: int,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[float | None]]:
    """For every step of every chain, how often the model's continuations after it end in the right answer.

    Args:
      model, base: a `Decoder` and its parameters.
      domain: a `TextDomain`, bound.
      chains: whose steps are labelled.
      config: `samples` continuations of each beginning at `temperature`; `slots` beginnings side by side.
      lengths: length buckets; a beginning that none holds has the label None.
      seed: of sampling.
      on_batch: told how many of all beginnings are done.
    """
    config = replace(config, views=1, search_above=None, speculate=False)
    slots = config.slots if isinstance(config.slots, int) else 16
    config = replace(config, slots=slots)
    asked: list[tuple[int, int, View]] = []
    for c, written in enumerate(chains):
        for i in range(1, len(written.steps) + 1):
            text = write_steps([step for step, _, _ in written.steps[:i]])
            asked.append((c, i - 1, _begun(domain, written.view, text, i)))
    asked = [entry for entry in asked if bucket(len(entry[2].prompt), lengths) is not None]
    asked.sort(key=lambda entry: len(entry[2].prompt))
    labels: list[list[float | None]] = [[None] * len(written.steps) for written in chains]
    for start in range(0, len(asked), slots):
        batch = asked[start : start + slots]
        length = bucket(len(batch[-1][2].prompt), lengths)
        assert length is not None
        queries = [(0, [view]) for *_, view in batch]
        found = decode_candidates(model, base, None, queries, domain, config, length, seed)
        for (c, i, _), candidates in zip(batch, found, strict=True):
            labels[c][i] = _share_right(candidates, chains[c], domain)
        on_batch(min(start + slots, len(asked)), len(asked))
    return labels


def _begun(domain: Any, view: View, text: str, steps: int) -> View:
    """The view with the beginning of an answer after its prompt."""
    tokens = np.concatenate([view.prompt.tokens, domain._tokens(text)])
    positions = np.arange(len(tokens), dtype=np.int32)[:, None]
    prompt = Encoded(tokens, positions, np.full(len(tokens), -1, np.int32))
    # The id is part of the random key: every beginning has its own.
    return replace(view, task=replace(view.task, id=f"{view.task.id} after {steps}"), prompt=prompt)


def _share_right(candidates: Sequence[Candidate], written: Written, domain: Domain) -> float:
    assert written.task.answers is not None
    truth = written.task.answers[written.view.query]
    return sum(c.answer is not None and domain.same(c.answer, truth) for c in candidates) / len(candidates)


def compare_labels(chains: Sequence[Written], labels: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Group -> agreement of roll-outs with the verifier, and first errors as ProcessBench counts them.

    A step is wrong to the roll-outs where none of them ends right. Chains with a step that has no label are left out.
    """
    whole = [(w, [x for x in of if x is not None]) for w, of in zip(chains, labels, strict=True) if None not in of]
    groups: dict[str, list[tuple[Written, list[float]]]] = {ALL: whole} if whole else {}
    for written, of in whole:
        groups.setdefault(written.group, []).append((written, of))
    found = {}
    for group, of_group in groups.items():
        own, fractions = [w.chain for w, _ in of_group], [of for _, of in of_group]
        predicted = [next((i for i, x in enumerate(of) if x == 0), -1) for of in fractions]
        first = processbench(predicted, [chain.first_error for chain in own])
        found[group] = {"chains": len(own), "agreement": agreement(own, fractions), "first_error": first}
    return found


def label_run(
    run: SavedRun, domain: Any, model: Any, base: Any, arm: str, config: DecodeConfig, limit: int, seed: int
) -> dict[str, Any]:
    """Labels the steps of a finished run; adds to its metrics.json and report.html, and writes step_labels.json.

    Args:
      run: finished.
      domain: of the run, bound to the tokenizer of the model.
      model, base: continue the chains; they need not be those of the run.
      arm: whose chains are labelled.
      config: see `roll_out`.
      limit: at most so many chains, drawn at random.
      seed: of the draw and of sampling.

    Returns:
      what `compare_labels` says.

    Raises:
      ValueError: the run is not finished, or has no steps.
    """
    if run.metrics is None:
        raise ValueError(f"{run.path}: no metrics.json: the run has not come to its end")
    chains = written_chains(run, domain.load(run.config.tasks).tasks, domain, arm)
    drawn = keyed_rng("label steps", seed).permutation(len(chains))[:limit]
    chains = [chains[i] for i in sorted(drawn.tolist())]

    def on_batch(done: int, total: int) -> None:
        print(f"{done} of {total} beginnings continued {config.samples} times", flush=True)

    labels = roll_out(model, base, domain, chains, config, run.config.lengths, seed, on_batch)
    found = compare_labels(chains, labels)
    kept = [
        {
            "task": w.task.id,
            "query": w.view.query,
            "right": w.right,
            "labels": of,
            "reasons": [r for _, r, _ in w.steps],
        }
        for w, of in zip(chains, labels, strict=True)
    ]
    path = Path(run.path)
    write_json(path / LABELS, {"arm": arm, "rollouts": config.samples, "chains": kept, "compared": found}, indent=2)
    metrics = run.metrics
    process = metrics.setdefault("process", {}).setdefault(arm, {})
    for group, numbers in found.items():
        if group in process:
            process[group]["monte_carlo"] = {"rollouts": config.samples, **numbers}
    write_json(path / "metrics.json", metrics, indent=2)
    write_report(SavedRun(path))
    return found
