"""Events about locks, with the rows that they change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from grid.locks.patterns import Pattern
from grid.locks.rows import Row
from grid.locks.turns import Note, Turn

GRANTED, REFUSED, WAITING, DEADLOCK = "lock.granted", "lock.refused", "lock.waiting", "lock.deadlock"
HANDED_OVER, RELEASED, EXPIRED, BROKEN = "lock.handed-over", "lock.released", "lock.expired", "lock.broken"
_NAMED = 20
"""Locks that one event names; its rows are those of all."""


def granted(turn: Turn, row: Row, *, set_: Mapping[str, Any], token: int, kind: str = GRANTED) -> Note:
    """It holds the lock now."""
    body = {**_lock(row), **({"reason": row.reason} if row.reason else {})}
    return row.execution_id, kind, {**body, "rows": [_changed(row.id, set_), space(turn.repository, token)]}


def waiting(turn: Turn, row: Row, *, set_: Mapping[str, Any], standing: Sequence[Row]) -> Note:
    """It stands in line."""
    body = {**_lock(row), "reason": row.reason, "blockers": _blockers(standing)}
    return (
        row.execution_id,
        WAITING,
        {**body, "rows": [_changed(row.id, set_), space(turn.repository, turn.token)]},
    )


def refused(
    turn: Turn,
    execution_id: UUID,
    pattern: Pattern,
    mode: str,
    reason: str,
    standing: Sequence[Row],
    circle: Sequence[UUID],
) -> Note:
    """It does not get the lock, and does not wait; with a circle: because that would never end."""
    body: dict[str, Any] = {"path": pattern.text, "mode": mode, "reason": reason, "blockers": _blockers(standing)}
    if circle:
        body["circle"] = [str(execution) for execution in circle[:_NAMED]]
    body["rows"] = [space(turn.repository, turn.token)]
    return execution_id, DEADLOCK if circle else REFUSED, body


def ended(
    turn: Turn,
    gone: Sequence[Row],
    *,
    kind: str,
    set_: Mapping[str, Any],
    why: str,
    also: Mapping[str, Any] | None = None,
) -> list[Note]:
    """Locks are over: one event for each execution that had some."""
    found: list[Note] = []
    for execution_id in dict.fromkeys(row.execution_id for row in gone):
        mine = [row for row in gone if row.execution_id == execution_id]
        body: dict[str, Any] = {"path": mine[0].pattern.text, "count": len(mine), "reason": why, **(also or {})}
        body["locks"] = [_lock(row) for row in mine[:_NAMED]]
        body["rows"] = [*(_changed(row.id, set_) for row in mine), space(turn.repository, turn.token)]
        found.append((execution_id, kind, body))
    return found


def space(repository: str, token: int) -> dict[str, Any]:
    """The repository's counter, as a row of an event."""
    return {"table": "grid_lockspace", "id": repository, "set": {"token": token}}


def _lock(row: Row) -> dict[str, Any]:
    return {"lock": row.id, "path": row.pattern.text, "mode": row.mode, "token": row.token}


def _blockers(standing: Collection[Row]) -> list[dict[str, Any]]:
    return [
        {**_lock(row), "state": row.state, "execution": str(row.execution_id), "subject": row.subject}
        for row in list(standing)[:_NAMED]
    ]


def _changed(lock_id: int, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"table": "grid_filelock", "id": lock_id, "set": {name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
