"""Every option of an adaptation run, with its default.

A YAML file states only what differs; dotted flags override the file. See
`load_config` for how the three are put together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Remat = Literal["nothing", "products", "full"]


def _at_least_one(config: Any, *names: str) -> None:
    """Raises ValueError where one of the named options is given and below 1."""
    for name in names:
        value = getattr(config, name)
        if value not in (None, "auto") and value < 1:
            raise ValueError(f"{name}: {value}, must be at least 1")


@dataclass(frozen=True)
class TasksConfig:
    """Which tasks are answered. The rules look at demonstrations and query inputs only."""

    domain: str = "arc"
    """Name of a domain in ttt_jax/tasks."""
    source: str = "arc-agi-1/evaluation"
    """A packaged benchmark: arc-agi-1 or arc-agi-2, then training or evaluation; or arc-agi-2/development."""
    path: str | None = None
    """A directory or file in the benchmark's public format (bbh: or a URL of one); replaces `source`."""
    ids: tuple[str, ...] = ()
    """Only these task ids (all where empty)."""
    max_prompt_tokens: int | None = None
    """Leave out tasks whose demonstrations and longest query input take more tokens."""
    demos: int = 10
    """Benchmarks of many solved examples (bbh): so many, the first after shuffling, are the demonstrations."""
    seeds: tuple[int, ...] = (42, 43, 44, 45, 46)
    """Likewise: each seed shuffles every task anew and makes a task of its own, `name@seed`."""
    queries: int | None = None
    """Likewise: only so many of a task's queries, the first after shuffling, are asked."""
    demo_tokens: int | None = None
    """Text: whole demonstrations are dropped, the last first, until they and the longest query take no more tokens."""
    sample: int | None = None
    """Draw this many with `numpy.random.default_rng(sample_seed).choice(sorted ids, sample, replace=False)`."""
    sample_seed: int = 0
    order: Literal["id", "shortest"] = "id"
    """`shortest` sorts by the tokens of demonstrations and query inputs, then by id."""
    limit: int | None = None
    """After ordering, keep this many."""

    def __post_init__(self) -> None:
        _at_least_one(self, "queries", "max_prompt_tokens", "sample", "limit")


@dataclass(frozen=True)
class LoraConfig:
    """A low-rank adapter: `y = x W + scale * (x A) B` (arXiv 2106.09685)."""

    rank: int = 64
    alpha: float = 64.0
    rslora: bool = False
    """Scale by alpha / sqrt(rank) (arXiv 2312.03732) instead of alpha / rank."""
    targets: tuple[str, ...] = ("q", "k", "v", "o", "gate", "up", "down")
    """Any of q, k, v, o, gate, up, down, head."""
    dropout: float = 0.0
    """While training, each input of an adapter is dropped with this probability (never of the base it is added to)."""

    def __post_init__(self) -> None:
        _at_least_one(self, "rank")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: {self.dropout}, must lie in [0, 1); 0 drops nothing")

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


@dataclass(frozen=True)
class OptimizerConfig:
    """An optax optimizer and its schedule."""

    name: str = "adamw"
    """adamw, muon, sgd, or a dotted path `my_module:my_optimizer` called as f(learning_rate_schedule)."""
    learning_rate: float = 1e-3
    schedule: Literal["constant", "linear", "cosine", "sqrt"] = "linear"
    """Shape of the decay to zero; `sqrt` holds the peak and falls as 1 - sqrt in the last `decay_fraction`."""
    decay_fraction: float = 1.0
    """Share of the steps over which the rate decays (at the end)."""
    warmup_steps: int = 0
    weight_decay: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = 1.0
    """Global norm, of one task's gradient (never across tasks)."""
    muon_learning_rate: float = 3e-3
    """Only for `muon`: the rate of hidden matrices; everything else uses `learning_rate`."""


@dataclass(frozen=True)
class ExamplesConfig:
    """How one task's demonstrations become training sequences."""

    layout: Literal["all_outputs", "leave_one_out", "direct"] = "all_outputs"
    """all_outputs: one sequence of all demos, loss on each output from the second on.
    leave_one_out: each demo in turn is the query (arXiv 2411.07279, section 3).
    direct: one demo alone, input to output (its ablation; decode with show_demos false)."""
    demo_loss: bool = True
    """leave_one_out only: also put loss on the outputs of demos 2..K in the context."""
    first_output_loss: float = 0.0
    """Weight of the first output of a sequence, which no demonstration precedes (a lone output weighs 1)."""
    input_loss: float = 0.0
    """Weight of the tokens that are not outputs."""
    transforms: tuple[str, ...] = ("symmetries", "colours", "order")
    """Invertible transforms drawn afresh for every sequence."""
    augmenters: tuple[str, ...] = ()
    """Names of non-invertible augmenters (tasks/augmenters.py); one in `augment_every` sequences has one."""
    augment_every: int = 2
    cap: int | None = None
    """None draws fresh sequences at every step; a number fixes a pool of so many distinct ones
    (leave-one-out, its augmentations, topped up from leave-two-out; the paper uses 250)."""
    max_tokens: int = 4096
    """Longer sequences are dropped."""


