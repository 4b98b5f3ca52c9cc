"""Carries wished writes out: one writer per repository, in order, each key at most once in the tracker.

A write is marked before its call and stored after it. Whoever dies in between leaves it pending; the next drainer calls
again, and the tracker's own idempotency (dedupe key, slot, read before write) makes the second call the first one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from tracker import outbox, writes
from tracker.base import Tracker
from tracker.models import Operation, Repository
from tracker.public_errors import (
    CredentialError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    NotOursError,
    RateLimitedError,
)
from tracker.public_types import WriteKind, WriteResult

LEASE_SECONDS = 60
"""Renewed before every call; a tracker's call ends within 30."""
FIRST_PAUSE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 300
LONGEST_QUOTA_PAUSE_SECONDS = 2 * 3_600
_LONGEST_QUOTA_PAUSE = timedelta(seconds=LONGEST_QUOTA_PAUSE_SECONDS)
ATTEMPTS_MAX = 50
"""Four hours of back-off. Then the write fails for ever, so that one poisonous write cannot hold a queue."""
_CREDENTIAL_PAUSE = timedelta(minutes=5)
_ERROR_MAX_CHARS = 1_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drainer:
    """The one writer of a repository, for as long as its token is the repository's."""

    repository_id: int
    scope: str
    token: int
    tracker: Tracker
    started_at: datetime
    started: float

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def now(self) -> datetime:
        return self.started_at + timedelta(seconds=self.elapsed_seconds)


class _LeaseLostError(Exception):
    """Another drainer has taken over; this one must not write any more."""


def drain(*, repository_id: int, tracker: Tracker, now: datetime, limit: int, seconds: float) -> list[WriteResult]:
    """Carry out due writes until none is left, `limit` are handled or `seconds` are over.

    Stops at a write that must wait: those behind it wait too, because order matters.

    Returns:
        The writes handled, as they stand now; nothing when another drainer is at work.

    Raises:
        RuntimeError: Called inside a transaction, which would hold locks during calls over the network.
    """
    drainer = _take_lease(repository_id=repository_id, tracker=tracker, now=now)
    if drainer is None:
        return []
    handled: list[WriteResult] = []
    try:
        for row in outbox.ready(repository_id, now=now)[:limit]:
            if drainer.elapsed_seconds >= seconds or (row.not_before and row.not_before > drainer.now):
                break
            if not (row.coalesce and outbox.supersede_unstarted(row)):
                _handle(drainer, row)
            if row.state == Operation.State.PENDING:  # replaced or taken back meanwhile, or it has to wait
                row.refresh_from_db()
            handled.append(outbox.result(row))
            if row.state == Operation.State.PENDING:
                break
    except _LeaseLostError:
        logger.warning("outbox lease lost", extra={"action": "drain", "repository_id": repository_id})
    finally:
        Repository.objects.filter(pk=repository_id, outbox_token=drainer.token).update(outbox_lease_until=None)
    return handled


def pause_seconds(attempts: int) -> int:
    """Back-off after this many attempts without an answer."""
    return int(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempts - 1, 10)))


def _take_lease(*, repository_id: int, tracker: Tracker, now: datetime) -> _Drainer | None:
    started = time.monotonic()
    # Durable: refuses to run inside a transaction.
    with transaction.atomic(durable=True):
        free = Q(outbox_lease_until=None) | Q(outbox_lease_until__lt=now)
        taken = Repository.objects.filter(free, pk=repository_id, is_active=True).update(
            outbox_token=F("outbox_token") + 1, outbox_lease_until=now + timedelta(seconds=LEASE_SECONDS)
        )
        if not taken:
            return None
        scope, token = Repository.objects.values_list("scope", "outbox_token").get(pk=repository_id)
    return _Drainer(
        repository_id=repository_id, scope=scope, token=token, tracker=tracker, started_at=now, started=started
    )


def _renew_lease(drainer: _Drainer) -> None:
    """Lock the repository's row as its drainer; call inside the transaction of a fenced write."""
    until = drainer.now + timedelta(seconds=LEASE_SECONDS)
    mine = Repository.objects.filter(pk=drainer.repository_id, outbox_token=drainer.token)
    if not mine.update(outbox_lease_until=until):
        raise _LeaseLostError


