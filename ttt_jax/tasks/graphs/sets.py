"""Generated graph tasks, the same from a seed whatever else is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ttt_jax.tasks.graphs.answers import truth
from ttt_jax.tasks.graphs.convention import convention_splits, twisted
from ttt_jax.tasks.graphs.families import FAMILIES, MAX_NODES, MIN_NODES, draw_graph, family_splits, size_splits
from ttt_jax.tasks.graphs.graph import Graph
from ttt_jax.tasks.graphs.questions import HELD_OUT, IN_DOMAIN, QUESTIONS, GraphProblem, pageranks
from ttt_jax.tasks.problem_text import ProblemText
from ttt_jax.tasks.task import Task, keyed_rng

_TRIES = 100
_CLEAR_RANK = 1e-4


@dataclass(frozen=True)
class GraphOptions:
    """What `tasks.source` may say: `graphs/test?questions=bfs,cycle&nodes=8,12&demos=4`."""

    split: str
    questions: tuple[str, ...] = ()
    """Names; empty: `in_domain` in training, `all` otherwise. Training takes no held-out ones."""
    nodes: tuple[str, ...] = ()
    """Numbers of nodes; empty: the split's own. Training takes no others."""
    families: tuple[str, ...] = ()
    """Empty: the split's own. Training takes no others."""
    each: int = 10
    """Tasks of every question."""
    demos: int = 0
    queries: int = 1
    seed: int = 0
    convention: str = "none"
    """`latent`: each task has a notation of its own, which only its demos reveal."""
    steps: bool = False
    """Answers are asked for, and demos shown, with the steps that lead to them."""
    chat: bool = False
    """Problems are the user's turns and answers the assistant's, under the model's chat template."""

    def __post_init__(self):
        train = self.split == "train"
        groups = {"all": tuple(QUESTIONS), "in_domain": IN_DOMAIN, "held_out": HELD_OUT}
        asked = self.questions or (("in_domain",) if train else ("all",))
        names = tuple(dict.fromkeys(name for part in asked for name in groups.get(part, (part,))))
        own_sizes, own_families = size_splits()[self.split], family_splits()[self.split]
        nodes = self.nodes or tuple(map(str, own_sizes))
        families = tuple(FAMILIES) if self.families == ("all",) else self.families or own_families
        _check("questions", names, QUESTIONS, IN_DOMAIN if train else QUESTIONS)
        every = tuple(map(str, range(MIN_NODES, MAX_NODES + 1)))
        _check("nodes", nodes, every, tuple(map(str, own_sizes)) if train else every)
        _check("families", families, FAMILIES, own_families if train else FAMILIES)
        for name, value in (("questions", names), ("nodes", nodes), ("families", families)):
            object.__setattr__(self, name, value)
        if self.convention not in ("none", "latent"):
            raise ValueError(f"tasks.source: convention={self.convention}, there are none and latent")
        if self.convention == "latent" and self.demos == 0:
            raise ValueError("tasks.source: convention=latent needs demos, nothing else reveals what the words mean")
        if self.each < 1 or self.queries < 1 or self.demos < 0:
            raise ValueError("tasks.source: each and queries count from 1, demos from 0")


def _check(option: str, values, known, allowed) -> None:
    for value in values:
        if value not in known:
            raise ValueError(f"tasks.source: {option}={value}, there are {', '.join(known)}")
        if value not in allowed:
            raise ValueError(f"tasks.source: {option}={value} is held out of training, which has {', '.join(allowed)}")


def make_tasks(options: GraphOptions) -> list[Task]:
    """`each` tasks of every question."""
    return [make_task(options, name, i) for name in options.questions for i in range(options.each)]


