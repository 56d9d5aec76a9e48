"""What every benchmark can be told, and the shapes that are benchmarked by name. Nothing here imports jax."""

from __future__ import annotations

from dataclasses import dataclass, field

from ttt_jax.config import LoraConfig, Remat
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.train.config import small_decoder

ALL_LINEAR = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Preset:
    """A model's shape, random weights, and what is done with it where no flag says otherwise."""

    model: ModelConfig
    lora: LoraConfig
    tasks: int
    batch_size: int
    lengths: tuple[int, ...]
    """Training sequences."""
    remat: tuple[Remat, ...]
    contexts: tuple[int, ...] = (512, 2048)
    """Prompts."""


PRESETS: dict[str, Preset] = {
    "arc-small": Preset(
        small_decoder(), LoraConfig(rank=64, alpha=64.0, targets=ALL_LINEAR),
        tasks=20, batch_size=4, lengths=(1024, 2048), remat=("nothing",),
    ),
    "llama-1b": Preset(
        ModelConfig(
            vocab_size=128_256, hidden_size=2048, intermediate_size=8192, num_layers=16, num_heads=32,
            num_kv_heads=8, head_dim=64, rope=RopeConfig(theta=(500_000.0,)), tie_embeddings=True,
        ),
        LoraConfig(rank=128, alpha=128.0, targets=("q", "v", "gate", "up", "down")),
        tasks=16, batch_size=2, lengths=(1024,), remat=("nothing", "products"),
    ),
    # Not to measure anything: to try the benchmarks themselves out on a CPU.
    "tiny": Preset(
        ModelConfig(
            vocab_size=16, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4, num_kv_heads=2,
            head_dim=16, rope=RopeConfig(theta=(10_000.0, 100.0, 100.0), pairs=(4, 2, 2)), qk_norm=True,
            tie_embeddings=False,
        ),
        LoraConfig(rank=4, alpha=4.0, targets=ALL_LINEAR),
        tasks=2, batch_size=2, lengths=(32,), remat=("nothing", "products"), contexts=(16,),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PeerOptions:
    """torch, transformers and peft at the same work, in a process of their own before ours begins."""

    run: bool = True
    share: float = 0.4
    """Of the budget, at most."""
    batches: tuple[int, ...] = (2, 4, 8, 16)
    """Batch sizes tried for the peer's best setting; ends at the first that does not fit or is slower."""
    compile: bool = False
    """Also try torch.compile (minutes)."""


@dataclass(frozen=True)
class BenchConfig:
    """A benchmark: its shapes, its time and where the figures go."""

    presets: tuple[str, ...] = ("arc-small", "llama-1b")
    """Any of arc-small, llama-1b, tiny."""
    budget_seconds: float = 540.0
    """No new measurement starts after so long; what was left out is printed."""
    calls: int = 5
    """Timed calls a round, after warm-up; the median counts."""
    rounds: int = 2
    """Rounds, whose medians show the spread."""
    seed: int = 0
    own_shapes: bool = True
    """Also time matmuls and attention of the model's own shapes."""
    out: str | None = None
    """Write the figures to this JSON file (docs/results/NAME.json)."""
    profile: str | None = None
    """Write a jax trace of one call of each case below this folder, and print where its time went."""
    peer: PeerOptions = field(default_factory=PeerOptions)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.presets) - PRESETS.keys())
        if unknown or not self.presets:
            raise ValueError(f"presets: {', '.join(unknown) or 'empty'}; choose from {', '.join(PRESETS)}")
        if self.calls < 1 or self.rounds < 1:
            raise ValueError(f"calls {self.calls} and rounds {self.rounds} must be at least 1")


def remat_label(remat: Remat) -> str:
    """What a case's name says of it: nothing where all is kept."""
    return "" if remat == "nothing" else f", remat {remat}"