@dataclass(frozen=True)
class AdaptConfig:
    """Test-time training of one adapter per task, `slots` tasks side by side."""

    trainable: Literal["lora", "full"] = "lora"
    loss: str = "next_token"
    """A name in losses.LOSSES or a dotted path `my_module:my_loss`."""
    steps: int = 64
    batch_size: int = 4
    chunk: int = 16
    """Steps per jitted call: tasks can stop, be saved and be reported between chunks."""
    slots: int | Literal["auto"] = 20
    """Tasks adapted side by side; fixes the compiled shape. auto: at each length as many as the device holds."""
    lengths: tuple[int, ...] | None = None
    """Length buckets of training sequences; None takes the run's `lengths`. There is at most one
    program for every `slots` tasks, so that fine buckets cost little here, where every padded token is computed."""
    shared: bool = False
    """One adapter for all tasks of a family (bbh: those of one seed), trained on each of them in turn."""
    stop_loss: float | None = None
    """A task stops early once its mean loss is below this in each of `stop_chunks` chunks in a row."""
    stop_chunks: int = 1
    stop_demo: bool = False
    """Keep one demonstration out of training; a task stops early once it writes every token of its output right
    (with `stop_loss`: once both say so). Tasks of one or two demonstrations train on all, to their last step."""
    remat: Remat = "nothing"
    """What the backward pass computes again instead of keeping it, to save memory. `products`: what lies between
    matrix products (their results and attention are kept). `full`: each layer, from its input."""
    init: str | None = None
    """Every task starts from the adapter in this .safetensors file (scripts/train_initial_adapter.py) instead of from
    one that changes nothing. Its rank and targets are those of `lora`."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)

    def __post_init__(self) -> None:
        _at_least_one(self, "steps", "batch_size", "chunk", "slots", "stop_chunks")
        if self.shared and (self.stop_loss is not None or self.stop_demo):
            raise ValueError("shared: the adapter of a family takes all its steps; leave stop_loss and stop_demo out")
        if self.init is not None and self.trainable == "full":
            raise ValueError("init: it is an adapter; leave it out, or set trainable to lora")
        if self.lora.dropout and self.trainable == "full":
            raise ValueError("lora.dropout: it drops inputs of adapters; set it to 0, or trainable to lora")
        if self.lora.dropout and "head" in self.lora.targets:
            raise ValueError("lora.dropout: adapters on the head have none; set it to 0, or leave head out of targets")


@dataclass(frozen=True)
class DecodeConfig:
    """Candidates: each query under `views` transforms, `samples` completions of each."""

    views: int = 16
    show_demos: bool = True
    """False asks without demonstrations: zero-shot in the in-context arm."""
    transforms: tuple[str, ...] = ("symmetries", "colours", "order")
    samples: int = 1
    """Completions per view, whose prompt is read once; more than one needs a temperature."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    grammar: bool = True
    """Only tokens that the domain's syntax allows."""
    search_above: float | None = None
    """Beside a view's greedy answer, find every other that has at least this probability (0.05 to 0.1; arXiv
    2505.07859 uses 0.09)."""
    search_passes: int = 3
    """The search reads and continues unfinished answers so often, in each pass as many a query as it has views."""
    speculate: bool = False
    """Decode the first view alone and offer its answer to the others as a draft, of which each takes over what it would
    have written itself. Greedy answers only; with one view there is nothing to draft for."""
    chunk: int = 128
    """The cache starts with room for so many new tokens and doubles that room whenever it is full; with at least 1,024
    where kernels read no free room."""
    slots: int | Literal["auto"] = 20
    """Queries decoded side by side. auto: at each length as many as the device holds beside the adapters."""
    max_new_tokens: int | None = None
    """None: the room that the domain reserves for an answer."""

    def __post_init__(self) -> None:
        _at_least_one(self, "views", "samples", "chunk", "slots", "max_new_tokens", "search_passes")
        if self.temperature < 0:
            raise ValueError(f"temperature: {self.temperature}, must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p}, must lie in (0, 1]; 1 keeps every token")
        if self.search_above is not None and not 0.001 <= self.search_above < 1:
            raise ValueError(f"search_above: {self.search_above}, must lie in [0.001, 1)")
        if self.search_above is not None and self.temperature > 0:
            raise ValueError(f"search_above: needs greedy answers to search from; temperature is {self.temperature}")
        if self.speculate and self.temperature > 0:
            raise ValueError(f"speculate: drafts are held against greedy answers; temperature is {self.temperature}")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"samples: {self.samples} of a view would be the same; set a temperature above 0")


