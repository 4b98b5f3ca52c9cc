"""Who stands in whose way, who is next, and who waits in a circle. Pure.

Readers share, a writer is alone. Who came later does not pass somebody who waits: a writer would never get its turn among
readers. One exception: whoever holds what the waiting one waits for may go on, as that one cannot begin before anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from grid.locks.patterns import Pattern, covers, overlap, same

WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An open lock, held or waited for, as far as deciding needs it."""

    id: int
    """Later ones have higher numbers."""
    execution_id: UUID
    pattern: Pattern
    is_write: bool
    is_held: bool
    token: int = 0
    counts: bool = True
    """Whether its execution is live with a lease that runs, and its own time is not over."""


def clash(one: Wish, other: Wish) -> bool:
    """Whether two executions cannot have both at once."""
    if one.execution_id == other.execution_id or not (one.is_write or other.is_write):
        return False
    return overlap(one.pattern, other.pattern)


def blockers(wish: Wish, others: Sequence[Wish]) -> list[Wish]:
    """What a wish has to wait for: what others hold, and what others have waited for longer. Those first that hold."""
    held = [other for other in others if other.is_held and other.counts and clash(wish, other)]
    mine = [other for other in others if other.is_held and other.counts and other.execution_id == wish.execution_id]
    before = [
        other
        for other in others
        if not other.is_held
        and other.counts
        and other.id < wish.id
        and clash(wish, other)
        and not any(clash(own, other) for own in mine)
    ]
    return [*held, *before]


def own(wish: Wish, others: Iterable[Wish]) -> Wish | None:
    """What the same execution holds that grants the wish already: as wide or wider, and as strong."""
    for other in others:
        is_mine = other.execution_id == wish.execution_id and other.is_held and other.counts
        if is_mine and (other.is_write or not wish.is_write) and covers(other.pattern, wish.pattern):
            return other
    return None


def twin(wish: Wish, others: Iterable[Wish], *, is_held: bool) -> Wish | None:
    """The same execution's wish for exactly the same pattern: held (with the other mode perhaps), or waited for in this mode."""
    for other in others:
        is_mine = other.execution_id == wish.execution_id and other.is_held == is_held
        if is_mine and same(other.pattern, wish.pattern) and (is_held or other.is_write == wish.is_write):
            return other
    return None


def next_ones(wishes: Sequence[Wish], *, first: UUID | None = None) -> list[Wish]:
    """Who among the waiting ones gets what it waits for now, in this order.

    Args:
        wishes: All open ones of a repository.
        first: Somebody who goes before all others that wait, by a decision.
    """
    held = [wish for wish in wishes if wish.is_held]
    waiting = sorted((wish for wish in wishes if not wish.is_held and wish.counts), key=lambda wish: wish.id)
    line = sorted(waiting, key=lambda wish: wish.execution_id != first)
    granted: list[Wish] = []
    for place, wish in enumerate(line):
        ahead = [other for other in line[:place] if other not in granted]
        if not blockers(_at_the_end(wish), [*held, *map(_as_held, granted), *ahead]):
            granted.append(wish)
    return granted


def circle(start: UUID, waits_for: Mapping[UUID, Iterable[UUID]]) -> list[UUID]:
    """A shortest circle of executions that wait for each other through `start`, which comes first; empty: there is none."""
    came_from: dict[UUID, UUID] = {}
    line = [start]
    for here in line:
        for there in waits_for.get(here, ()):
            if there == start:
                path = [here]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if there not in came_from:
                came_from[there] = here
                line.append(there)
    return []


def wait_graph(wishes: Sequence[Wish]) -> dict[UUID, set[UUID]]:
    """Of each execution that waits: those it waits for."""
    graph: dict[UUID, set[UUID]] = {}
    for wish in wishes:
        if not wish.is_held and wish.counts:
            found = {other.execution_id for other in blockers(wish, wishes)}
            graph.setdefault(wish.execution_id, set()).update(found)
    return graph


def youngest(circle_of: Sequence[UUID], wishes: Sequence[Wish]) -> Wish:
    """The wish of a circle that came last: it is the one to be refused."""
    waiting = [wish for wish in wishes if not wish.is_held and wish.counts and wish.execution_id in circle_of]
    return max(waiting, key=lambda wish: wish.id)


def _as_held(wish: Wish) -> Wish:
    return Wish(
        id=wish.id,
        execution_id=wish.execution_id,
        pattern=wish.pattern,
        is_write=wish.is_write,
        is_held=True,
        counts=wish.counts,
    )


def _at_the_end(wish: Wish) -> Wish:
    """The same behind everybody: who is ahead of it is given as a list."""
    return Wish(id=2**63, execution_id=wish.execution_id, pattern=wish.pattern, is_write=wish.is_write, is_held=False)
