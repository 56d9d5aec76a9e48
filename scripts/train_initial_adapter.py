"""Trains an adapter from which a few steps adapt a task (first-order MAML or Reptile), on generated tasks.

    python scripts/train_initial_adapter.py --config configs/arc/initial_adapter.yaml --run-dir runs/initial
    python scripts/ttt.py --config ... --adapt.init runs/initial/adapter.safetensors --adapt.steps 8

Name the same run directory again to resume. SIGTERM saves and leaves. Exit
status 1 where training had to stop, 2 where the options are wrong.
"""

from __future__ import annotations

import signal
import sys


def main(argv: list[str] | None = None) -> int:
    # Imported here: data workers import this file anew, and they must not start jax.
    from ttt_jax.config_loader import load_config
    from ttt_jax.train.initial_config import InitialConfig

    config = load_config(InitialConfig, argv)

    from ttt_jax.train.initial import train_initial
    from ttt_jax.train.sft import NonFinite
    from ttt_jax.train.workers import WorkerDied

    asked_to_stop = False

    def stop(*_: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True
        print("stopping after this step", flush=True)

    signal.signal(signal.SIGTERM, stop)
    try:
        train_initial(config, stop=lambda: asked_to_stop)
    except ValueError as error:  # of the run directory, the model or an option
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (NonFinite, WorkerDied) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
