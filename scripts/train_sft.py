"""Trains a model on generated tasks: grids from scratch, or worked text problems from a text model.

    python scripts/train_sft.py --config configs/arc/small_pretrain.yaml --run-dir runs/pretrain
    python scripts/train_sft.py --config configs/reasoning/sft.yaml --run-dir runs/reasoning/sft

Name the same run directory again to resume. SIGTERM saves and leaves. Exit
status 1 where training had to stop, 2 where the options are wrong.
"""

from __future__ import annotations

import signal
import sys


def main(argv: list[str] | None = None) -> int:
    # Imported here: data workers import this file anew, and they must not start jax.
    from ttt_jax.config_loader import ConfigError, load_config
    from ttt_jax.train.config import TrainConfig

    config = load_config(TrainConfig, argv)

    from ttt_jax.model.io import ModelError
    from ttt_jax.train.checkpoint import OtherRun
    from ttt_jax.train.sft import NonFinite, train
    from ttt_jax.train.workers import WorkerDied

    asked_to_stop = False

    def stop(*_: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True
        print("stopping after this step", flush=True)

    signal.signal(signal.SIGTERM, stop)
    try:
        train(config, stop=lambda: asked_to_stop)
    except (OtherRun, ModelError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (NonFinite, WorkerDied) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
