"""Decoding by drafts against decoding all views at once, measured: the same tasks, views and adapters, both ways."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import jax

from ttt_jax.config import HostsConfig, RunConfig, SelectConfig
from ttt_jax.decode.candidate import Candidate
from ttt_jax.decode.speculate import speculates, summed
from ttt_jax.evaluate.records import ADAPTED, Answers
from ttt_jax.evaluate.summary import label
from ttt_jax.pipeline import Solver
from ttt_jax.run import compiled_plan, load
from ttt_jax.runtime import mesh
from ttt_jax.runtime.compile_cache import enable_compile_cache
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.device import describe_device, launch_without_graphs, versions
from ttt_jax.runtime.files import write_json
from ttt_jax.runtime.progress import Progress

PLAIN, DRAFTS = "plain", "drafts"

Decoded = dict[str, dict[str, Answers]]
"""By arm and task id."""


@dataclass(frozen=True)
class SpeculationBenchConfig(RunConfig):
    """Greedy decoding of a run's tasks with `decode.speculate` and without, over the adapters of `load_adapters`."""

    out: str | None = None
    """Where the JSON file goes."""
    rounds: int = 3
    """Each way is timed so often, in turn; what is printed is the median."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise ValueError(f"rounds: {self.rounds}, must be at least 1")
        if ADAPTED in self.arms and not self.load_adapters:
            raise ValueError(
                "load_adapters: name a run directory with adapters (ttt.py --save-adapters true), "
                "or measure --arms in_context alone"
            )
        if self.hosts != HostsConfig():
            raise ValueError("hosts: this measures one process")
        if not speculates(replace(self.decode, speculate=True)):
            raise ValueError(f"decode.views: {self.decode.views} leaves no view to draft for")

    def run_config(self, speculate: bool) -> RunConfig:
        """The ordinary run, decoding this way or the other; selection takes no part."""
        run = RunConfig(**{f.name: getattr(self, f.name) for f in fields(RunConfig)})
        return replace(run, decode=replace(run.decode, speculate=speculate), select=SelectConfig())


def bench_speculation(config: SpeculationBenchConfig) -> dict[str, Any]:
    """Decodes every task both ways, `config.rounds` times in turn.

    Returns:
      the record that `config.out` holds: by arm what drafts did, how many of
      all answers are the same tokens both ways (in float32 all of them, but for
      ties), and the seconds of decoding, compilation left out.

    Raises:
      ValueError: for wrong options or tasks that cannot be read.
    """
    launch_without_graphs()
    with mesh.use(mesh.local_mesh(config.mesh)), CompileLog() as compile_log:
        enable_compile_cache()
        plain = config.run_config(False)
        model, base, domain, loaded = load(plain)
        if not loaded.tasks:
            raise ValueError("tasks: none could be read")
        solvers = {
            name: Solver(model, base, domain, config.run_config(name == DRAFTS), compile_log, Progress(0))
            for name in (PLAIN, DRAFTS)
        }
        plans = {name: compiled_plan(solver, loaded.tasks, ()) for name, solver in solvers.items()}
        rounds: dict[str, list[Decoded]] = {name: [] for name in solvers}
        for _ in range(config.rounds):
            for name, solver in solvers.items():
                rounds[name].append(_decoded(solver, plans[name]))
    by_arm = {arm: {name: [of[arm] for of in runs] for name, runs in rounds.items()} for arm in config.arms}
    record: dict[str, Any] = {
        "benchmark": "speculation", "model": config.model, "tasks": len(rounds[PLAIN][0][config.arms[0]]),
        "source": loaded.benchmark, "views": config.decode.views, "seed": config.seed,
        "slots": {name: sorted({group.slots for group in plan.groups}) for name, plan in plans.items()},
        "dtype": jax.numpy.dtype(solvers[PLAIN].model.dtype).name, "device": describe_device(), "versions": versions(),
        "arms": {arm: compared(of) for arm, of in by_arm.items()},
    }  # fmt: skip
    for arm, of in record["arms"].items():
        print(f"{label(arm)}: {described(of)}", flush=True)
    if config.out:
        write_json(config.out, record, indent=2)
    return record


def _decoded(solver: Solver, plan: Any) -> Decoded:
    found: Decoded = {}
    for group, arms, _ in solver.answers(plan):
        for arm, of_tasks in arms.items():
            found.setdefault(arm, {}).update(zip(group.ids, of_tasks, strict=True))
    return found


def compared(rounds: Mapping[str, Sequence[Mapping[str, Answers]]]) -> dict[str, Any]:
    """One arm's rounds, both ways, each the answers by task id."""
    seconds = {
        name: [sum(answers.seconds["decode"] for answers in of.values()) for of in runs]
        for name, runs in rounds.items()
    }
    plain, drafts = (rounds[name][0] for name in (PLAIN, DRAFTS))
    rows = [pair for id_ in plain for pair in zip(_rows(plain[id_]), _rows(drafts[id_]), strict=True)]
    counts = summed([dict(answers.speculation or {}) for answers in drafts.values()])
    return {
        **{name: round(value) for name, value in counts.items()},
        "acceptance": counts["accepted"] / max(1, counts["offered"]),
        "rows": len(rows),
        "rows_equal": sum(a.tokens == b.tokens for a, b in rows),
        "seconds": seconds,
        "times_faster": statistics.median(seconds[PLAIN]) / max(1e-9, statistics.median(seconds[DRAFTS])),
    }


def _rows(answers: Answers) -> list[Candidate]:
    """The greedy answers of all views, in order."""
    return [c for of_query in answers.candidates for c in of_query if not c.searched]


def described(of: dict[str, Any]) -> str:
    """A line on one arm."""
    plain, drafts = (statistics.median(of["seconds"][name]) for name in (PLAIN, DRAFTS))
    return (
        f"{of['acceptance']:.1%} of {of['offered']} draft tokens accepted, "
        f"{of['whole']} of {of['drafts']} drafts whole; "
        f"{of['rows_equal']} of {of['rows']} answers are the same tokens; "
        f"{of['steps']} decoding steps instead of {of['plain_steps']}, "
        f"{drafts:.2f} s instead of {plain:.2f} s ({of['times_faster']:.2f}x)"
    )
