"""As many slots as the device holds, where `adapt.slots` or `decode.slots` is auto."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ttt_jax.adapt.plan import Plan, SlotsFor
from ttt_jax.compilation import ENDLESS, SMALL, Needs, gib
from ttt_jax.programs import Programs

MakePlan = Callable[[SlotsFor | None, SlotsFor | None], Plan]
Cap = tuple[str, int]
"""A stage and a length, at which no more slots fit than a number."""


def fit(
    make: MakePlan,
    programs: Programs,
    tasks: int,
    queries: int,
    limit: int,
    finished: Collection[str] = (),
    rooms: int | None = None,
) -> Plan:
    """The plan with the most slots that are of use and fit, all its programs compiled.

    The first guess needs no compiler: as many slots as computing fast asks for
    and, in decoding, as the caches leave room for. It mostly fits, and then the
    run compiles what it will run and nothing else. What proves too large gets
    fewer slots, and only what that changes is compiled again.

    Args:
      make: `make_plan` of the run's tasks, given slots at each length where they are auto.
      programs: of the run.
      tasks, queries: of the run; more are never side by side.
      limit: bytes of the device.
      finished: tasks that are left out of what is compiled.
      rooms: as for `Programs.of_plan`.

    Raises:
      ValueError: not even one slot fits.
    """
    adapting = programs.most_adapting(tasks)
    beside = max((pool.slots for pool in make(adapting, lambda length: 1).pools), default=0)
    beside = 0 if programs.config.load_adapters else beside
    most = {"adapt": adapting, "decode": programs.most_decoding(queries, limit, beside)}
    auto = {stage for stage, slots in most.items() if slots}
    caps: dict[Cap, int] = {}

    def capped(stage: str) -> SlotsFor | None:
        slots = most[stage]
        return None if slots is None else lambda length: min(slots(length), caps.get((stage, length), slots(length)))

    while True:
        plan = make(capped("adapt"), capped("decode"))
        if not auto:
            return plan
        left = plan.without(set(finished))
        lower = _lower(programs.compile(programs.of_plan(left, rooms)), left, auto, limit)
        if not lower:
            return plan
        caps |= lower


def _lower(needs: Sequence[Needs], plan: Plan, auto: set[str], limit: int) -> dict[Cap, int]:
    """Where slots are to be lowered, and to what, for programs that do not fit."""
    lengths = {
        "adapt": {pool.length for pool in plan.pools},
        "decode": {group.prompt_length for group in plan.groups},
    }
    caps: dict[Cap, int] = {}
    for need in needs:
        program = need.program
        if program.stage == SMALL or program.stage not in auto or need.bytes <= limit:
            continue
        # The prompts that candidates are scored after may fall into a longer bucket than those that were decoded.
        length = max((n for n in lengths[program.stage] if n <= program.length), default=program.length)
        if program.slots == 1:
            raise ValueError(
                f"{program.stage}.slots: not even one fits at {length} tokens in {gib(limit)}; "
                "lower adapt.batch_size or decode.views, set adapt.remat, or leave out longer tasks"
            )
        # Bytes grow in a straight line from what does not depend on slots, so this is never too few by much.
        held = program.parts.get("parameters", 0)
        share = 0.5 if need.temporary == ENDLESS else max(limit - held, 0) / (need.bytes - held)
        fewer = max(1, min(program.slots - 1, int(program.slots * share)))
        caps[program.stage, length] = min(fewer, caps.get((program.stage, length), fewer))
    return caps