def _handle(drainer: _Drainer, row: Operation) -> None:
    created, failed_key = created_by(row)
    if failed_key:
        _store(drainer, row, **failed_with(failed_key, now=drainer.now))
    elif _mark_attempt(drainer, row):
        ended = attempted(tracker=drainer.tracker, scope=drainer.scope, row=row, created=created, now=drainer.now)
        _store(drainer, row, **ended)


def created_by(row: Operation) -> tuple[dict[str, str], str]:
    """Issue keys made by the writes that this one refers to, or the key of one that has no issue to offer."""
    needed = writes.predecessors(row.payload)
    if not needed:
        return {}, ""
    created: dict[str, str] = {}
    for earlier in Operation.objects.filter(key__in=needed, repository_id=row.repository_id).order_by("id"):
        if earlier.state != Operation.State.DONE:
            return {}, earlier.key
        created[earlier.key] = earlier.value["key"]
    missing = needed - created.keys()
    return created, min(missing) if missing else ""


def failed_with(key: str, *, now: datetime) -> dict[str, Any]:
    """The columns of a write that cannot be tried, because the one it depends on failed."""
    reason = f"The write it depends on failed: {key}. Repair and retry that one."[:_ERROR_MAX_CHARS]
    return {"state": Operation.State.FAILED, "error": reason, "failed_with": key, "finished_at": now}


def _mark_attempt(drainer: _Drainer, row: Operation) -> bool:
    """Count the attempt; False when the write was superseded meanwhile."""
    with transaction.atomic():
        _renew_lease(drainer)
        unchanged = Operation.objects.filter(pk=row.pk, state=Operation.State.PENDING, attempts=row.attempts)
        row.attempts += 1
        return bool(unchanged.update(attempts=row.attempts, attempted_at=drainer.now))


def attempted(
    *, tracker: Tracker, scope: str, row: Operation, created: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """Carry one write out, its attempt counted already, and return the columns that say how it ended."""
    value: dict[str, Any] = {}
    payload = writes.resolved(row.payload, created)
    kind = WriteKind(row.kind)
    try:
        writes.perform(tracker=tracker, scope=scope, key=row.key, kind=kind, payload=payload, value=value)
    except NotOursError as error:
        # For as long as it takes somebody to say where ours is now.
        return {"error": _text(error), "not_before": now + _CREDENTIAL_PAUSE, "attempts": row.attempts - 1}
    except (NotFoundError, ForbiddenError, InvalidError) as error:
        return {"state": Operation.State.FAILED, "error": _text(error), "value": value, "finished_at": now}
    except RateLimitedError as error:
        # Nothing was done, so it does not count as an attempt, and a later edit may still replace it.
        until = min(max(error.retry_at, now + timedelta(seconds=1)), now + _LONGEST_QUOTA_PAUSE)
        return {"error": _text(error), "not_before": until, "attempts": row.attempts - 1}
    except CredentialError as error:
        # For as long as it takes somebody to renew them; `github check` and the write's own error say so.
        _log_fault(row, error)
        return {"error": _text(error), "not_before": now + _CREDENTIAL_PAUSE, "attempts": row.attempts - 1}
    except Exception as error:
        # Unavailable, Conflict, or a fault of ours: a queue must outlive any single write.
        _log_fault(row, error)
        if row.attempts >= ATTEMPTS_MAX:
            reason = f"Gave up after {row.attempts} attempts: {_text(error)}"[:_ERROR_MAX_CHARS]
            return {"state": Operation.State.FAILED, "error": reason, "value": value, "finished_at": now}
        until = now + timedelta(seconds=pause_seconds(row.attempts))
        return {"error": _text(error), "not_before": until, "value": value}
    return {"state": Operation.State.DONE, "error": "", "value": value, "not_before": None, "finished_at": now}


def _store(drainer: _Drainer, row: Operation, **fields: Any) -> None:
    """Write the result down, unless another drainer has taken over."""
    with transaction.atomic():
        _renew_lease(drainer)
        stored = Operation.objects.filter(pk=row.pk, state=Operation.State.PENDING).update(**fields)
    if stored:
        for name, value in fields.items():
            setattr(row, name, value)


def _log_fault(row: Operation, error: Exception) -> None:
    facts = {"action": "drain", "operation": row.key, "kind": row.kind, "attempts": row.attempts}
    logger.warning("tracker write failed, will be tried again", extra=facts, exc_info=error)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_ERROR_MAX_CHARS]
