"""Answers tasks in-context and after adapting to each: python scripts/ttt.py --config configs/arc/quickstart.yaml

With --dry-run it compiles every program of the run, says what they need of the device and how long the run would
take, and stops; with status 4 where something does not fit.
"""

import sys
from dataclasses import dataclass, fields

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.dry_run import dry_run
from ttt_jax.run import run
from ttt_jax.runtime.restart import again_if_failed


@dataclass(frozen=True)
class TttConfig(RunConfig):
    """One run of scripts/ttt.py: tasks in, ranked answers and metrics out."""

    dry_run: bool = False
    """Compile every program, print what they need of the device's memory, and stop."""


if __name__ == "__main__":
    given = load_config(TttConfig, sys.argv[1:])
    config = RunConfig(**{field.name: getattr(given, field.name) for field in fields(RunConfig)})
    if given.dry_run:
        sys.exit(dry_run(config))
    sys.exit(again_if_failed(run(config, command=" ".join(["python", *sys.argv]))))
