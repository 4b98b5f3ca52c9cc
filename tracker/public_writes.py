"""What is to be written to trackers: wished for in the transaction that decides it, carried out later, in order.

Errors are those of `tracker.public_errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from tracker import drain as drainer
from tracker import drain_here, outbox, public_api
from tracker.local.tracker import LocalTracker
from tracker.public_types import Write, WriteResult


def wish(repository_id: int, writes: Sequence[Write]) -> None:
    """Insert writes, in order, into the caller's transaction; a key that exists already changes nothing.

    Raises:
        InvalidError: See `tracker.outbox.wish`. Nothing is inserted then.
    """
    outbox.wish(repository_id, writes)


def withdraw(keys: Iterable[str], *, now: datetime) -> int:
    """Take back writes that nobody has attempted yet, in the caller's transaction; returns how many."""
    return outbox.withdraw(keys, now=now)


def drain(repository_id: int, *, now: datetime, limit: int = 50, seconds: float = 20) -> list[WriteResult]:
    """Carry out the repository's due writes in order, at most `limit`; call it outside any transaction.

    No write is started after `seconds`; `now` is the aware time of the decision to drain.

    Returns:
        The writes handled, as they stand now; nothing when another drainer is at work.

    Raises:
        NotFoundError: No such repository.
        RuntimeError: Called inside a transaction.
    """
    tracker = public_api.tracker_for(repository_id)
    if isinstance(tracker, LocalTracker):
        return drain_here.drain(repository_id=repository_id, now=now, limit=limit, seconds=seconds)
    return drainer.drain(repository_id=repository_id, tracker=tracker, now=now, limit=limit, seconds=seconds)


def results(keys: Iterable[str]) -> dict[str, WriteResult]:
    """How writes stand, by key; keys never wished for are left out."""
    return outbox.results(keys)


def latest(prefix: str) -> WriteResult | None:
    """How the last write whose key starts so stands; None when there never was one."""
    return outbox.latest(prefix)


def failed(*, limit: int = 100) -> list[WriteResult]:
    """Writes that failed for ever and wait for an operator, the latest first."""
    return outbox.failed(limit=limit)


def due_repositories(now: datetime) -> list[int]:
    """Ids of active repositories whose next write may be carried out now and which nobody drains."""
    return outbox.due_repositories(now)


def retry(key: str) -> bool:
    """Take a write that failed for ever up again, and with it those that failed only because of it.

    Returns:
        False for a write that is pending or done; nothing happens to it.

    Raises:
        NotFoundError: No such write.
    """
    return outbox.retry(key)


def repository_of(key: str) -> int:
    """Id of the repository that a write belongs to.

    Raises:
        NotFoundError: No such write.
    """
    return outbox.repository_of(key)
