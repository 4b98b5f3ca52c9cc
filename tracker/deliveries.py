"""Webhooks as rows: stored before they are answered, taken up under a lease, kept for a while.

A row that is `received` waits. Whoever takes it up counts an attempt and moves `not_before` behind the end of his lease, in
one conditional UPDATE: of two workers one gets it, and what a dead one held comes back by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, QuerySet

from tracker.models import Delivery
from tracker.public_errors import NotFoundError

LEASE = timedelta(seconds=90)
"""Longer than a task may run."""
ATTEMPTS_MAX = 20
KEEP = timedelta(days=30)
KEEP_FAILED = timedelta(days=90)
FRESH = timedelta(seconds=10)
"""A message is on its way for a row this young."""
_ERROR_MAX_CHARS = 2_000
_PRUNED_AT_ONCE = 500
_RECEIVED, _FAILED = Delivery.State.RECEIVED, Delivery.State.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """A delivery without its payload."""

    id: int
    guid: str
    event: str
    action: str
    scope: str
    key: str
    state: str
    """`received`, `done`, `ignored` or `failed`."""
    attempts: int
    error: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery that the caller alone works on for the time of a lease."""

    id: int
    attempt: int
    """Fences: what the holder of an older attempt says is not written."""
    event: str
    scope: str
    payload: Mapping[str, Any]


def store(*, guid: str, now: datetime, fields: Mapping[str, Any]) -> tuple[int, bool]:
    """Insert a delivery unless it is there; one that failed for ever is taken up again.

    Returns:
        Its id, and whether there is something to do that was not there before.
    """
    row = Delivery(guid=guid, received_at=now, **fields)
    try:
        # A savepoint where a caller's transaction has to survive a duplicate; alone, one statement is enough.
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            row.save(force_insert=True)
    except IntegrityError:
        known = Delivery.objects.filter(guid=guid).values_list("pk", flat=True).first()
        if known is None:  # it was no duplicate after all
            raise
        return known, reset(known, only_failed=True)
    return row.pk, True


def due(now: datetime, *, limit: int) -> list[int]:
    """Ids of rows that wait and may be taken up now, oldest first, also those just received."""
    return list(_due(now).order_by("pk").values_list("pk", flat=True)[:limit])


def is_overdue(now: datetime) -> bool:
    """Whether a row waits for which no message is on its way any more."""
    return _due(now).filter(received_at__lt=now - FRESH).exists()


def claim(delivery_id: int, *, now: datetime) -> Claimed | None:
    """Take a delivery up; None when it is not due, another worker has it, or it is finished."""
    taken = _due(now).filter(pk=delivery_id).update(attempts=F("attempts") + 1, not_before=now + LEASE)
    if not taken:
        return None
    row = Delivery.objects.get(pk=delivery_id)
    claimed = Claimed(
        id=row.pk,
        attempt=row.attempts,
        event=row.event,
        scope=row.scope,
        payload=row.payload if isinstance(row.payload, dict) else {},
    )
    if claimed.attempt > ATTEMPTS_MAX:  # those who took it up did not live to say why they failed
        fail(claimed, error=f"{ATTEMPTS_MAX} attempts ended without a word; see the log of `control`", now=now)
        return None
    return claimed


def finish(claimed: Claimed, *, is_ignored: bool, now: datetime) -> None:
    """It was taken up, or there was nothing to do."""
    state = Delivery.State.IGNORED if is_ignored else Delivery.State.DONE
    _held(claimed).update(state=state, finished_at=now, not_before=None, error="")


def fail(claimed: Claimed, *, error: str, now: datetime) -> None:
    """It cannot be taken up; a person has to look."""
    _held(claimed).update(state=_FAILED, finished_at=now, not_before=None, error=error[:_ERROR_MAX_CHARS])


def put_back(claimed: Claimed, *, error: str, not_before: datetime, now: datetime) -> None:
    """Try again later, unless this was the last attempt."""
    if claimed.attempt >= ATTEMPTS_MAX:
        fail(claimed, error=error, now=now)
    else:
        _held(claimed).update(not_before=not_before, error=error[:_ERROR_MAX_CHARS])


def reset(delivery_id: int, *, only_failed: bool = False) -> bool:
    """Let a delivery be taken up again from the start; returns whether there was one to be."""
    rows = Delivery.objects.filter(pk=delivery_id)
    if only_failed:
        rows = rows.filter(state=_FAILED)
    return bool(rows.update(state=_RECEIVED, attempts=0, not_before=None, finished_at=None, error=""))


def find(name: str) -> DeliveryView:
    """The delivery with this id or GUID.

    Raises:
        NotFoundError: There is none.
    """
    is_id = name.isascii() and name.isdigit() and len(name) < 19
    row = Delivery.objects.defer("payload").filter((Q(guid=name) | Q(pk=int(name))) if is_id else Q(guid=name)).first()
    if row is None:
        raise NotFoundError(f"There is no delivery {name[:100]!r}; deliveries are kept for {KEEP.days} days.")
    return _view(row)


def stuck(*, before: datetime, limit: int = 100) -> list[DeliveryView]:
    """Deliveries that failed for ever, and those due since before a time; oldest first."""
    late = Q(state=_RECEIVED, received_at__lt=before) & (Q(not_before=None) | Q(not_before__lt=before))
    rows = Delivery.objects.defer("payload").filter(Q(state=_FAILED) | late).order_by("pk")
    return [_view(row) for row in rows[:limit]]


def prune(now: datetime) -> int:
    """Delete what was taken up long ago; returns how many."""
    old = Q(received_at__lt=now - KEEP, state__in=[Delivery.State.DONE, Delivery.State.IGNORED])
    rows = Delivery.objects.filter(old | Q(received_at__lt=now - KEEP_FAILED, state=_FAILED)).order_by("pk")
    deleted = 0
    # In small portions: nothing here may hold a lock that keeps new deliveries waiting.
    while ids := list(rows.values_list("pk", flat=True)[:_PRUNED_AT_ONCE]):
        deleted += Delivery.objects.filter(pk__in=ids).delete()[0]
    return deleted


def _due(now: datetime) -> QuerySet[Delivery]:
    return Delivery.objects.filter(Q(not_before=None) | Q(not_before__lte=now), state=_RECEIVED)


def _held(claimed: Claimed) -> QuerySet[Delivery]:
    return Delivery.objects.filter(pk=claimed.id, state=_RECEIVED, attempts=claimed.attempt)


def _view(row: Delivery) -> DeliveryView:
    return DeliveryView(
        id=row.pk,
        guid=row.guid,
        event=row.event,
        action=row.action,
        scope=row.scope,
        key=row.key,
        state=row.state,
        attempts=row.attempts,
        error=row.error,
        received_at=row.received_at,
    )
