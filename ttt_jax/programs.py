"""Which programs a run has, in which shapes, and how many slots the device holds."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ttt_jax.adapt.adapt import Adapter, copied
from ttt_jax.adapt.loop import enter_slots, take_slot
from ttt_jax.adapt.packed import pack_slot, unpack
from ttt_jax.adapt.plan import Group, Plan, Pool, SlotsFor
from ttt_jax.bench.counts import tree_bytes
from ttt_jax.compilation import ENDLESS, SMALL, Needs, Program, compile_all, gib, size_of, small
from ttt_jax.config import RunConfig
from ttt_jax.decode.candidates import reuses_prompts, score_length, score_shapes, search_options, stack_size
from ttt_jax.decode.generate import Begun, DecodeState, Prompts, Rules, decode_chunk, first_room, grow, prefill
from ttt_jax.decode.lots import Tails, scored_together
from ttt_jax.decode.params import cast, take
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.score import read_heads, score_tails, view_heads
from ttt_jax.decode.search import branch_points
from ttt_jax.decode.speculate import check, draft_rooms, draft_rules, speculates
from ttt_jax.decode.views import scoring_views
from ttt_jax.decode.written import placed
from ttt_jax.evaluate.records import ADAPTED
from ttt_jax.model.cache import Cache
from ttt_jax.runtime import mesh
from ttt_jax.runtime.memory import most_slots
from ttt_jax.select.rank import SCORED
from ttt_jax.tasks.task import Domain

STEP_TOKENS = 1 << 17
"""`adapt.slots` auto: more tokens in a step fill no accelerator better."""
DECODE_ROWS = 1 << 9
"""`decode.slots` auto: likewise, rows of a decoding step."""
CACHES = 0.45
"""`decode.slots` auto: share of the memory for parameters, adapters and caches. More rows of long caches than that
decode no faster: every row reads its own."""


class _Reading(NamedTuple):
    """What reads prompts and chooses first tokens: `prefill` or `check`.

    Attributes:
      about: begins the names of the programs.
      function: jitted.
      rows: prompts of each query.
      inputs: shapes of what it takes after the prompts.
      options: static ones that only it has.
    """

    about: str
    function: Any
    rows: int
    inputs: tuple[Any, ...]
    options: dict[str, Any]


class Programs:
    """Makes the programs of a run.

    Args:
      adapter: with the model, the base and how to adapt.
      domain: of the tasks.
      config: the run.
    """

    def __init__(self, adapter: Adapter, domain: Domain, config: RunConfig):
        self.adapter, self.domain, self.config = adapter, domain, config
        self.parameters = tree_bytes(adapter.base)
        self._compiled: dict[tuple[int, str], Needs] = {}

    def adapt(self, slots: int, length: int) -> Program:
        """One chunk of a pool."""
        adapt, adapter = self.config.adapt, self.adapter
        state = self._state(slots)
        shape = (slots, adapt.chunk, adapt.batch_size, length)
        batches = {
            "tokens": jax.ShapeDtypeStruct(shape, jnp.int32),
            "positions": jax.ShapeDtypeStruct((*shape, self.domain.position_axes), jnp.int32),
            "weights": jax.ShapeDtypeStruct(shape, jnp.float32),
        }
        chunk: Any = adapter.chunk
        parts = {
            "parameters": self.parameters,
            "adapters": tree_bytes(state.train.trainable),
            "optimizer": tree_bytes(state.train.opt_state),
            # Of this chunk and of the next.
            "batches": 2 * tree_bytes(batches),
        }
        name = f"adapt {slots} x {adapt.batch_size} x {length}"
        return Program("adapt", name, slots, length, lambda: chunk.lower(state, adapter.frozen, batches), parts)

    def decode(self, slots: int, length: int, arm: str, beside: int, rooms: int | None = None) -> Iterator[Program]:
        """The reading of a group's prompts, and the writing of answers into each size of cache.

        Args:
          beside: slots of adaptation whose state lies on the device meanwhile.
          rooms: only the first so many sizes of cache.
        """
        decode = self.config.decode
        if speculates(decode):
            yield from self._by_drafts(slots, length, arm, beside, rooms)
            return
        rules, samples = self._rules(Sampling(decode.temperature, decode.top_p)), decode.samples
        keys = _keys(slots, decode.views * samples)
        reading = _Reading("", prefill, decode.views, (keys, None), {"samples": samples})
        yield from self._generate(reading, rules, slots, length, decode.chunk, arm, beside, rooms)

    def _by_drafts(self, slots: int, length: int, arm: str, beside: int, rooms: int | None) -> Iterator[Program]:
        """The first view alone, then the others with drafts in each room (`decode_by_drafts`)."""
        decode, rows = self.config.decode, self.config.decode.views - 1
        rules, group = draft_rules(self.domain, decode), (decode.chunk, arm, beside, rooms)
        held = 0
        alone = _Reading("first view: ", prefill, 1, (_keys(slots, 1), None), {"samples": 1})
        for program in self._generate(alone, rules, slots, length, *group):
            held = max(held, program.parts.get("cache", 0))
            yield program
        written = jax.ShapeDtypeStruct((slots, rows), jnp.int32)
        for room in draft_rooms(decode.chunk, self._longest())[:rooms]:
            reading = _Reading(f"drafts of {room}: ", check, rows, (written, _keys(slots, rows)), {"room": room})
            for program in self._generate(reading, rules, slots, length + room, *group):
                # The first view's cache stays where scoring takes up what was read.
                parts = {name: size + held if name == "cache" else size for name, size in program.parts.items()}
                yield replace(program, length=program.length and length, parts=parts)

    def search(self, slots: int, length: int, arm: str, beside: int, rooms: int | None = None) -> Iterator[Program]:
        """The looking for branches and the going on from them in each room, where the run searches.

        Args:
          length: of prompts.
          beside: as for `decode`.
          rooms: only the first so many rooms, and sizes of cache in each.
        """
        if self.config.decode.search_above is None:
            return
        looked = search_options(self.config.decode, self.domain)
        rows = self.config.decode.views  # greedy: one sample of each
        model, base, adapted = self.adapter.model, self.adapter.base, self._adapted(slots) if arm == ADAPTED else None
        counts, nats = (jax.ShapeDtypeStruct((slots, rows), dtype) for dtype in (jnp.int32, jnp.float32))
        static = {"syntax": looked.syntax, "grammar": looked.grammar, "longest": looked.max_new_tokens}
        for room in looked.rooms[:rooms]:
            width = length + room
            prompts = self._prompts(slots, rows, width)
            yield small(
                f"search: place {slots} x {rows} x {width}",
                placed, looked.syntax, prompts, counts, looked.max_new_tokens,
            )  # fmt: skip
            inputs = (model, base, adapted, prompts, counts, counts, jax.ShapeDtypeStruct((), jnp.float32))
            yield Program(
                "decode", f"search: branches of {slots} x {rows} x {width}, {arm}", slots, length,
                lambda inputs=inputs: branch_points.lower(*inputs, **static, most=looked.branches),
                self._parts(adapted, beside),
            )  # fmt: skip
            begun: Any = Begun(counts, nats, nats, counts)  # pyright: ignore[reportArgumentType]
            reading = _Reading("search: ", prefill, rows, (_keys(slots, rows), begun), {"samples": 1})
            for program in self._generate(reading, self._rules(Sampling()), slots, width, room, arm, beside, rooms):
                yield replace(program, length=length)

    def _generate(
        self, reading: _Reading, rules: Rules, slots: int, length: int, room: int, arm: str, beside: int,
        rooms: int | None,
    ) -> Iterator[Program]:  # fmt: skip
        """What `generate` runs, or `decode_by_drafts`: reading prompts, then writing and making room in turn."""
        model, rows, longest = self.adapter.model, reading.rows, self._longest()
        # The compute type is that of the base: casting gives it back as it is.
        base, adapted = self.adapter.base, self._adapted(slots) if arm == ADAPTED else None
        inputs = (base, adapted, self._prompts(slots, rows, length), *reading.inputs)
        parts = self._parts(adapted, beside)
        state: Any = None
        for size in _doubling(first_room(model, room, longest), longest - 1)[:rooms]:
            if state:
                name = f"{slots} x {rows}, room for {size} tokens after {length}"
                yield small(name, grow, state.cache, slots=length + size)
            before = state
            options = {"rules": rules, "slots": length + size, "longest": longest, **reading.options}
            out = jax.eval_shape(partial(reading.function, model, **options), *inputs)
            state = out if isinstance(out, DecodeState) else out[0]
            cache = {**parts, "cache": tree_bytes(state.cache)}
            if not before:
                yield Program(
                    "decode", f"{reading.about}read {slots} x {rows} x {length}, {arm}", slots, length,
                    lambda options=options: reading.function.lower(model, *inputs, **options), cache,
                )  # fmt: skip
            # A cache that grows lies there twice for a moment, once half as large.
            yield Program(
                "decode", f"{reading.about}write {size + 1} tokens after {length}, {arm}", slots, length,
                lambda state=state: decode_chunk.lower(model, base, adapted, state, rules=rules),
                {**cache, "cache": tree_bytes(state.cache) * (3 if before else 2) // 2},
            )  # fmt: skip

    def _longest(self) -> int:
        return self.config.decode.max_new_tokens or self.domain.max_answer_tokens

    def _rules(self, sampling: Sampling) -> Rules:
        domain = self.domain
        return Rules(domain.syntax, domain.stop_tokens, domain.pad_token, sampling, self.config.decode.grammar)

    def _prompts(self, slots: int, rows: int, length: int) -> Any:
        shapes = ((slots, rows, length), (slots, rows, length, self.domain.position_axes), (slots, rows))
        return Prompts(*(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes))  # pyright: ignore[reportArgumentType]

    def score(
        self, slots: int, length: int, arm: str, beside: int, rooms: int | None = None, queries: int = 1
    ) -> Iterator[Program]:
        """The reading of one prompt a query, and the scoring of answers in each room, where selection needs that.

        Args:
          length: of prompts (`score_length`).
          beside: as for `decode`.
          rooms: only the first so many rooms.
          queries: of the group; what was read of more than `slots` is not kept.
        """
        decode = self.config.decode
        if self.config.select.method not in SCORED:
            return
        shapes = score_shapes(length, self.domain, self.config)
        (lots, rows), adapts = scored_together(slots, shapes.rows), arm == ADAPTED
        model, base = self.adapter.model, self.adapter.base
        of_queries, of_lots = (self._adapted(n) if adapts else None for n in (slots, lots))
        axes = self.domain.position_axes
        integers = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)  # noqa: E731
        which = integers(lots) if mesh.alone() else None
        if adapts and which is not None:
            yield small(f"take {lots} of {slots} to score", take, of_queries, which)
        heads = [(integers(n, length), integers(n, length, axes), integers(n)) for n in (slots, lots)]
        read, prefix = (
            jax.eval_shape(partial(read_heads, model), base, adapted, *of)
            for adapted, of in zip((of_queries, of_lots), heads, strict=True)
        )
        # The prompts of one batch are taken up while the answers of another are scored.
        held = 2 * tree_bytes(prefix)
        reuses = reuses_prompts(self.config, self.domain, queries, slots)
        if reuses:
            kept = 0
            for decoded, room in self._caches(rooms):
                empty = partial(Cache.empty, model.config, decoded, length + room, model.dtype)
                cache = jax.eval_shape(jax.vmap(lambda _, empty=empty: empty()), integers(slots))
                name = f"view of {slots} x {decoded} x {length} + {room}"
                yield small(
                    name, view_heads, cache.keys, cache.values, integers(), which, integers(lots), length=length
                )
                kept = max(kept, tree_bytes(cache))
            # The first view's cache, where that has one of its own, is no larger than a view's share of the others'.
            kept = kept * decode.views // (decode.views - 1) if speculates(decode) else kept
            held += kept
        elif which is not None:
            held += 2 * tree_bytes(read)
        parts = {**self._parts(of_queries, beside), "cache": held}
        if not reuses:
            yield Program(
                "decode", f"score: read {slots} x {length}, {arm}", slots, length,
                lambda: read_heads.lower(model, base, of_queries, *heads[0]), parts,
            )  # fmt: skip
            if which is not None:
                yield small(f"take prompts of {lots} of {slots} x {length}", take, read, which)
        for room in shapes.rooms[:rooms]:
            shape = (lots, rows, room)
            tails: Any = Tails(integers(*shape), integers(*shape, axes), integers(*shape), integers(*shape[:2]))  # pyright: ignore[reportArgumentType]
            yield Program(
                "decode", f"score {lots} x {rows} x {room} tokens after {length}, {arm}", slots, length,
                lambda tails=tails: score_tails.lower(model, base, of_lots, prefix, tails, integers(rows)), parts,
            )  # fmt: skip

    def _caches(self, rooms: int | None) -> Iterator[tuple[int, int]]:
        """Rows of a query, and slots beyond its prompts, of the caches that decoding may leave."""
        decode = self.config.decode
        longest = self._longest()
        sizes = _doubling(first_room(self.adapter.model, decode.chunk, longest), longest - 1)[:rooms]
        if not speculates(decode):
            yield from ((decode.views * decode.samples, size) for size in sizes)
            return
        yield from ((1, size) for size in sizes)
        for room in draft_rooms(decode.chunk, self._longest())[:rooms]:
            yield from ((decode.views - 1, room + size) for size in sizes)

    def of_plan(self, plan: Plan, rooms: int | None = None) -> list[Program]:
        """Every program of a plan; `rooms` as for `decode`, `search` and `score`.

        Domains whose queries share prompts decode in shapes that are found as they come: these are left out.
        """
        found: dict[str, Program] = {}
        trains = not self.config.load_adapters
        for pool in plan.pools if trains else ():
            for program in (self.adapt(pool.slots, pool.length), *self._of_pool(pool)):
                found.setdefault(program.name, program)
        beside = max((pool.slots for pool in plan.pools), default=0) if trains else 0
        for group in plan.groups:
            for program in self._of_group(group, beside, rooms):
                found.setdefault(f"{program.slots} {program.name}", program)
        return list(found.values())

    def _of_pool(self, pool: Pool) -> Iterator[Program]:
        """What lets jobs into the slots of a pool and out of them, and asks whether they are done."""
        adapter, n, length = self.adapter, pool.slots, pool.length
        state = self._state(n)
        numbers = lambda dtype, *shape: jax.ShapeDtypeStruct(shape, dtype)  # noqa: E731
        left = {"failed": state.failed, "step": state.train.step}
        yield small(f"start {n}", adapter.start, adapter.given, numbers(jnp.uint32, n), numbers(jnp.int32, n))
        yield small(f"enter {n}", enter_slots, state, state, numbers(jnp.bool_, n))
        yield small(f"leave {n}", pack_slot if mesh.alone() else take_slot, state.train.trainable, numbers(jnp.int32))
        yield small(f"report {n}", copied, left)
        if self.config.adapt.stop_demo:
            question = {
                "tokens": numbers(jnp.int32, n, length),
                "positions": numbers(jnp.int32, n, length, self.domain.position_axes),
                "weights": numbers(jnp.float32, n, length),
            }
            yield small(f"check {n} x {length}", adapter.check, state.train.trainable, adapter.frozen, question)

    def _of_group(self, group: Group, beside: int, rooms: int | None) -> Iterator[Program]:
        config, domain = self.config, self.domain
        arms = [arm for arm in config.arms if arm != ADAPTED or group.adapted]
        if ADAPTED in arms:
            count, slots = stack_size(len(group.tasks), group.slots), group.slots
            dtype, layout = self.adapter.model.dtype, self.adapter.layout
            if mesh.alone():
                stack, taken = (self._adapted(n) for n in (count, slots))
                vectors = (jax.ShapeDtypeStruct((layout.size,), jnp.float32),) * count
                yield small(f"stack {count}", unpack, vectors, layout=layout, dtype=dtype)
            else:
                stack, taken = (self._state(n).train.trainable for n in (count, slots))
            yield small(f"take {slots} of {count}", take, stack, jax.ShapeDtypeStruct((slots,), jnp.int32))
            yield small(f"cast {slots}", cast, taken, dtype)
        for arm in () if domain.shared_prefix else arms:
            yield from self.decode(group.slots, group.prompt_length, arm, beside, rooms)
            yield from self.search(group.slots, group.prompt_length, arm, beside, rooms)
        if config.select.method not in SCORED:
            return
        queries = [(0, views) for planned in group.tasks for views in planned.views]
        under = scoring_views(queries, config.select.score_views, domain, config.decode, config.seed)
        length = score_length(under, config.lengths)
        # In-context queries after shared prefixes have adapters of zeros (`Solver.neutral`).
        alike = domain.shared_prefix and ADAPTED in config.arms and config.adapt.trainable == "lora"
        for arm in arms:
            yield from self.score(group.slots, length, ADAPTED if alike else arm, beside, rooms, len(queries))

    def answer(self, slots: int, length: int, arm: str, beside: int) -> list[Program]:
        """All that answers prompts of one length."""
        of_length = (slots, length, arm, beside)
        return [*self.decode(*of_length), *self.search(*of_length), *self.score(*of_length)]

    def _adapted(self, slots: int) -> Any:
        """What decoding takes of each query's task, in the compute type."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, self.adapter.model.dtype if x.ndim > 1 else x.dtype),
            self._state(slots).train.trainable,
        )

    def _parts(self, adapted: Any, beside: int) -> dict[str, int]:
        """Bytes that lie on the device whatever is decoded; `beside` as for `decode`."""
        held = self._state(beside).train if beside else None
        return {
            "parameters": self.parameters,
            # Those of the answers in hand: as they come, and in the compute type, one a query.
            "adapters": tree_bytes(held.trainable) + 3 * tree_bytes(adapted) if held else 0,
            "optimizer": tree_bytes(held.opt_state) if held else 0,
        }

    def _state(self, slots: int) -> Any:
        return self.adapter.shapes(slots)

    def compile(self, programs: Sequence[Program]) -> list[Needs]:
        """Compiles programs side by side, each once; calls of the same shapes find them compiled."""
        left = {(program.slots, program.name): program for program in programs}
        left = {key: program for key, program in left.items() if key not in self._compiled}
        self._compiled |= dict(zip(left, compile_all(list(left.values())), strict=True))
        # What lies beside a program may have become known since it was compiled.
        return [replace(self._compiled[program.slots, program.name], program=program) for program in programs]

    # -- Slots that fit ------------------------------------------------------------------------------------

    def most_adapting(self, tasks: int) -> SlotsFor | None:
        """The most `adapt.slots` that are of use at a length, of `tasks` in all; None where they are not auto."""
        batch = self.config.adapt.batch_size
        auto = self.config.adapt.slots == "auto"
        return (lambda length: max(1, min(tasks, STEP_TOKENS // (batch * length)))) if auto else None

    def most_decoding(self, queries: int, limit: int, beside: int) -> SlotsFor | None:
        """The most `decode.slots` that are of use at a length and whose caches leave room; None where not auto.

        The sizes of caches, which are what grows with slots, are known without a compiler.

        Args:
          queries: of the run.
          limit: bytes of the device.
          beside: slots of adaptation whose state lies there meanwhile.
        """
        config = self.config
        if config.decode.slots != "auto":
            return None
        most = max(1, min(queries, DECODE_ROWS // (config.decode.views * config.decode.samples)))

        def held(length: int, slots: int) -> int:
            return max(sum(p.parts.values()) for p in self.answer(slots, length, config.arms[-1], beside))

        @functools.cache
        def slots(length: int) -> int:
            few, many = held(length, 1), held(length, most)
            if many <= CACHES * limit:
                return most
            return max(1, int(1 + (CACHES * limit - few) * (most - 1) / (many - few))) if many > few else 1

        return slots


def _keys(slots: int, rows: int) -> Any:
    return jax.ShapeDtypeStruct((slots, rows, 2), jnp.uint32)


def _doubling(room: int, most: int) -> list[int]:
    """The sizes of a cache that `generate` comes to."""
    sizes = [min(room, most)]
    while sizes[-1] < most:
        sizes.append(min(2 * sizes[-1], most))
    return sizes


def misfits(needs: Sequence[Needs], programs: Programs, limit: int, search: bool = True) -> list[str]:
    """What does not fit, a line each; with `search`, also how many slots would (which takes compilations)."""
    lines, seen = [], set()
    for need in sorted(needs, key=lambda need: -need.bytes):
        program = need.program
        option = f"{program.stage}.slots"
        if program.stage == SMALL or need.bytes <= limit or (option, program.length) in seen:
            continue
        seen.add((option, program.length))

        def smaller(slots: int, program: Program = program) -> float:
            if program.stage == "adapt":
                return size_of(programs.adapt(slots, program.length))
            arm = programs.config.arms[-1]
            return max(size_of(p) for p in programs.answer(slots, program.length, arm, 0))

        size = "more than the compiler can place" if need.temporary == ENDLESS else gib(need.bytes)
        if not search:
            lines.append(f"{program.name} needs {size} of {gib(limit)}")
            continue
        fit = most_slots(smaller, limit, program.slots - 1) if program.slots > 1 else 0
        lines.append(
            f"{program.name} needs {size} of {gib(limit)}: "
            + (f"{option} {fit} fits at {program.length} tokens" if fit else "not even one slot fits")
        )
    return lines
