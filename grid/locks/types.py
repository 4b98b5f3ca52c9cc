"""What callers of the locks see: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class LockView:
    """A lock, or somebody who waits for one."""

    id: int
    repository: str
    pattern: str
    mode: str
    """`read` or `write`."""
    state: str
    """`held`, `waiting`; once it is over `released`, `expired`, `broken`, `withdrawn`."""
    execution_id: UUID
    subject: str
    """Of its execution: `issue:12`."""
    token: int
    """Fencing token; 0 while it waits."""
    since: datetime | None
    """When it was granted; when it was asked for, while it waits."""
    until: datetime | None
    """When it ends by itself unless its run's lease is renewed."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of asking for a lock."""

    granted: bool
    lock: LockView | None = None
    """The lock that grants it."""
    is_new: bool = True
    """Of one that is granted: whether the execution had no lock on this very path or above it before."""
    blockers: tuple[LockView, ...] = ()
    """Who holds it, and who waits for it longer."""
    ticket: int | None = None
    """Number of the place in the line; None when it does not wait."""
    code: str = ""
    """Why not: `locked`, `waiting`, `deadlock`; empty when granted."""
    circle: tuple[UUID, ...] = ()
    """With `deadlock`: executions, each of which waits for the next one and the last for the first."""
