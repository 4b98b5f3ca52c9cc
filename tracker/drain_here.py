"""Carries out the writes of the local tracker, whose rows are in our own database.

Nothing can get lost between the call and the note of its result, because both commit together: no lease, no attempt
marked beforehand, and a batch of writes for the price of one transaction.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from tracker import outbox
from tracker.base import Tracker
from tracker.drain import attempted, created_by, failed_with
from tracker.local.tracker import LocalTracker
from tracker.models import Operation, Repository
from tracker.public_types import WriteResult

_BATCH = 20
"""Writes in one transaction: few enough that others wait for milliseconds only."""


def drain(*, repository_id: int, now: datetime, limit: int, seconds: float) -> list[WriteResult]:
    """As `tracker.drain.drain`; whoever comes second waits for the first one's transaction."""
    started = time.monotonic()
    handled: list[WriteResult] = []
    while len(handled) < limit and (elapsed := time.monotonic() - started) < seconds:
        at_most = min(_BATCH, limit - len(handled))
        rows = _batch(repository_id, now=now + timedelta(seconds=elapsed), at_most=at_most)
        handled += [outbox.result(row) for row in rows]
        if len(rows) < at_most or rows[-1].state == Operation.State.PENDING:
            break
    return handled


def _batch(repository_id: int, *, now: datetime, at_most: int) -> list[Operation]:
    # Durable: refuses to run inside a transaction, as every drain does.
    with transaction.atomic(durable=True):
        free = Q(outbox_lease_until=None) | Q(outbox_lease_until__lt=now)
        home = Repository.objects.select_for_update(no_key=True).filter(free, pk=repository_id, is_active=True).first()
        if home is None:
            return []
        tracker = LocalTracker(home=home)
        rows: list[Operation] = []
        # Wishes that did not see each other may have left edits that a later one replaces.
        for row in outbox.supersede_among(list(outbox.ready(repository_id, now=now)[:at_most])):
            if row.not_before and row.not_before > now:
                break
            _carry_out(row, tracker=tracker, scope=home.scope, now=now)
            rows.append(row)
            if row.state == Operation.State.PENDING:
                break
    return rows


def _carry_out(row: Operation, *, tracker: Tracker, scope: str, now: datetime) -> None:
    created, failed_key = created_by(row)
    if failed_key:
        ended = failed_with(failed_key, now=now)
    else:
        row.attempts += 1
        counted = {"attempts": row.attempts, "attempted_at": now}
        ended = counted | attempted(tracker=tracker, scope=scope, row=row, created=created, now=now)
    Operation.objects.filter(pk=row.pk).update(**ended)
    for name, value in ended.items():
        setattr(row, name, value)
