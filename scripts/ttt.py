"""Answers tasks in-context and after adapting to each: python scripts/ttt.py --config configs/arc/quickstart.yaml"""

import sys

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.run import run

if __name__ == "__main__":
    sys.exit(run(load_config(RunConfig, sys.argv[1:]), command=" ".join(["python", *sys.argv])))
