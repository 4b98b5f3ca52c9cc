"""What the rest of agent-grid may ask of the grid about locks on paths. Thin; docs/locks.md."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from grid.locks import ending, pruning, reading, service
from grid.locks.types import Answer, LockView

__all__ = [
    "Answer",
    "LockView",
    "acquire",
    "blockers_of",
    "break_lock",
    "deadlocks",
    "double_writers",
    "held",
    "kept_to_the_end",
    "left_behind",
    "old_subjects",
    "open_of",
    "overlapping",
    "overlapping_patterns",
    "prune",
    "release",
    "stale_against",
    "stale_writes",
    "sweep",
    "tokens_above_counter",
    "waiting",
]


def acquire(
    execution_id: UUID,
    *,
    fence: int,
    path: str,
    mode: str = "write",
    wait: bool = False,
    reason: str = "",
    seconds: float | None = None,
) -> Answer:
    """Take a lock for a running execution, or stand in line for it; returns at once. Raises LockError."""
    return service.acquire(execution_id, fence=fence, path=path, mode=mode, wait=wait, reason=reason, seconds=seconds)


def release(execution_id: UUID, *, fence: int, path: str) -> bool:
    """Give a lock back, or leave the line for it; False when there was none. Raises LockPatternError."""
    return service.release(execution_id, fence=fence, path=path)


def held(*, repository: str = "", execution_id: UUID | None = None) -> list[LockView]:
    """Locks that count now, oldest first."""
    return reading.held(repository=repository, execution_id=execution_id)


def waiting(*, repository: str = "", execution_id: UUID | None = None) -> list[LockView]:
    """Who waits for a lock, in line."""
    return reading.waiting(repository=repository, execution_id=execution_id)


def open_of(execution_ids: Collection[UUID]) -> list[LockView]:
    """What these executions hold and wait for, by one statement."""
    return reading.open_of(execution_ids)


def blockers_of(lock_id: int) -> list[LockView]:
    """What a waiting one waits for."""
    return reading.blockers_of(lock_id)


def overlapping(
    repository: str, paths: Iterable[str], *, but: Collection[UUID] = (), only: Collection[UUID] | None = None
) -> list[LockView]:
    """Write locks of running executions on any of these paths, as git names them; without those of some, or only of some."""
    return reading.overlapping(repository, paths, but=but, only=only)


def overlapping_patterns(repository: str, texts: Iterable[str], *, but: Collection[UUID] = ()) -> list[LockView]:
    """The same for patterns, such as a footprint. Raises LockPatternError."""
    return reading.overlapping_patterns(repository, texts, but=but)


def break_lock(lock_id: int, *, actor: str, reason: str, to: UUID | None = None) -> LockView:
    """Take a lock away; `to` names the waiting execution that gets it next. Raises LockError."""
    return ending.break_lock(lock_id, actor=actor, reason=reason, to=to)


def stale_writes(execution_id: UUID, paths: Iterable[str]) -> list[LockView]:
    """Locks that a run lost, and somebody else got after it, on paths that it changed."""
    return reading.stale_writes(execution_id, paths)


def stale_against(execution_ids: Collection[UUID], paths: Iterable[str]) -> list[tuple[str, LockView, LockView]]:
    """The same for runs that went on from each other: path, lock that was lost, and each that somebody got after it."""
    return reading.stale_against(execution_ids, paths)


def kept_to_the_end(execution_id: UUID, paths: Iterable[str]) -> set[str]:
    """Which of these paths a run held a write lock on until its end."""
    return reading.kept_to_the_end(execution_id, paths)


def deadlocks(repository: str) -> list[list[UUID]]:
    """Circles of executions that wait for each other now."""
    return reading.deadlocks(repository)


def double_writers() -> list[tuple[LockView, LockView]]:
    """Pairs of locks that cannot be held at once and are; none when all is well."""
    return reading.double_writers()


def left_behind() -> list[LockView]:
    """Open locks and waits of executions that have ended; none when all is well."""
    return reading.left_behind()


def tokens_above_counter() -> list[tuple[str, int]]:
    """Repositories with a fencing token that their counter never gave; none when all is well."""
    return reading.tokens_above_counter()


def sweep() -> int:
    """End locks that count no more and hand them over; returns how many."""
    return ending.sweep()


def old_subjects(*, before: datetime) -> set[str]:
    """Subjects of the executions that ended before a time and whose locks are still on record."""
    return pruning.old_subjects(before=before)


def prune(*, before: datetime, settled: Collection[str]) -> int:
    """Remove locks of executions that ended before a time, unless a publication may still ask for them; returns how many.

    Args:
        settled: Of `old_subjects`, those whose work was taken, or never will be.
    """
    return pruning.prune(before=before, settled=settled)
