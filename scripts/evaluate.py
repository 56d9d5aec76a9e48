"""Measures a model on generated reasoning problems, zero-shot, in-context and adapted, or finds the level it reaches.

    python scripts/evaluate.py --config configs/reasoning/evaluate.yaml --model runs/reasoning/sft/model
    python scripts/evaluate.py --config configs/reasoning/climb.yaml --model runs/reasoning/sft/model

The same command goes on with a run that was stopped.
"""

import sys

from ttt_jax.config_loader import load_config
from ttt_jax.evaluation import EvaluateConfig, evaluate
from ttt_jax.runtime.restart import again_if_failed

if __name__ == "__main__":
    status = evaluate(load_config(EvaluateConfig, sys.argv[1:]), command=" ".join(["python", *sys.argv]))
    sys.exit(again_if_failed(status))