def draw_task(options: GraphOptions, index: int) -> Task:
    """Task `index` of endlessly many, question by question in turn."""
    return make_task(options, options.questions[index % len(options.questions)], index // len(options.questions))


def make_task(options: GraphOptions, question: str, index: int) -> Task:
    """One task: problems of one question, size, family and convention."""
    shape = f"{options.demos}+{options.queries}-{options.convention}"
    rng = keyed_rng("graph task", options.split, question, ",".join(options.nodes), ",".join(options.families), shape,
                    options.seed, index)  # fmt: skip
    nodes, family = int(rng.choice(options.nodes)), str(rng.choice(options.families))
    convention = str(rng.choice(convention_splits()[options.split])) if options.convention == "latent" else ""
    directed = QUESTIONS[question].directed
    directed = bool(rng.integers(2)) if directed is None else directed
    problems: list[GraphProblem] = []
    for _ in range(_TRIES):
        problem = draw_problem(question, family, nodes, rng, directed=directed, convention=convention)
        if str(problem) not in map(str, problems):
            problems.append(problem)
        if len(problems) == options.demos + options.queries:
            break
    else:
        raise ValueError(f"graphs: {_TRIES} draws gave no {options.demos + options.queries} distinct {question} tasks")
    pairs = [(ProblemText(p, options.steps, options.chat), truth(p)) for p in problems]
    queries, answers = zip(*pairs[options.demos :], strict=True)
    id_ = f"graphs-{options.split}-{question}-{nodes}-{family}-{shape}-{options.seed}-{index}"
    return Task(id_, tuple(pairs[: options.demos]), queries, answers)


def draw_problem(
    question: str, family: str, nodes: int, rng: np.random.Generator, *, directed: bool = False, convention: str = ""
) -> GraphProblem:
    """One problem. Questions of yes and no are as often the one as the other; others have few trivial answers."""
    asked, problem = QUESTIONS[question], None
    for _ in range(_TRIES):
        graph = draw_graph(family, nodes, rng, directed=directed, weighted=asked.weighted)
        args = tuple(rng.choice(nodes, asked.args, replace=False).tolist())
        wanted = bool(rng.integers(2))
        if question == "connectivity" and not wanted:
            graph = _cut(graph, args[0], args[1], rng)
        if question == "cycle" and not wanted:
            graph = _without_cycles(graph, rng)
        problem = GraphProblem(question, graph, args, convention)
        if _worth_asking(problem, wanted, rng):
            return problem
    assert problem is not None
    return problem


def _worth_asking(problem: GraphProblem, wanted: bool, rng: np.random.Generator) -> bool:
    if problem.convention and twisted(problem.convention) and not problem.graph.directed:
        complete = problem.graph.nodes * (problem.graph.nodes - 1) // 2
        if len(problem.graph.edges) == complete:
            return False  # nothing would be told of it
    value = problem.question.answer(problem.network, problem.args)
    match problem.question.kind:
        case "truth":
            return value == wanted
        case "node":
            first, second = sorted(pageranks(problem.network).values())[-1:-3:-1]
            return first - second > _CLEAR_RANK
        case "order":
            return len(value) > problem.graph.nodes // 3
        case "number" | "fraction" | "nodes":
            return bool(value) or rng.random() < 0.2
    return True


def _cut(graph: Graph, source: int, target: int, rng: np.random.Generator) -> Graph:
    """Without the edges that lead from a random part around the source to the rest, where the target is."""
    inside = rng.random(graph.nodes) < 0.5
    inside[source], inside[target] = True, False
    edges = [e for e in graph.edges if not (inside[e[0]] and not inside[e[1]])]
    if not graph.directed:
        edges = [e for e in edges if inside[e[0]] == inside[e[1]]]
    return replace(graph, edges=tuple(edges))


def _without_cycles(graph: Graph, rng: np.random.Generator) -> Graph:
    """Edges that would close a cycle are left out; directed ones all run forwards in some order of the nodes."""
    if graph.directed:
        place = rng.permutation(graph.nodes).tolist()
        pairs = {tuple(sorted((u, v), key=lambda node: place[node])): w for u, v, w in graph.edges}
        return replace(graph, edges=tuple((u, v, w) for (u, v), w in pairs.items()))
    part = list(range(graph.nodes))
    kept = []
    for u, v, w in graph.edges:
        if part[u] != part[v]:
            part = [part[v] if p == part[u] else p for p in part]
            kept.append((u, v, w))
    return replace(graph, edges=tuple(kept))
