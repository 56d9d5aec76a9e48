"""Which of the loaded tasks are answered: the rules of `TasksConfig`, the same for every domain."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.task import WHOLE_FILE, LoadedTasks, Task


def choose_tasks(loaded: LoadedTasks, config: TasksConfig, prompt_tokens: Callable[[Task], int]) -> LoadedTasks:
    """Applies ids, max_prompt_tokens, sample, order and limit, in this order.

    Args:
      loaded: everything that was read; refused tasks stay refused.
      config: the rules.
      prompt_tokens: tokens of a task's demonstrations and longest query input;
        it must not look at answers.

    Raises:
      ValueError: an id is unknown, the sample is larger than what is left, or nothing is left.
    """
    tasks = {task.id: task for task in loaded.tasks}
    if config.ids:
        known = {*tasks, *(refused.task_id for refused in loaded.refused)}
        for wanted in config.ids:
            if wanted not in known:
                near = difflib.get_close_matches(wanted, sorted(known), 3)
                hint = f", the nearest are {', '.join(near)}" if near else ""
                raise ValueError(f"tasks.ids: no task is called {wanted!r} in {loaded.benchmark}{hint}")
        tasks = {id_: tasks[id_] for id_ in dict.fromkeys(config.ids) if id_ in tasks}
        # A whole file that could not be read may hold the tasks that are asked for.
        asked = {*config.ids, WHOLE_FILE}
        loaded = replace(loaded, refused=tuple(r for r in loaded.refused if r.task_id in asked))
    lengths = {}
    if config.max_prompt_tokens is not None or config.order == "shortest":
        lengths = {id_: prompt_tokens(task) for id_, task in tasks.items()}
    if config.max_prompt_tokens is not None:
        tasks = {id_: task for id_, task in tasks.items() if lengths[id_] <= config.max_prompt_tokens}
    if config.sample is not None:
        if config.sample > len(tasks):
            raise ValueError(f"tasks.sample: {config.sample} of the {len(tasks)} tasks left in {loaded.benchmark}")
        drawn = np.random.default_rng(config.sample_seed).choice(sorted(tasks), config.sample, replace=False)
        tasks = {str(id_): tasks[str(id_)] for id_ in drawn}
    ids = sorted(tasks, key=lambda id_: (lengths[id_], id_) if config.order == "shortest" else (0, id_))
    ids = ids[: config.limit]
    if loaded.tasks and not ids:
        raise ValueError(f"tasks: none of the {len(loaded.tasks)} tasks of {loaded.benchmark} is left by the rules")
    return replace(loaded, tasks=tuple(tasks[id_] for id_ in ids))
