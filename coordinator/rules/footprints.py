"""What agents mean to change, what they have changed, and what follows from the locks of others. Pure.

A footprint is a list of paths and patterns that somebody declared for an agent before it started: a plan, its parent, a person.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from coordinator.public_errors import InvalidInputError
from grid.public_errors import LockPatternError
from grid.public_paths import LockView, check_pattern, escaped, pattern_covers, patterns_overlap

MAX_PATTERNS = 50
PATIENCE = timedelta(seconds=60)
"""An end waits so long for a path that somebody else has locked, before it is made a conflict."""
MOST_PATIENCE = timedelta(minutes=45)
"""Then it is applied all the same: git finds what cannot be merged."""


class LockMode(enum.StrEnum):
    """`locks` in the policy file: what locks of others mean for a run's work."""

    OFF = "off"
    """Nobody asks for locks, and nobody looks."""
    ADVISORY = "advisory"
    """Agents are told who holds what, and what they changed all the same is recorded."""
    ENFORCED = "enforced"
    """Work on what somebody else has locked waits, and work under a lost lock is not taken."""


class FootprintMode(enum.StrEnum):
    """`footprints` in the policy file: what overlapping ones of a tree mean."""

    SEQUENCE = "sequence"
    """One after the other."""
    TELL = "tell"
    """Each is told of the others that run."""
    ARBITER = "arbiter"
    """Whoever is above both decides, in a conflict; the later one waits for that."""


class Verdict(enum.StrEnum):
    """What becomes of a run's work."""

    TAKE = "take"
    RECORD = "record"
    """Take it, and record what it passed over."""
    WAIT = "wait"
    ASK = "ask"
    """Wait, and make a conflict of it."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known about the paths that a run changed."""

    stale: Sequence[LockView] = ()
    """Locks of its own that it lost, and somebody had later."""
    locked: Sequence[LockView] = ()
    """Write locks of running agents, neither its ancestors nor its descendants, on paths that it did not hold to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An agent that runs now, or whose end is being applied."""

    agent_id: int
    name: str
    patterns: tuple[str, ...]
    """What it declared, and what it has locked."""


def judge(standing: Standing, *, mode: LockMode, waited: timedelta) -> Verdict:
    """What becomes of a run's work.

    Args:
        mode: Of its repository.
        waited: Since the run ended.
    """
    if mode == LockMode.OFF or not (standing.stale or standing.locked):
        return Verdict.TAKE
    if mode == LockMode.ADVISORY:
        return Verdict.RECORD
    if standing.stale:
        return Verdict.REFUSE
    if waited >= MOST_PATIENCE:
        return Verdict.RECORD
    return Verdict.ASK if waited >= PATIENCE else Verdict.WAIT


def waited(ended_at: datetime | None, now: datetime) -> timedelta:
    """How long an end has been waiting; nothing where it is not known."""
    return max(now - ended_at, timedelta()) if ended_at is not None else timedelta()


def of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The footprint of an agent's spec; entries that no lock could have are left out."""
    found = spec.get("footprint")
    return tuple(plain for text in found if (plain := _plain(text))) if isinstance(found, list | tuple) else ()


def checked(texts: Iterable[str]) -> list[str]:
    """A footprint in its plain form. Raises InvalidInputError that names the entry and the fix."""
    found: list[str] = []
    for text in texts:
        try:
            found.append(check_pattern(text))
        except LockPatternError as error:
            raise InvalidInputError(f"footprint: {error}") from error
    if len(found) > MAX_PATTERNS:
        raise InvalidInputError(f"a footprint has {len(found)} entries; at most {MAX_PATTERNS} are read: name folders")
    return list(dict.fromkeys(found))


def is_agreed(text: str, agreed: Iterable[str]) -> bool:
    """Whether a path or pattern lies within one of those about which something was decided. In doubt it does not."""
    for pattern in agreed:
        with contextlib.suppress(LockPatternError):  # it was cut off
            if pattern_covers(pattern, text):
                return True
    return False


def lockable(path: str) -> str:
    """A changed path as locks know it: where its name is none that can be locked, the folder above it that can."""
    while path:
        with contextlib.suppress(LockPatternError):
            check_pattern(escaped(path))
            return path
        path = path.rpartition("/")[0]
    return "."


def at_most(paths: Sequence[str], most: int) -> list[str]:
    """So many paths at most that cover these: where they are more, folders in place of what is in them."""
    found, depth = list(paths), max((path.count("/") for path in paths), default=0)
    while len(found) > most and depth:
        found = list(dict.fromkeys("/".join(path.split("/")[:depth]) for path in found))
        depth -= 1
    return found if len(found) <= most else ["."]


def in_the_way(
    mine: Sequence[str], others: Iterable[Neighbour], agreed: Mapping[int, Sequence[str]] | None = None
) -> list[tuple[Neighbour, str]]:
    """Of these agents those that may change the same files, each with the pattern of its own that says so.

    Args:
        agreed: By agent: patterns of which it was decided that both change them.
    """
    found: list[tuple[Neighbour, str]] = []
    for other in others:
        free = (agreed or {}).get(other.agent_id, ())
        pairs = patterns_overlap(mine, other.patterns)
        left = [theirs for ours, theirs in pairs if not (is_agreed(ours, free) or is_agreed(theirs, free))]
        if left:
            found.append((other, left[0]))
    return found


def in_words(found: Sequence[tuple[Neighbour, str]]) -> str:
    """Who is in the way and where, for people and agents; empty: nobody."""
    return ", ".join(f"{other.name} ({pattern})" for other, pattern in found[:5])


def _plain(text: object) -> str:
    try:
        return check_pattern(text) if isinstance(text, str) else ""
    except LockPatternError:
        return ""
