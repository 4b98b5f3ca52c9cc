"""What people do, written down: a row and an event for each act, in its transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.models import AuditEntry
from grid import public_events as grid_events
from grid import public_sql

ROOT, ACTED = "operators", "operator.acted"


def record(actor: str, action: str, target: str, detail: Mapping[str, Any]) -> AuditEntry:
    """Record an act; its event is on a stream of its own, so that acts do not wait for each other."""
    entry = AuditEntry(actor=actor[:150], action=action[:40], target=target[:200], detail=dict(detail))
    public_sql.insert(entry)
    body = {"actor": entry.actor, "action": entry.action, "target": entry.target, "rows": [grid_events.row(entry)]}
    grid_events.append_first(stream=f"operator:{entry.pk}", root=ROOT, event=(ACTED, body))
    return entry
