"""What moved on a scope's budget, newest first: runs, model calls, and what people did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import nlargest
from typing import Any
from uuid import UUID

from coordinator.models import AuditEntry, LedgerEntry, SpendEntry
from coordinator.money import scopes
from coordinator.public_types import EnvelopeView

MAX_MOVEMENTS = 1_000
MAX_SHOWN = 500
"""Envelopes below a scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One entry of a ledger, or one act."""

    at: datetime
    what: str
    """`reserve` or `settle` of a `run` or a `call`; or the act: `raise_limit`, `pause`, …"""
    of: UUID | None = None
    """The execution or the model call."""
    actor: str = ""
    executions: int = 0
    wall_seconds: int = 0
    tool_calls: int = 0
    usd_micros: int = 0
    tokens: int = 0
    detail: dict[str, Any] = field(default_factory=dict)
    """Of an act: what was asked, before and after."""


def history(key: str, *, limit: int = 50) -> list[Movement]:
    """The last movements of a scope. Raises AgentNotFoundError."""
    row, most = scopes.get(key), max(1, min(limit, MAX_MOVEMENTS))
    return nlargest(most, _movements(row.pk, key, most), key=lambda one: one.at)


def tree(key: str) -> list[EnvelopeView]:
    """A scope and all below it, each level behind the one that holds it. Raises AgentNotFoundError."""
    rows = scopes.below(scopes.get(key))[:MAX_SHOWN]
    below: dict[int | None, list[Any]] = {}
    for row in rows[1:]:
        below.setdefault(row.parent_id, []).append(row)
    ordered, todo = [], rows[:1]
    while todo:
        row = todo.pop()
        ordered.append(scopes.view(row))
        todo += reversed(below.get(row.pk, []))
    return ordered


def _movements(envelope_id: int, key: str, most: int) -> Iterator[Movement]:
    for run in LedgerEntry.objects.filter(envelope_id=envelope_id).order_by("-pk")[:most]:
        yield Movement(
            at=run.at,
            what=f"{run.kind} run",
            of=run.execution_id,
            executions=run.executions,
            wall_seconds=run.wall_seconds,
            tool_calls=run.tool_calls,
        )
    for call in SpendEntry.objects.filter(envelope_id=envelope_id).order_by("-pk")[:most]:
        yield Movement(
            at=call.at, what=f"{call.kind} call", of=call.call_id, usd_micros=call.usd_micros, tokens=call.tokens
        )
    for act in AuditEntry.objects.filter(target=key).order_by("-pk")[:most]:
        yield Movement(at=act.at, what=act.action, actor=act.actor, detail=act.detail)
