"""The same work done by torch, transformers and peft, one task at a time as published systems do it.

Optional: where one of the three is missing, nothing is compared. The peer runs
in a process of its own that has ended before jax takes the device's memory:

    python -m ttt_jax.bench.peers        reads one spec (JSON) from stdin, prints one JSON line per setting

So whatever the peer leaves behind cannot touch our figures, and a setting that
crashes or overstays leaves those before it.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ttt_jax.bench.timing import Budget, Timing, measure
from ttt_jax.config import LoraConfig
from ttt_jax.config_loader import from_dict
from ttt_jax.model.config import ModelConfig

PACKAGES = ("torch", "transformers", "peft")
_MARK = "peer: "


@dataclass(frozen=True)
class PeerSpec:
    """What a peer is asked to do.

    Attributes:
      kind: `adapt` (LoRA training of one task), `train` (all weights), `decode` (generate).
      model, lora: the shape, as for ours. The peer's rope turns with the sequence position only.
      length: tokens of a sequence (adapt, train) or of a prompt (decode).
      batches: adapt: sequences a step, the first of them the paper's; train: sequences a step, largest
        first; decode: rows at once, views of one task.
      new_tokens: decode: how many are generated.
      loss_share: adapt: share of the positions that carry loss.
      seconds: no new setting starts after so long.
      calls, rounds: as for ours.
      compile: also try torch.compile.
    """

    kind: Literal["adapt", "train", "decode"]
    model: ModelConfig
    lora: LoraConfig
    length: int
    batches: tuple[int, ...]
    seconds: float
    new_tokens: int = 32
    loss_share: float = 1.0
    calls: int = 3
    rounds: int = 2
    compile: bool = False
    seed: int = 0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PeerSpec:
        return from_dict(cls, json.loads(text))


def missing() -> list[str]:
    """Which of torch, transformers and peft are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES if name not in missing()}


