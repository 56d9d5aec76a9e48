"""A configuration with one thing removed at a time: what each of its parts is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttt_jax.config import RunConfig
from ttt_jax.evaluate.paired import paired_rows
from ttt_jax.evaluate.records import ADAPTED, IN_CONTEXT
from ttt_jax.evaluate.rerank import by_method
from ttt_jax.evaluate.runs import Run, Runs, about, finish_runs, seconds_per_task
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.select.rank import SCORED

ALL = "all"
"""The run from which nothing is removed."""

PARTS = {
    "adaptation": "in-context: the same views and selection without adapting",
    "product_of_experts": "the flat vote in place of likelihoods, over the same candidates",
    "search": "greedy answers of the views only",
    "views": "one view, as the task is given",
    "augmentation": "training sequences without transforms and augmenters",
    "layout": "leave-one-out sequences in place of all outputs, or the other way round",
    "demonstrations": "trained and asked on single pairs, without demonstrations in the prompt",
    "early_stop": "all steps for every task",
    "per_task_adapters": "one adapter for all tasks, trained on as many sequences in all",
    "multi_axis_positions": "a base of one position axis, trained alike",
}
"""What can be removed, and what then takes its place; what costs least and says most first."""


class NotApplicable(ValueError):
    """The configuration has no such part to remove; the message says why."""


def without(part: str, config: RunConfig, tasks: int, one_axis_model: str | None) -> RunConfig:
    """The options of the run without one part, which is measured in the adapted arm.

    Args:
      part: a name in `PARTS`, other than those that the full run shows by itself (adaptation,
        product_of_experts).
      config: the full run.
      tasks: how many it had.
      one_axis_model: a base trained like `config.model`, but with every rope pair on the sequence axis.

    Raises:
      NotApplicable: there is no such part in `config`.
    """
    adapt, decode = config.adapt, config.decode
    examples = adapt.examples
    match part:
        case "search":
            if decode.search_above is None:
                raise NotApplicable("decode.search_above is not set")
            return replace(config, decode=replace(decode, search_above=None))
        case "views":
            if decode.views == 1:
                raise NotApplicable("decode.views is 1")
            return replace(config, decode=replace(decode, views=1))
        case "augmentation":
            if not examples.transforms and not examples.augmenters:
                raise NotApplicable("adapt.examples.transforms and augmenters are empty")
            plain = replace(examples, transforms=(), augmenters=())
            return replace(config, adapt=replace(adapt, examples=plain))
        case "layout":
            if examples.layout == "direct":
                raise NotApplicable("adapt.examples.layout is direct")
            other = "all_outputs" if examples.layout == "leave_one_out" else "leave_one_out"
            return replace(config, adapt=replace(adapt, examples=replace(examples, layout=other)))
        case "demonstrations":
            if examples.layout == "direct":
                raise NotApplicable("adapt.examples.layout is direct")
            direct = replace(examples, layout="direct")
            return replace(config, adapt=replace(adapt, examples=direct), decode=replace(decode, show_demos=False))
        case "per_task_adapters":
            if adapt.shared:
                raise NotApplicable("adapt.shared is true")
            together = replace(adapt, shared=True, steps=adapt.steps * tasks, stop_loss=None, stop_demo=False)
            return replace(config, adapt=together)
        case "early_stop":
            if adapt.stop_loss is None and not adapt.stop_demo:
                raise NotApplicable("adapt.stop_loss and stop_demo are not set")
            return replace(config, adapt=replace(adapt, stop_loss=None, stop_demo=False))
        case "multi_axis_positions":
            if one_axis_model is None:
                raise NotApplicable(
                    "needs a base trained alike with every rope pair on the sequence axis "
                    "(train_sft.py --model.rope.pairs 32 0 0): give it as --one-axis-model"
                )
            return replace(config, model=one_axis_model)
    raise ValueError(f"no part is called {part!r}; there are {', '.join(PARTS)}")


def ablate(
    config: RunConfig,
    run: Run,
    out: Path,
    parts: Sequence[str],
    budget_seconds: float,
    command: str,
    one_axis_model: str | None = None,
) -> int:
    """Measures a configuration whole and without each of its parts, into one JSON file.

    Args:
      config: the full run; the others lie beside it, in `run_dir`-without-NAME. All have its seed.
      run: `ttt_jax.run.run`.
      out: the file to write, or to go on with.
      parts: names in `PARTS`, in order.
      budget_seconds, command: see `finish_runs`.
      one_axis_model: see `without`.

    Returns:
      the exit status.

    Raises:
      ValueError: a part is unknown, or the configuration has no adapted arm.
    """
    if unknown := set(parts) - PARTS.keys():
        raise ValueError(f"no part is called {sorted(unknown)[0]!r}; there are {', '.join(PARTS)}")
    if ADAPTED not in config.arms:
        raise ValueError("arms: an ablation removes parts of the adapted arm; leave it in")
    left_out: dict[str, str] = {}
    runs = [ALL]
    for part in parts:
        try:
            if part == "adaptation":
                if IN_CONTEXT not in config.arms:
                    raise NotApplicable("arms has no in_context")
            elif part == "product_of_experts":
                if config.select.method not in SCORED:
                    raise NotApplicable(f"select.method is {config.select.method}, which uses no likelihoods")
            else:
                without(part, config, 1, one_axis_model)
                runs.append(part)
        except NotApplicable as error:
            left_out[part] = str(error)

    def configure(name: str, found: Runs) -> RunConfig:
        if name == ALL:
            return config
        changed = without(name, config, found[ALL]["tasks"], one_axis_model)
        return replace(changed, arms=(ADAPTED,), run_dir=f"{config.run_dir}-without-{name}")

    def summarise(found: Runs) -> dict[str, Any]:
        ways = {ALL: (found[ALL], ADAPTED)}
        for part in parts:
            if part == "adaptation" and part not in left_out:
                ways[part] = (found[ALL], IN_CONTEXT)
            elif part == "product_of_experts" and part not in left_out:
                ways[part] = (found[ALL]["methods"]["vote"], ADAPTED)
            elif part in found:
                ways[part] = (found[part], ADAPTED)
        rows = paired_rows(ways, ALL)
        for name, row in rows.items():
            row["instead"] = PARTS.get(name, "")
            arm = IN_CONTEXT if name == "adaptation" else ADAPTED
            row["seconds_per_task"] = seconds_per_task(found[name if name in found else ALL], arm)
        missing = {part: left_out.get(part, "not run yet") for part in parts if part not in rows}
        return {"command": command, **about(found), "reference": ALL, "rows": rows, "not_measured": missing}

    def finished(of: RunConfig) -> dict[str, Any]:
        # Kept now, as the candidates may be gone when the file goes on elsewhere.
        return {"methods": by_method(SavedRun(Path(of.run_dir)))} if of.run_dir == config.run_dir else {}

    return finish_runs(runs, configure, run, out, budget_seconds, command, summarise, finished)
