"""Tasks to adapt to while an initial adapter is trained, each batch a pure function of (seed, step).

A task is some pairs of one rule: the last is its query, the others its demonstrations, written as at test time
(`adapt.examples`). Only numpy here: worker processes import this module and must not start jax.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ttt_jax.adapt.examples import Arrays, ExampleStream
from ttt_jax.tasks.encoding import PAD
from ttt_jax.tasks.rearc import held_out_ids, training_ids
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task, keyed_rng
from ttt_jax.train.data import batch_length, draw_pairs
from ttt_jax.train.initial_config import InitialConfig


@dataclass(frozen=True)
class TaskBatch:
    """T tasks of one length, in the fewest bytes; `initial.expand` makes the model's arrays of them.

    Attributes:
      adapt: tokens, rows, cols uint8[T, steps, batch_size, length] and weights float32: what each is adapted to.
      query: the same [T, queries, length]; the query's answer alone has weight, 1.
      real_tokens: of both, padding not counted.
      seconds: CPU time that making it took.
      failures: pairs thrown away, by reason.
    """

    adapt: Arrays
    query: Arrays
    real_tokens: int
    seconds: float
    failures: Counter[str]

    @property
    def length(self) -> int:
        return self.query["tokens"].shape[-1]

    @property
    def tasks(self) -> int:
        return len(self.query["tokens"])

    def arrays(self) -> dict[str, Any]:
        return {"adapt": self.adapt, "query": self.query}


def make_batch(config: InitialConfig, step: int) -> TaskBatch:
    """The tasks of an outer step: of the training generators and what rules `config.data` makes up."""
    length = batch_length(config.data, config.seed, step)
    return make_tasks(
        config, training_ids(), length, config.tasks(length), config.adapt.steps, ("initial", config.seed, step)
    )


def eval_batch(config: InitialConfig) -> TaskBatch:
    """Fixed tasks of the held-out generators."""
    own = dict(invented=0.0, crossed=0.0, altered=0.0)  # shares: the generators' own rules
    of_generators = replace(config, data=replace(config.data, **own))
    steps = max(1, *config.eval.steps)
    key = ("initial evaluation", config.seed)
    return make_tasks(of_generators, held_out_ids(), config.eval.length, config.eval.tasks, steps, key)


def make_tasks(
    config: InitialConfig, ids: Sequence[str], length: int, tasks: int, steps: int, key: tuple[str | int, ...]
) -> TaskBatch:
    """Tasks of at most `length` tokens, and the sequences that `steps` steps of adaptation take.

    Args:
      config: of the run.
      ids: the generators drawn from.
      length: sequences are padded to this many tokens.
      tasks: how many.
      steps: of adaptation.
      key: names this batch among all others.
    """
    started = time.process_time()
    examples = replace(config.adapt.examples, max_tokens=min(length, config.adapt.examples.max_tokens))
    domain, failures = get_domain("arc"), Counter[str]()
    adapt = _empty((tasks, steps, config.adapt.batch_size, length))
    query = _empty((tasks, config.queries, length))
    real = 0
    for t in range(tasks):
        pairs, _ = draw_pairs(config.data, ids, length, keyed_rng("pairs", *key, t), failures)
        *demos, (question, answer) = pairs
        name = "/".join(map(str, (*key, t)))
        task = Task(name, tuple(demos), (question,), (answer,))
        stream = ExampleStream(task, domain, examples, config.seed)
        for step in range(steps):
            made = stream.batch(step, config.adapt.batch_size, length)
            _copy(made, {name: array[t, step] for name, array in adapt.items()})
            real += int((made["tokens"] != PAD).sum())
        for i in range(config.queries):
            rng = keyed_rng("query", *key, t, i)
            changed = domain.transform(examples.transforms, task, rng).apply(task)
            assert changed.answers is not None
            asked = domain.encode([*changed.demos, (changed.queries[0], changed.answers[0])])
            size = min(len(asked), length)
            query["tokens"][t, i, :size] = asked.tokens[:size]
            query["rows"][t, i, :size], query["cols"][t, i, :size] = asked.positions[:size, 1:].T
            query["weights"][t, i, :size] = (asked.outputs == asked.outputs.max())[:size]
            real += size
    return TaskBatch(adapt, query, real, time.process_time() - started, failures)


def _empty(shape: tuple[int, ...]) -> Arrays:
    whole = {name: np.zeros(shape, np.uint8) for name in ("rows", "cols")}
    return {"tokens": np.full(shape, PAD, np.uint8), **whole, "weights": np.zeros(shape, np.float32)}


def _copy(made: Arrays, out: Arrays) -> None:
    out["tokens"][:], out["weights"][:] = made["tokens"], made["weights"]
    out["rows"][:], out["cols"][:] = made["positions"][..., 1], made["positions"][..., 2]
