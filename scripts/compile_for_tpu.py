"""What adaptation and decoding need on TPU chips, found out without one.

    python scripts/compile_for_tpu.py --config configs/arc/quickstart.yaml --topology v5e:4x4
    python scripts/compile_for_tpu.py --config configs/tpu/llama_8b_v5e.yaml

Needs Linux x86-64 and the libtpu of `pip install ttt-jax[tpu]`, and of a model
its config.json only. Prints memory and floating point operations a chip,
collectives and their bytes, what layouts pad, whole-cache copies in the
decoding loop, and the least time that the chips' data sheet allows. Leaves with
status 1 where something does not fit, 2 where an option is wrong.
"""

import dataclasses
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

os.environ.update(
    {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chips are held, so several may compile at a time
    }
)
# What never runs need not be optimised for speed: a third of the time, a few per cent more memory. 0 for all of it.
os.environ.setdefault("JAX_EXEC_TIME_OPTIMIZATION_EFFORT", "-1.0")

import jax
import jax.numpy as jnp

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.model import io
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.device import versions
from ttt_jax.runtime.files import write_json
from ttt_jax.runtime.memory import most_slots
from ttt_jax.runtime.tpu_compile import (
    DoesNotFit,
    PlainText,
    Program,
    Queries,
    Writing,
    chip_of,
    compile_programs,
    describe,
    kernel_for,
)
from ttt_jax.tasks.registry import get_domain

MOST = 64
"""Slots that are tried where `slots` is auto."""


@dataclass(frozen=True)
class CompileConfig(RunConfig):
    """A run, and the chips to compile it for.

    `adapt.slots` and `decode.slots` count for each chip, or each group of `mesh.tensor` chips.
    """

    topology: str = "v5e:4x4"
    """Generation and shape: v4:2x2x1, v5e:4x4, v5p:2x2x1, v6e:4x4 ..."""
    length: int = 2048
    """Tokens of a training sequence and of a prompt; of what its prompts share where a domain's queries do (bbh)."""
    queries: int = 240
    """Of one task, where they share their demonstrations."""
    query_length: int = 288
    """Tokens of each of these after what they share."""
    programs: tuple[Literal["adapt", "prefill", "decode"], ...] = ("adapt", "prefill", "decode")
    fit: bool = False
    """Find the most adapt.slots and decode.slots that fit, up to those given; auto slots are found in any case.
    Decoding is to fit beside the adapters in hand and their optimizer states, as in a run."""
    memory: float | None = None
    """GiB that a chip has for it, where it has less than its own (or stands for a device that has)."""
    json: str | None = None
    """Also write the figures to this file, program by program. Cases of other names that it holds stay."""
    case: str | None = None
    """Name of the figures in that file (the topology)."""


