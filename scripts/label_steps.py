"""Labels the steps in a run's answers by roll-outs, and says how far they agree with the exact verifier.

    python scripts/label_steps.py runs/reasoning/evaluate/few_shot --rollouts 8 --limit 40

Adds to metrics.json and report.html of the run, and writes step_labels.json there. The base model continues the
chains, whichever arm wrote them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, help="of scripts/ttt.py or scripts/evaluate.py, with steps")
    parser.add_argument("--arm", default="in_context", help="whose chains are labelled (default: in_context)")
    parser.add_argument("--model", help="that continues them (default: that of the run)")
    parser.add_argument("--rollouts", type=int, default=8, help="continuations after every step (default: 8)")
    parser.add_argument("--temperature", type=float, default=0.7, help="of the continuations (default: 0.7)")
    parser.add_argument("--limit", type=int, default=40, help="chains at most, drawn at random (default: 40)")
    parser.add_argument("--slots", type=int, default=16, help="beginnings continued side by side (default: 16)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    from ttt_jax.evaluate.saved import SavedRun
    from ttt_jax.model.io import load_model
    from ttt_jax.rollouts import label_run
    from ttt_jax.runtime.compile_cache import enable_compile_cache
    from ttt_jax.runtime.device import compute_dtype
    from ttt_jax.tasks.registry import get_domain

    enable_compile_cache()
    try:
        run = SavedRun(arguments.run_dir)
        options = dict(samples=arguments.rollouts, temperature=arguments.temperature, slots=arguments.slots)
        decode = replace(run.config.decode, **options)
        model, base, tokenizer = load_model(arguments.model or run.config.model, compute_dtype(run.config.dtype))
        domain = get_domain(run.config.tasks.domain).bind(tokenizer)
        found = label_run(run, domain, model, base, arguments.arm, decode, arguments.limit, arguments.seed)
    except ValueError as error:
        print(f"label_steps.py: {error}", file=sys.stderr)
        return 2
    for group, of in found.items():
        f1, same = of["first_error"]["f1"], of["agreement"]["agreement"]["value"]
        shown = "-" if f1 is None else f"{100 * f1:.1f}"
        print(f"{group}: {of['chains']} chains, {100 * same:.1f}% of labels agree, first-error F1 {shown}")
    print(f"wrote {arguments.run_dir / 'step_labels.json'} and {arguments.run_dir / 'metrics.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
