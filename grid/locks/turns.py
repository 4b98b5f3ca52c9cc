"""The right to change the locks of a repository, and the events of what was changed.

Order of the rows that a transaction holds, so that two cannot wait for each other: the repository's `LockSpace`, then
executions by their ids, then the locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from grid import event_log
from grid.locks import sql as db_values
from grid.locks.sql import OPEN, STATES, native, stored, when
from grid.models.executions import stream_of

type Note = tuple[UUID, str, dict[str, Any]]
"""Whose stream, kind and body of an event to be written."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to change the locks of one repository, until the transaction ends."""

    repository: str
    token: int
    """A fencing token that nobody has had; the next ones are free as well if `last_token` is told of them."""
    now: datetime
    """The database's time, read when the turn came."""
    db: Any
    """A cursor for all statements of the turn: making one costs a quarter of a statement."""
    now_stored: Any
    """The same time as the database stores it."""


def turn_of_execution(execution_id: UUID, *, fence: int) -> Turn | None:
    """Wait for one's turn in the repository of an execution; None when that has no live claim with this fencing token."""
    sql = f"""
        INSERT INTO grid_lockspace (repository, token)
        SELECT repository, 1 FROM grid_execution
        WHERE id = %s AND token = %s AND state IN ({STATES}) AND lease_until > {db_values.now()}
        ON CONFLICT (repository) DO UPDATE SET token = grid_lockspace.token + 1
        RETURNING repository, token, {db_values.now()}
    """  # noqa: S608 - constants and placeholders only
    return _turn(sql, [native(execution_id), fence])


def turn_before_end(execution_id: UUID) -> Turn | None:
    """Wait for one's turn in the repository of an execution that is about to end; None when it holds and wants nothing."""
    sql = f"""
        UPDATE grid_lockspace SET token = token + 1
        WHERE repository = (SELECT repository FROM grid_execution WHERE id = %s)
          AND EXISTS (SELECT 1 FROM grid_filelock WHERE execution_id = %s AND state IN {OPEN})
        RETURNING repository, token, {db_values.now()}
    """  # noqa: S608
    return _turn(sql, [native(execution_id)] * 2)


def turn_of_repository(repository: str) -> Turn | None:
    """Wait for one's turn in a repository; None when it never had a lock."""
    sql = f"UPDATE grid_lockspace SET token = token + 1 WHERE repository = %s RETURNING repository, token, {db_values.now()}"  # noqa: S608
    return _turn(sql, [repository])


def put_back(turn: Turn) -> None:
    """Undo the counting of a turn in which nothing was done: no event tells of it, so a replay would not find it."""
    turn.db.execute("UPDATE grid_lockspace SET token = %s WHERE repository = %s", [turn.token - 1, turn.repository])


def last_token(turn: Turn, token: int) -> None:
    """Tell that tokens up to this one were given in this turn."""
    if token > turn.token:
        turn.db.execute("UPDATE grid_lockspace SET token = %s WHERE repository = %s", [token, turn.repository])


def hold_executions(turn: Turn, ids: Iterable[UUID]) -> None:
    """Lock rows of executions in their order; needed where one transaction changes several, and one of them out of order."""
    if connection.vendor == "postgresql" and (wanted := sorted(set(ids))):
        turn.db.execute("SELECT id FROM grid_execution WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [wanted])


def record(turn: Turn, notes: Sequence[Note], *, fenced: tuple[UUID, int] | None = None) -> bool:
    """Write events in this order, each with the next number of its execution's stream.

    Args:
        fenced: The execution that acts and its fencing token: its claim must still be live.

    Returns:
        False when it is not; the caller must undo the transaction.
    """
    counts: dict[UUID, int] = {}
    for execution_id, _, _ in notes:
        counts[execution_id] = counts.get(execution_id, 0) + 1
    at: dict[UUID, tuple[int, str]] = {}
    for execution_id in sorted(counts):
        count = counts[execution_id]
        sql, params = "UPDATE grid_execution SET seq = seq + %s WHERE id = %s", [count, native(execution_id)]
        if fenced is not None and fenced[0] == execution_id:
            sql += f" AND token = %s AND state IN ({STATES}) AND lease_until > {db_values.now()}"
            params.append(fenced[1])
        turn.db.execute(f"{sql} RETURNING seq, root", params)
        found = turn.db.fetchone()
        if found is None:
            return False
        at[execution_id] = (found[0] - count + 1, found[1])
    numbered: list[tuple[str, int, str, str, dict[str, Any]]] = []
    for execution_id, kind, body in notes:
        seq, root = at[execution_id]
        numbered.append((stream_of(execution_id), seq, root, kind, body))
        at[execution_id] = (seq + 1, root)
    event_log.insert(numbered)
    return True


def _turn(sql: str, params: list[Any]) -> Turn | None:
    db = connection.cursor()
    db.execute(sql, params)
    found = db.fetchone()
    now = when(found[2]) if found is not None else None
    if found is None or now is None:
        db.close()
        return None
    return Turn(repository=found[0], token=found[1], now=now, db=db, now_stored=stored(now))