def run_peer(spec: PeerSpec, budget: Budget) -> list[dict[str, Any]]:
    """Runs a spec in a process of its own and gives back what it measured, one dict a setting.

    What was not measured, and why, goes to `budget.left_out`.
    """
    what = f"peer, {spec.kind} at {spec.length} tokens"
    if absent := missing():
        budget.left_out.append(f"{what}: {', '.join(absent)} not installed")
        return []
    if not budget.allows(what, needs=15.0):
        return []
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "ttt_jax.bench.peers"], env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        try:
            # Half as much again as the peer gives itself: it looks at its clock between settings only.
            out, _ = process.communicate(spec.to_json(), timeout=60 + 1.5 * spec.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            budget.left_out.append(f"{what}: stopped after {60 + 1.5 * spec.seconds:.0f} s")
        errors.seek(0)
        complaint = errors.read().strip()
    if process.returncode > 0:
        budget.left_out.append(f"{what}: {complaint.splitlines()[-1] if complaint else 'failed'}")
    results = [json.loads(line.removeprefix(_MARK)) for line in out.splitlines() if line.startswith(_MARK)]
    budget.left_out += [f"{what}: {r['setting']}: {r['left_out']}" for r in results if "left_out" in r]
    return [r for r in results if "left_out" not in r]


def best(results: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The setting with the most tokens a second."""
    return max(results, key=lambda r: r["tokens_per_second"], default=None)


# -- Inside the peer's own process --------------------------------------------------------------------------


def build_model(config: ModelConfig, dtype: Any, device: str) -> Any:
    """A transformers model of a shape, random weights; Qwen3 where q and k are normalised, else Llama."""
    import torch
    import transformers

    family = transformers.Qwen3Config if config.qk_norm else transformers.LlamaConfig
    hf_config = family(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=config.tie_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope.theta[0]},
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(hf_config, dtype=dtype, attn_implementation="sdpa")


def add_adapter(model: Any, lora: LoraConfig, float32: bool) -> Any:
    """A peft model with one adapter, in float32 (peft's default) or in the base's own type."""
    import peft

    names = ["lm_head" if target == "head" else f"{target}_proj" for target in lora.targets]
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, use_rslora=lora.rslora, target_modules=names)
    return peft.get_peft_model(model, config, autocast_adapter_dtype=float32)


def settings(spec: PeerSpec) -> Iterator[dict[str, Any]]:
    """What is tried, in this order."""
    if spec.kind == "adapt":
        yield {"setting": "as published", "batch": spec.batches[0], "adapter": "float32"}
        for compiled in (False, True) if spec.compile else (False,):
            for batch in spec.batches:
                yield {"setting": "tuned", "batch": batch, "adapter": "base", "compiled": compiled}
    elif spec.kind == "train":
        for batch in spec.batches:
            yield {"setting": "autocast", "batch": batch}
    else:
        for batch in spec.batches:
            yield {"setting": "adapter apart", "batch": batch, "merged": False}
        yield {"setting": "adapter merged", "batch": max(spec.batches), "merged": True}


def measure_settings(spec: PeerSpec) -> Iterator[dict[str, Any]]:
    """Measures them one after the other; a setting that does not fit or came too late says so in `left_out`."""
    import torch

    torch.manual_seed(spec.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.set_float32_matmul_precision("high")
    skip: set[Any] = set()
    began, fastest = time.monotonic(), 0.0
    for setting in settings(spec):
        family = (setting["setting"], setting.get("compiled"))
        if family in skip:
            continue
        if time.monotonic() - began > spec.seconds:
            yield {**setting, "left_out": "no time left"}
            continue
        torch.cuda.empty_cache()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        run = {"adapt": _adapt, "train": _train, "decode": _decode}[spec.kind]
        try:
            found = run(spec, setting, device, dtype)
        except torch.OutOfMemoryError:
            found = {"left_out": "out of memory"}
            if spec.kind != "train":  # training tries smaller batches next
                skip.add(family)
        gc.collect()
        if device == "cuda" and "left_out" not in found:
            found["peak_memory"] = torch.cuda.max_memory_allocated()
        yield {**setting, "length": spec.length, **found}
        if spec.kind == "adapt" and setting["setting"] == "tuned":
            rate = float(found.get("tokens_per_second", 0.0))
            if rate < fastest:
                skip.add(family)
            fastest = max(fastest, rate)


def _wait(_: Any = None) -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _batch(spec: PeerSpec, batch: int, device: str) -> tuple[Any, Any]:
    """Random tokens, and labels with -100 where no loss is."""
    import torch

    tokens = torch.randint(spec.model.vocab_size, (batch, spec.length), device=device)
    return tokens, torch.where(torch.rand(batch, spec.length, device=device) < spec.loss_share, tokens, -100)


def _time_steps(spec: PeerSpec, model: Any, optimizer: Any, batch: int, device: str, autocast: bool) -> dict[str, Any]:
    import torch

    tokens, labels = _batch(spec, batch, device)
    trainable = [p for p in model.parameters() if p.requires_grad]

    def step() -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    timing = measure(step, _wait, calls=spec.calls, rounds=spec.rounds, warmup=3)
    return _rates(timing, batch * spec.length) | {"loss": float(step().detach())}


def _rates(timing: Timing, tokens: int) -> dict[str, Any]:
    return {"step": timing.per(1), "tokens_per_second": tokens / timing.seconds}


def _adapt(spec: PeerSpec, setting: dict[str, Any], device: str, dtype: Any) -> dict[str, Any]:
    import torch

    model = add_adapter(build_model(spec.model, dtype, device), spec.lora, setting["adapter"] == "float32")
    model.train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, weight_decay=0.0, fused=device == "cuda")
    called = torch.compile(model) if setting.get("compiled") else model
    return _time_steps(spec, called, optimizer, setting["batch"], device, autocast=False)


def _train(spec: PeerSpec, setting: dict[str, Any], device: str, dtype: Any) -> dict[str, Any]:
    import torch

    model = build_model(spec.model, torch.float32, device)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device == "cuda")
    return _time_steps(spec, model, optimizer, setting["batch"], device, autocast=device == "cuda")


def _decode(spec: PeerSpec, setting: dict[str, Any], device: str, dtype: Any) -> dict[str, Any]:
    """Seconds of `new_tokens` tokens after prompts of `length`, and of each token once the prompt is read."""
    import torch

    model = add_adapter(build_model(spec.model, dtype, device), spec.lora, float32=False)
    if setting["merged"]:
        model = model.merge_and_unload()
    model.eval()
    tokens, _ = _batch(spec, setting["batch"], device)
    mask = torch.ones_like(tokens)

    def generate(count: int) -> Any:
        with torch.inference_mode():
            return model.generate(
                input_ids=tokens, attention_mask=mask, do_sample=False, max_new_tokens=count, min_new_tokens=count,
                pad_token_id=0,
            )  # fmt: skip

    assert generate(2).shape == (setting["batch"], spec.length + 2)
    # Each call is seconds long and does the same work throughout: few are enough.
    whole = measure(lambda: generate(spec.new_tokens), _wait, calls=1, rounds=spec.rounds, warmup=0)
    reading = measure(lambda: generate(1), _wait, calls=1, rounds=spec.rounds, warmup=1)
    steps = spec.new_tokens - 1
    return {
        "whole": whole.per(1),
        "prompt": reading.per(1),
        "step_seconds": (whole.seconds - reading.seconds) / steps,
        "tokens_per_second": setting["batch"] * steps / (whole.seconds - reading.seconds),
        "tokens_per_second_with_prompt": setting["batch"] * spec.new_tokens / whole.seconds,
    }


def main() -> int:
    spec = PeerSpec.from_json(sys.stdin.read())
    for result in measure_settings(spec):
        print(_MARK + json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