def main() -> int:
    config = load_config(CompileConfig, sys.argv[1:])
    record = Record(config, time.perf_counter())
    try:
        path = io.resolve(config.model)
        model_config, _ = io.load_config(path)
        model = Decoder(model_config, dtype=jnp.dtype("bfloat16" if config.dtype == "auto" else config.dtype))
        domain = writing(config, path)
        print(f"{config.model} on {config.topology}, attention kernel {kernel_for(config.topology, model, config)}")
        if config.fit or "auto" in (config.adapt.slots, config.decode.slots):
            config = record.config = fitted(config, model, domain)

        def show(program: Program) -> None:
            print(describe(program, config.topology), flush=True)
            record.add(program)
            if config.memory and program.bytes["total"] > config.memory * 2**30:
                raise DoesNotFit(f"{program.name}: more than {config.memory} GiB")

        compile_programs(
            model, domain, config, config.topology, config.length, show, config.programs, queries_of(config)
        )
    except DoesNotFit as error:
        record.write(does_not_fit=str(error))
        print(f"does not fit {config.topology}: {error}", file=sys.stderr)
        print(
            "For less memory: lower adapt.slots, adapt.batch_size, decode.slots, decode.views or length, set "
            "adapt.remat, split the base (mesh.fsdp, mesh.tensor) or keep it in fewer bits (quantize).",
            file=sys.stderr,
        )
        return 1
    except jax.errors.JaxRuntimeError as error:
        print(f"does not compile for {config.topology}: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


class Record:
    """The figures in the file of `--json`, written anew with every program: the last ones may take an hour."""

    def __init__(self, config: CompileConfig, began: float):
        self.config, self.began = config, began
        self.programs: list[Program] = []

    def add(self, program: Program) -> None:
        self.programs.append(program)
        self.write()

    def write(self, **more: str) -> None:
        config = self.config
        if not config.json:
            return
        file = Path(config.json)
        cases = json.loads(file.read_text()) if file.exists() else {}
        case = {
            "command": " ".join(["python", *sys.argv]),
            "model": config.model,
            "topology": config.topology,
            "chips": self.programs[0].chips if self.programs else None,
            "mesh": dataclasses.asdict(config.mesh),
            "slots": {"adapt": config.adapt.slots, "decode": config.decode.slots},
            "quantize": config.quantize,
            "memory_gib": config.memory or chip_of(config.topology).memory,
            "versions": versions(),
            "optimisation_effort": os.environ["JAX_EXEC_TIME_OPTIMIZATION_EFFORT"],
            "seconds": round(time.perf_counter() - self.began),
            "programs": [figures(p) for p in self.programs],
            **more,
        }
        write_json(file, {**cases, config.case or config.topology: case}, indent=2)


def figures(program: Program) -> dict[str, Any]:
    """A program as the file has it: of the arrays that its loop writes in place the number, of copies the text."""
    cache = program.cache
    found = None if cache is None else {"written": len(cache.written), "copied": cache.copied}
    return {**dataclasses.asdict(program), "cache": found}


def writing(config: CompileConfig, path: Path) -> Writing:
    """The domain of the tasks in the model's tokens; a plain one where the model comes without a tokenizer."""
    if io.load_config(path)[1] == io.TEXT and path.is_dir() and not (path / "tokenizer.json").exists():
        plain = get_domain(config.tasks.domain)
        return PlainText(max_answer_tokens=plain.max_answer_tokens, shared_prefix=plain.shared_prefix)
    return get_domain(config.tasks.domain).bind(io.load_tokenizer(path))


def queries_of(config: CompileConfig) -> Queries:
    return Queries(config.queries, config.query_length)


def fitted(config: CompileConfig, model: Decoder, domain: Writing) -> CompileConfig:
    """The config with the most slots that fit, up to those given: first of adaptation, then of decoding.

    Raises:
      DoesNotFit: not even one does.
    """
    limit = (config.memory or chip_of(config.topology).memory) * 2.0**30
    held: dict[int, float] = {}
    for stage, programs in (("adapt", ("adapt",)), ("decode", ("prefill", "decode"))):
        options = getattr(config, stage)
        beside = held[int(config.adapt.slots)] if stage == "decode" else 0.0
        measure = partial(needed, config, model, domain, stage, programs, held)
        most = MOST if options.slots == "auto" else options.slots
        slots = most_slots(measure, limit - beside, most)
        if not slots:
            raise DoesNotFit(f"not even {stage}.slots 1")
        config = dataclasses.replace(config, **{stage: dataclasses.replace(options, slots=slots)})
    return config


def needed(
    config: CompileConfig,
    model: Decoder,
    domain: Writing,
    stage: str,
    programs: tuple[str, ...],
    held: dict[int, float],
    slots: int,
) -> float:
    """Bytes of a chip that a stage takes with so many slots; infinite where the compiler finds no room.

    `held` is told the state of adaptation with these slots.
    """
    print(f"  trying {stage}.slots {slots}: ", end="", flush=True)
    tried = dataclasses.replace(config, **{stage: dataclasses.replace(getattr(config, stage), slots=slots)})
    try:
        found = compile_programs(
            model, domain, tried, config.topology, config.length, only=programs, queries=queries_of(config)
        )
    except DoesNotFit as error:
        print(error, flush=True)
        return math.inf
    if stage == "adapt":
        held[slots] = found[0].bytes["state"]
    most = max(program.bytes["total"] for program in found)
    print(f"{most / 2**30:.2f} GiB a chip", flush=True)
    return float(most)


if __name__ == "__main__":
    sys.exit(main())