@dataclass(frozen=True)
class SelectConfig:
    """How candidates become ranked answers."""

    method: Literal[
        "vote",
        "hierarchical_vote",
        "product_of_experts",
        "mixture_of_experts",
        "calibrated_experts",
        "vote_and_likelihood",
    ] = "vote"
    """vote and hierarchical_vote count candidates; the others need the likelihood of candidates under many views."""
    attempts: int = 2
    score_candidates: int = 8
    """Methods that need likelihoods: the likeliest candidates are scored, at most so many a query."""
    score_views: int | None = None
    """Likewise: score under so many views drawn anew; None: under those that were decoded."""

    def __post_init__(self) -> None:
        _at_least_one(self, "attempts", "score_candidates", "score_views")


@dataclass(frozen=True)
class MeshConfig:
    """How the devices of a process share the work; -1 takes what the others leave (ttt_jax/runtime/mesh.py)."""

    task: int = -1
    """Devices with tasks of their own and the whole base."""
    fsdp: int = 1
    """Devices with tasks of their own that split the base and gather each layer when it is used."""
    tensor: int = 1
    """Devices that share the work of a task: heads, MLP and vocabulary are split."""

    def __post_init__(self) -> None:
        sizes = (self.task, self.fsdp, self.tensor)
        if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
            raise ValueError(
                f"task {self.task}, fsdp {self.fsdp}, tensor {self.tensor}: each must be at least 1, one may be -1"
            )


@dataclass(frozen=True)
class HostsConfig:
    """Several processes with devices of their own share the tasks of a run (ttt_jax/runtime/distributed.py)."""

    coordinator: str | None = None
    """auto: jax.distributed finds the others (Cloud TPU slices, SLURM, Open MPI). host:port of process 0: with
    `count` and `index`. None: the hosts do not speak to each other; `count` and `index` alone say who does what."""
    count: int | None = None
    """Processes of the run."""
    index: int | None = None
    """This process, from 0."""
    results: str | None = None
    """A folder that all hosts reach, or the URL of one in an object store (gs://bucket/run). None: run_dir/results."""

    def __post_init__(self) -> None:
        if self.coordinator == "auto":
            return
        if (self.count is None) != (self.index is None) or (self.coordinator and self.count is None):
            raise ValueError("count and index go together, and with the address of a coordinator both are needed")
        if self.count is not None and self.index is not None and not 0 <= self.index < self.count:
            raise ValueError(f"index: {self.index}, must lie between 0 and count - 1 = {self.count - 1}")


@dataclass(frozen=True)
class RunConfig:
    """One run of scripts/ttt.py: tasks in, ranked answers and metrics out."""

    run_dir: str = "runs/ttt"
    model: str = "arc-small"
    """A shipped name (arc-small, smollm2-135m-instruct), a Hugging Face directory or one of ours, or a .gguf file."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    quantize: Literal["int8", "nf4"] | None = None
    """Keep the base's kernels in 8 or 4 bits (QLoRA, arXiv 2305.14314); adapters stay in float32."""
    kernels: Literal["auto", "library", "xla"] = "auto"
    """Of attention: `auto` takes cuDNN and our own on GPUs, splash attention on TPUs; `library` all but our own; `xla`
    is plain XLA."""
    arms: tuple[Literal["in_context", "adapted"], ...] = ("in_context", "adapted")
    seed: int = 0
    lengths: tuple[int, ...] = (
        *range(32, 257, 32),
        *range(320, 513, 64),
        *range(640, 2049, 128),
        *range(2304, 4097, 256),
        *range(4608, 8193, 512),
    )
    """Length buckets: sequences and prompts are padded to the smallest that fits. A run compiles at most one
    program a bucket of each kind, and at most one a group of `slots` tasks, so many buckets cost nothing."""
    save_adapters: bool = False
    """Keep every task's adapter in the run directory (adapters/)."""
    load_adapters: str | None = None
    """A run directory with adapters: decode with those instead of adapting."""
    tasks: TasksConfig = field(default_factory=TasksConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """`adapt.slots` and `decode.slots` count for each device (each `mesh.tensor` group of devices)."""
    hosts: HostsConfig = field(default_factory=HostsConfig)

    def __post_init__(self) -> None:
        if not self.arms:
            raise ValueError("arms: empty, choose from in_context and adapted")
        if self.quantize is not None and self.adapt.trainable == "full":
            raise ValueError(f"quantize: a base in {self.quantize} cannot be trained; set adapt.trainable to lora")
        for option, lengths in (("lengths", self.lengths), ("adapt.lengths", self.adapt_lengths)):
            if not lengths or min(lengths) < 1:
                raise ValueError(f"{option}: {lengths}, must be one or more numbers of tokens")

    @property
    def adapt_lengths(self) -> tuple[int, ...]:
        """Length buckets of training sequences."""
        return self.lengths if self.adapt.lengths is None else self.adapt.lengths
