"""Law 2: what may be spent, what is set aside, and the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import F

from coordinator.invariants.terms import START, long_ago
from coordinator.models import Agent, Envelope, LedgerEntry
from coordinator.money import spend_audit
from coordinator.public_types import Violation
from grid import public_api as grid


def budgets_add_up() -> Iterator[Violation]:
    """Law 2: reserved + spent within the limit, and equal to the ledger."""
    for envelope, words in spend_audit.overspent():
        yield Violation(
            law="2 budgets are never overspent",
            subject=envelope.key,
            detail=words,
            remedy="raise the limit with `manage.py budget raise`, or cancel what runs in this scope",
        )
    expected = spend_audit.expected()
    for envelope in Envelope.objects.all():
        wrong = {name: value for name, value in expected[envelope.pk].items() if getattr(envelope, name) != value}
        if wrong:
            yield Violation(
                law="2 the ledger adds up",
                subject=envelope.key,
                detail=f"ledger says {wrong}",
                remedy="report this with the ledger's rows of this envelope; it is a bug",
            )


def envelopes_nest() -> Iterator[Violation]:
    """Law 2: the path of every envelope is that of its parent, and an agent's is below its parent agent's."""
    rows = {row.pk: row for row in Envelope.objects.only("key", "kind", "parent", "ancestors")}
    wrong = [
        row.key for row in rows.values() if row.ancestors != (rows[row.parent_id].lineage if row.parent_id else "")
    ]
    agents = Agent.objects.exclude(parent=None).exclude(envelope__parent=F("parent__envelope"))
    for key in [*wrong, *agents.values_list("envelope__key", flat=True)][:100]:
        yield Violation(
            law="2 envelopes nest",
            subject=key,
            detail="it is not below its parent's envelope, so that one does not bound it",
            remedy="report this; it is a bug, or the row was changed by hand",
        )


def reservations_are_settled() -> Iterator[Violation]:
    """Law 2: an execution that has ended holds nothing in reserve."""
    settled = LedgerEntry.objects.filter(kind=LedgerEntry.Kind.SETTLE).values("execution_id")
    waiting = LedgerEntry.objects.filter(kind=LedgerEntry.Kind.RESERVE).exclude(execution_id__in=settled)
    ids = set(waiting.values_list("execution_id", flat=True)[:10_000])
    old = long_ago()
    known = {run.id: run for run in grid.find_executions(ids=ids, limit=10_000)}
    for execution_id in ids:
        run = known.get(execution_id)
        if run is None or (run.ended_at is not None and run.ended_at < old):
            yield Violation(
                law="2 a reservation is released once",
                subject=str(execution_id),
                detail=f"the execution is {run.state if run else 'unknown'}, and its reservation is still held",
                remedy=f"{START}; if it stays, report it: it is a bug",
            )


def model_calls_are_settled() -> Iterator[Violation]:
    """Law 2: a model call holds nothing in reserve after the longest time that one may take."""
    for call in spend_audit.stale_calls(long_ago()):
        yield Violation(
            law="2 a reservation is released once",
            subject=f"model call {call.pk}",
            detail=f"{call.provider} {call.model} is in flight since {call.started_at:%Y-%m-%d %H:%M:%S}",
            remedy=f"{START}; if it stays, report it: it is a bug",
        )
