"""Shows what a task is trained on: the sequences of one step, drawn in the terminal with their loss mask.

python scripts/show_batch.py --config configs/arc/quickstart.yaml --tasks.ids 00576224 --step 3

Options are those of scripts/ttt.py and `--step`. Without `tasks.ids` the first task is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.rule import Rule

from ttt_jax.adapt.examples import ExampleStream
from ttt_jax.adapt.rendering import LEGEND, TEXT_LEGEND, render_sequence, render_text
from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.model.io import load_tokenizer
from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.registry import get_domain


@dataclass(frozen=True)
class ShowConfig(RunConfig):
    """Options of a run, and which of its steps to show."""

    step: int = 0
    """The adaptation step whose batch is shown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the batches; returns the exit status, 1 where a task could not be read or has no sequence that fits."""
    config = load_config(ShowConfig, argv)
    console, errors = Console(), Console(stderr=True)
    failed = False
    try:
        tokenizer = load_tokenizer(config.model)
        domain = get_domain(config.tasks.domain).bind(tokenizer)
        loaded = domain.load(config.tasks)
    except ValueError as error:
        errors.print(f"show_batch: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    for refused in loaded.refused:
        errors.print(f"refused: {refused}", markup=False, highlight=False, soft_wrap=True)
        failed = True
    grids = isinstance(domain, ArcDomain)
    console.print(LEGEND if grids else TEXT_LEGEND, style="dim")
    for task in loaded.tasks if config.tasks.ids else loaded.tasks[:1]:
        try:
            stream = ExampleStream(task.hide_answers(), domain, config.adapt.examples, config.seed)
        except ValueError as error:
            errors.print(f"show_batch: {error}", markup=False, highlight=False, soft_wrap=True)
            failed = True
            continue
        batch = stream.batch(config.step, config.adapt.batch_size, stream.max_length)
        for row, (tokens, weights) in enumerate(zip(batch["tokens"], batch["weights"], strict=True)):
            console.print(Rule(f"task {task.id}, step {config.step}, sequence {row} of {len(batch['tokens'])}"))
            if grids:
                console.print(render_sequence(tokens, weights, console.width))
            else:
                console.print(render_text(tokens, weights, domain.pad_token, tokenizer.decode))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
