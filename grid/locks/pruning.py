"""Locks that were over long ago are removed, as soon as no work that may still be taken can be held against them.

Publication holds a run's work against the locks of that run and of those that it went on from, and against later writers
wherever one of these lost a lock. So a row may go when its execution's work is settled, and no run with unsettled work lost
a lock before it was granted: `is_wanted`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Min, Q, QuerySet

from grid.events import rows as event_rows
from grid.locks import turns
from grid.models import FileLock

PRUNED = "lock.pruned"
AT_ONCE = 500
"""Removed in one turn: whoever takes a lock of the repository waits for it."""
OF_REPOSITORY, OF_ALL = 5_000, 20_000
"""Removed in one pass; the next one goes on."""


class Old(NamedTuple):
    """A lock that is over, of an execution that ended long ago."""

    id: int
    execution_id: UUID
    subject: str
    mode: str
    token: int


def is_wanted(row: Old, *, settled: Collection[str], oldest_loss: int | None) -> bool:
    """Whether some publication may still ask for a row.

    Args:
        settled: Subjects whose work was taken, or never will be.
        oldest_loss: The lowest fencing token that a run with unsettled work has lost, or may lose; None: there is none.
    """
    if row.subject not in settled:
        return True
    return row.mode == FileLock.Mode.WRITE and oldest_loss is not None and row.token > oldest_loss


def old_subjects(*, before: datetime) -> set[str]:
    """Subjects of the executions that ended before a time and whose locks are still on record."""
    return set(_old(before).order_by().values_list("execution__subject", flat=True).distinct())


def prune(*, before: datetime, settled: Collection[str]) -> int:
    """Remove locks that are over and that nobody will ask for, of executions that ended before a time; returns how many.

    Bounded: calling again goes on. Whoever takes locks or publishes meanwhile finds what it needs.

    Args:
        settled: Of `old_subjects`, those whose work was taken, or never will be.
    """
    removed = 0
    repositories = _old(before).order_by().values_list("repository", flat=True).distinct()
    for repository in repositories.order_by("?"):  # a busy one is not to keep the others from their turn for ever
        if removed >= OF_ALL:
            break
        removed += _prune(repository, before=before, settled=settled)
    return removed


def _prune(repository: str, *, before: datetime, settled: Collection[str]) -> int:
    # Asked for once: a lock that is granted or lost from now on has a higher token than all that ended long ago.
    oldest_loss = _oldest_loss(repository, before=before, settled=settled)
    rows = _old(before).filter(repository=repository).order_by("pk")
    columns = ("pk", "execution_id", "execution__subject", "mode", "token")
    removed, last = 0, 0
    while removed < OF_REPOSITORY:
        page = [Old(*values) for values in rows.filter(pk__gt=last).values_list(*columns)[:AT_ONCE]]
        if not page:
            break
        last = page[-1].id
        removed += _remove(
            repository, [row.id for row in page if not is_wanted(row, settled=settled, oldest_loss=oldest_loss)]
        )
    return removed


def _oldest_loss(repository: str, *, before: datetime, settled: Collection[str]) -> int | None:
    """The lowest token of a lock that was lost, or is held and may be, by a run whose work may still be taken."""
    lost = FileLock.objects.filter(repository=repository, token__gt=0, state__in=[*FileLock.LOST, FileLock.State.HELD])
    is_old = Q(execution__ended_at__lt=before)
    recent = lost.exclude(is_old).aggregate(token=Min("token"))["token"]
    of_old = lost.filter(is_old).order_by().values_list("execution__subject").annotate(token=Min("token"))
    tokens = [token for subject, token in of_old if subject not in settled]
    return min([*tokens, recent] if recent is not None else tokens, default=None)


def _remove(repository: str, lock_ids: Sequence[int]) -> int:
    """Remove locks in one turn, with an event on the stream of each execution: its tree's log made the rows, and ends them."""
    if not lock_ids:
        return 0
    with transaction.atomic():
        turn = turns.turn_of_repository(repository)
        rows = FileLock.objects.filter(pk__in=lock_ids)
        gone: dict[UUID, list[dict[str, Any]]] = {}
        for execution_id, lock_id in rows.order_by("pk").values_list("execution_id", "pk"):
            gone.setdefault(execution_id, []).append(event_rows.gone(FileLock._meta.db_table, lock_id))
        if turn is None or not gone:  # somebody was faster
            transaction.set_rollback(True)
            return 0
        count = rows.delete()[0]
        turns.record(
            turn, [(execution_id, PRUNED, {"count": len(some), "rows": some}) for execution_id, some in gone.items()]
        )
        turns.put_back(turn)  # no token was given
    return count


def _old(before: datetime) -> QuerySet[FileLock]:
    return FileLock.objects.exclude(state__in=FileLock.OPEN).filter(execution__ended_at__lt=before)
