"""What a settlement may set off: a warning at most of a limit, the breaker of a tree that spends without progress.

Call it in the transaction that settled: that one holds the envelopes, so two cannot set off the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from coordinator.models import Envelope
from coordinator.money import ledger_sql, scopes
from coordinator.money.ledger_sql import Standing
from coordinator.public_types import ScopeKind
from coordinator.rules import breaker, budget_rules
from grid import public_events as grid_events
from grid.public_sql import Prepared, given_all

WARNED, BREAKER = "budget.warned", "budget.breaker"
_LIMITED_TREE = Prepared(
    lambda: Envelope.objects.filter(
        pk__in=given_all("path"), kind=ScopeKind.TREE, progress_limit_micros__isnull=False
    ).order_by()
)


def look(standings: Iterable[Standing | Envelope]) -> None:
    """Warn and stop as far as these levels, just changed, ask for it."""
    for row in standings:
        if row.warned_at is None:
            percent, words = budget_rules.nearly_spent(row)
            if words:
                _warn(row.id, percent, words)
        if (
            row.progress_limit_micros is not None
            and row.breaker_opened_at is None
            and breaker.is_idle(
                spent=row.usd_spent_micros, mark=row.progress_mark_micros, limit=row.progress_limit_micros
            )
        ):
            _open(row.id)


def stopped(path: Sequence[Envelope]) -> str:
    """What the tree of a path spent since work was accepted last, in words, when that is too much; else empty."""
    for row in path:
        limit = row.progress_limit_micros
        if limit is not None and breaker.is_idle(
            spent=row.usd_spent_micros, mark=row.progress_mark_micros, limit=limit
        ):
            since = budget_rules.dollars(row.usd_spent_micros - row.progress_mark_micros)
            return f"its tree spent {since} since work was accepted last, and may spend {budget_rules.dollars(limit)}"
    return ""


def note_progress(envelope: Envelope, *, why: str) -> None:
    """Work was accepted, or a person wants it to go on: the tree's money counts from here. `why` is for people."""
    with transaction.atomic():
        # All of the path, in the one order: who calls this may reserve on it in the same transaction.
        ledger_sql.lock(envelope.path_ids)
        fields = {"progress_mark_micros": F("usd_spent_micros"), "breaker_opened_at": None}
        row = _LIMITED_TREE.one(path=envelope.path_ids)
        if row is None or (row.progress_mark_micros == row.usd_spent_micros and row.breaker_opened_at is None):
            return
        Envelope.objects.filter(pk=row.pk).update(**fields)
        was_open = row.breaker_opened_at is not None
        row.refresh_from_db()
        kind = BREAKER if was_open else "budget.progress"
        scopes.record(row, kind, {"is_open": False, "why": why[:300]}, rows=[grid_events.row(row, *fields)])


def _warn(envelope_id: int, percent: int, words: str) -> None:
    warned = Envelope.objects.filter(pk=envelope_id, warned_at=None)
    if warned.update(warned_at=timezone.now(), warning=f"{percent} %: {words}"[:200], warning_told_at=None):
        row = Envelope.objects.get(pk=envelope_id)
        changed = grid_events.row(row, "warned_at", "warning", "warning_told_at")
        body = {"scope": row.key, "percent": percent, "used": f"{words} in {row.key}"}
        scopes.record(row, WARNED, body, rows=[changed])


def _open(envelope_id: int) -> None:
    closed = Envelope.objects.filter(pk=envelope_id, breaker_opened_at=None)
    if closed.update(breaker_opened_at=timezone.now()):
        row = Envelope.objects.get(pk=envelope_id)
        body = {"is_open": True, "why": stopped([row]), "scope": row.key}
        scopes.record(row, BREAKER, body, rows=[grid_events.row(row, "breaker_opened_at")])
