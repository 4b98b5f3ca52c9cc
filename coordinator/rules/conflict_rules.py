"""Conflicts between two agents: who decides, and what can be decided. Pure; what follows is in `coordinator.rules.conflict_steps`.

A conflict is between the *requester*, who wants a path, and the *holder*, who has it. It is `open` until somebody decides,
`decided` until the last step is done.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What the two met at."""

    LOCK = "lock"
    """The holder has the lock that the requester asks for."""
    OVERLAP = "overlap"
    """Both are to change the same files; the requester has not begun."""
    MERGE = "merge"
    """What the requester has done does not fit together with what the holder has merged."""
    DEADLOCK = "deadlock"
    """Each waits for the other."""


class ConflictState(enum.StrEnum):
    """How far it is."""

    OPEN = "open"
    DECIDED = "decided"
    CARRIED_OUT = "carried-out"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Choice(enum.StrEnum):
    """What can be decided."""

    RELEASE = "release"
    """The holder gives the lock back, or loses it after a while."""
    SEQUENCE = "sequence"
    """One goes first, the other waits until it has ended or stopped."""
    FORK = "fork"
    """Both go on, each on its own branch; the arbiter merges what does not fit together."""
    MERGE_PLAN = "merge_plan"
    """Both go on; a named one of them, or the arbiter, merges, after the others have ended."""


STANDING = frozenset({ConflictState.OPEN, ConflictState.DECIDED})
APART = frozenset({Choice.FORK, Choice.MERGE_PLAN})
"""Choices with which both change the file at the same time."""
_CHOICES: Mapping[Kind, tuple[Choice, ...]] = {
    Kind.LOCK: (Choice.RELEASE, Choice.SEQUENCE, Choice.FORK, Choice.MERGE_PLAN),
    Kind.DEADLOCK: (Choice.RELEASE, Choice.SEQUENCE, Choice.FORK, Choice.MERGE_PLAN),
    Kind.OVERLAP: (Choice.SEQUENCE, Choice.FORK, Choice.MERGE_PLAN),
    Kind.MERGE: (Choice.MERGE_PLAN, Choice.FORK),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """An agent on the way to its root."""

    id: int
    is_ended: bool = False


def arbiter(one: Sequence[Ancestor], other: Sequence[Ancestor]) -> int | None:
    """Who decides between two agents: their lowest common ancestor that has not ended; None: people.

    Args:
        one: The agent itself, its parent, and so on up to its root.
        other: The same of the other agent. An agent above the other one decides itself.
    """
    common = {ancestor.id for ancestor in other}
    return next((ancestor.id for ancestor in one if ancestor.id in common and not ancestor.is_ended), None)


def choices(kind: Kind) -> tuple[Choice, ...]:
    """What can be decided about a conflict of this kind."""
    return _CHOICES[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A choice, and who comes first or merges."""

    choice: Choice
    order: tuple[int, ...]
    """Agents. Of `sequence` first and second; of `fork` and `merge_plan` the one that merges; of `release` none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The agents of a conflict."""

    requester: int
    holder: int
    arbiter: int | None

    def other(self, agent: int) -> int:
        """The other one of the two."""
        return self.holder if agent == self.requester else self.requester


def default(kind: Kind, sides: Sides, *, holder_waits_for_requester: bool = False) -> Decision:
    """What is decided when nobody does in time: the holder first; of a merge: who comes later merges.

    Args:
        holder_waits_for_requester: By a dependency between their issues: then the other way round, or none would ever go on.
    """
    if kind == Kind.MERGE:
        return Decision(choice=Choice.MERGE_PLAN, order=(sides.requester,))
    order = (sides.holder, sides.requester)
    return Decision(choice=Choice.SEQUENCE, order=order[::-1] if holder_waits_for_requester else order)


def settled(kind: Kind, sides: Sides, *, choice: Choice, order: Sequence[int]) -> Decision:
    """A decision with what was left out filled in.

    Raises:
        ValueError: It makes no sense for this conflict; the message says what would.
    """
    if choice not in choices(kind):
        raise ValueError(f"a conflict of kind {kind} is ended by {', '.join(choices(kind))}, not by {choice}")
    two = (sides.requester, sides.holder)
    named = tuple(dict.fromkeys(order))
    if choice == Choice.RELEASE:
        return Decision(choice=choice, order=())
    if choice == Choice.SEQUENCE:
        first = named[0] if named else sides.holder
        if first not in two or not set(named) <= set(two):
            raise ValueError(f"the order may name the agents {two[0]} and {two[1]} only")
        return Decision(choice=choice, order=(first, sides.other(first)))
    if choice == Choice.FORK:
        return Decision(choice=choice, order=(sides.arbiter if sides.arbiter is not None else sides.requester,))
    merger = named[0] if named else sides.requester
    allowed = [agent for agent in (*two, sides.arbiter) if agent is not None]
    if merger not in allowed or len(named) > 1:
        raise ValueError(f"name one agent that merges: {', '.join(map(str, dict.fromkeys(allowed)))}")
    if kind == Kind.MERGE and merger == sides.holder != sides.arbiter:
        raise ValueError(f"agent {merger} has merged its work already; {sides.requester} can merge, or the arbiter")
    return Decision(choice=choice, order=(merger,))


def overlaps(one: Collection[str], other: Collection[str]) -> bool:
    """Whether two lists of paths may mean the same file; in doubt they do.

    Only for joining conflicts of the same two agents: what locks overlap is the grid's to say.
    """
    return any(_may_meet(a, b) for a in one for b in other)


def _may_meet(one: str, other: str) -> bool:
    (a, a_is_cut), (b, b_is_cut) = _fixed(one), _fixed(other)
    return _may_hold(a, b, is_cut=a_is_cut) or _may_hold(b, a, is_cut=b_is_cut)


def _may_hold(one: str, other: str, *, is_cut: bool) -> bool:
    """Whether the second may be or lie below the first: `a` is no folder of `ab`, but what is cut off may go on so."""
    return one in ("", ".") or other == one or other.startswith(one if is_cut else f"{one}/")


def _fixed(pattern: str) -> tuple[str, bool]:
    """A pattern up to its first wildcard, in lower case, and whether there was one."""
    ends = [pattern.find(mark) for mark in "*?[\\" if mark in pattern]
    return (pattern[: min(ends)] if ends else pattern).strip("/").casefold(), bool(ends)
