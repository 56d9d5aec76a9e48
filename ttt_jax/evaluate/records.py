"""What is kept of a finished task: its journal line and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ttt_jax.decode.candidate import Candidate, Ranked, Scores
from ttt_jax.evaluate.reasoning import about_problems, chosen_steps
from ttt_jax.tasks.task import Domain, Task

IN_CONTEXT, ADAPTED = "in_context", "adapted"


@dataclass(frozen=True)
class Answers:
    """One arm's answers to the queries of one task.

    Attributes:
      candidates, ranked: one list per query.
      scores: one per query; None where selection needs none.
      seconds: this task's share of the group's: adapt, decode, select.
      tokens: adapt, decode and prompt.
      speculation: what drafts did (`Speculated.counts`); None where there were none to be made.
    """

    candidates: Sequence[Sequence[Candidate]]
    ranked: Sequence[Sequence[Ranked]]
    scores: Sequence[Scores | None]
    seconds: Mapping[str, float]
    tokens: Mapping[str, int]
    speculation: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Training:
    """How the adaptation of one task went.

    Attributes:
      steps: updates made.
      failed: the reason, None where it went well.
      curves: step, loss, grad_norm, learning_rate.
      save: writes the adapted variables to a file; None where there are none.
      status: of the task, where it failed.
    """

    steps: int
    failed: str | None
    curves: Mapping[str, Sequence[float]]
    save: Callable[[Any], None] | None
    status: str = "failed"

    @classmethod
    def too_long(cls, reason: str) -> Training:
        """No training sequence of the task fits: it was not adapted."""
        return cls(0, reason, {"step": [], "loss": [], "grad_norm": [], "learning_rate": []}, None, "too_long")


def task_files(task: Task, arms: Mapping[str, Answers], training: Training | None, domain: Domain) -> dict[str, Any]:
    """The arguments of `RunDir.save`; a failed adaptation falls back to the in-context answers."""
    reason = training.failed if training else None
    of_arms = {arm: _arm(answers, domain) for arm, answers in arms.items()}
    if reason is not None:
        fallback = of_arms[IN_CONTEXT]["ranked"] if IN_CONTEXT in of_arms else [[] for _ in task.queries]
        own = of_arms.get(ADAPTED, {"seconds": {}, "tokens": {}})
        of_arms[ADAPTED] = own | {"ranked": fallback, "fell_back": True}
    candidates: dict[str, Any] = {
        arm: [_candidate(c, domain) for of_query in answers.candidates for c in of_query]
        for arm, answers in arms.items()
    }
    scores = {arm: answers.scores for arm, answers in arms.items() if None not in answers.scores}
    if scores:
        candidates["scores"] = scores
    losses = training.curves["loss"] if training else ()
    return {
        "record": {
            "task": task.id,
            "status": "done" if training is None or reason is None else training.status,
            "reason": reason,
            "arms": of_arms,
            "steps": training.steps if training else 0,
            "final_loss": losses[-1] if losses else None,
            **({"dropped_demos": task.dropped_demos} if task.dropped_demos else {}),
            **about_problems(task, domain),
        },
        "candidates": candidates,
        "curves": training.curves if training else None,
        "adapter": training.save if training else None,
    }


def _arm(answers: Answers, domain: Domain) -> dict[str, Any]:
    steps = [chosen_steps(c, r, domain) for c, r in zip(answers.candidates, answers.ranked, strict=True)]
    return {
        "ranked": [[_ranked(r, domain) for r in of_query] for of_query in answers.ranked],
        "seconds": dict(answers.seconds),
        "tokens": dict(answers.tokens),
        "fell_back": False,
        **({"speculation": dict(answers.speculation)} if answers.speculation else {}),
        **({"steps": steps} if any(of_query is not None for of_query in steps) else {}),
    }


def _ranked(ranked: Ranked, domain: Domain) -> dict[str, Any]:
    return {"answer": domain.to_json(ranked.answer), "votes": ranked.votes, "score": ranked.score}


def _candidate(candidate: Candidate, domain: Domain) -> dict[str, Any]:
    answer = None if candidate.answer is None else domain.to_json(candidate.answer)
    return {**asdict(candidate), "answer": answer}
