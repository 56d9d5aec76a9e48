"""What a run trains on: re-arc tasks, or worked problems as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ttt_jax.config_loader import ConfigError
from ttt_jax.model.errors import ModelError
from ttt_jax.model.io import load_tokenizer, resolve
from ttt_jax.train import data, evaluate, traces
from ttt_jax.train.config import ReArcConfig, TracesConfig, TrainConfig

AnyBatch = data.Batch | traces.TextBatch


@dataclass(frozen=True)
class TrainingData:
    """Batches, and what the trainer has to know of them.

    Attributes:
      config: lengths, rows and loss weights.
      make: step -> its batch; picklable, and without jax.
      held: the batches of the evaluations, by name.
      dtypes: the arrays of a batch, each [rows, length].
      tokenizer: what the exported model is read with, as `save_model` takes it.
    """

    config: ReArcConfig | TracesConfig
    make: Callable[[int], AnyBatch]
    held: Callable[[], Mapping[str, list[Any]]]
    dtypes: Mapping[str, Any]
    tokenizer: Any


def open_data(config: TrainConfig) -> TrainingData:
    """The training data of a run.

    Raises:
      ModelError: `init_from` is not there, or has no text tokenizer.
      ConfigError: a source of the traces is none.
    """
    if config.traces is None:
        make = partial(data.make_batch, config.data, config.seed)
        dtypes: dict[str, Any] = dict.fromkeys(data.BATCH_ARRAYS, np.uint8)
        return TrainingData(config.data, make, partial(evaluate.eval_batches, config), dtypes, "arc")
    path = str(resolve(config.init_from or ""))
    try:
        traces.open_sources((*config.traces.sources, *config.traces.held_out), path, config.seed)
    except ModelError:
        raise
    except ValueError as error:  # better here than in a worker
        raise ConfigError(f"traces: {error}") from error
    return TrainingData(
        config.traces,
        partial(traces.make_batch, config.traces, path, config.seed),
        partial(traces.eval_batches, config, path),
        {"tokens": np.int32, "roles": np.uint8},
        load_tokenizer(path),
    )
