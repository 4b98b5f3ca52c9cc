"""The right to change the locks of a repository, and the events of what was changed.

Order of the rows that a transaction holds, so that two cannot wait for each other: the repository's `LockSpace`, then
executions by their ids, then the locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from grid import event_log
from grid.locks.sql import OPEN, STATES, when
from grid.models.executions import stream_of
from grid.statements import plain
from grid.statements.plain import Statement, run, run_all, uuid

type Note = tuple[UUID, str, dict[str, Any]]
"""Whose stream, kind and body of an event to be written."""


@dataclass(slots=True)
class Turn:
    """The right to change the locks of one repository, until the transaction ends.

    What is written waits until something is read, or the turn's events are recorded: on PostgreSQL all of it is one round trip.
    """

    repository: str
    token: int
    """A fencing token that nobody has had; the next ones are free as well if `last_token` is told of them."""
    now: datetime
    """The database's time, read when the turn came."""
    now_stored: Any
    """The same time as the database stores it."""
    new_id: int | None = None
    """Of a lock that nobody has; None where the database gives it when the row is written."""
    _later: list[Statement] = field(default_factory=list)

    def write(self, sql: str, values: Sequence[Any]) -> None:
        """Run a statement before anything is read."""
        self._later.append((sql, values))

    def read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement, after those that wait, and return its rows."""
        waiting, self._later = self._later, []
        return run_all([*waiting, (sql, values)])


def turn_of_execution(execution_id: UUID, *, fence: int) -> Turn | None:
    """Wait for one's turn in the repository of an execution; None when that has no live claim with this fencing token."""
    sql = f"""
        INSERT INTO grid_lockspace (repository, token)
        SELECT repository, 1 FROM grid_execution WHERE id = %s AND {_claim()}
        ON CONFLICT (repository) DO UPDATE SET token = grid_lockspace.token + 1
        RETURNING repository, token, {plain.now()}
    """  # noqa: S608 - constants and placeholders only
    if connection.vendor == "postgresql":
        sql += ", nextval('grid_filelock_id_seq')"
    return _first(run(sql, [uuid(execution_id), fence]))


def turn_before_end(execution_id: UUID) -> Turn | None:
    """Wait for one's turn in the repository of an execution that is about to end; None when it holds and wants nothing."""
    sql = f"""
        UPDATE grid_lockspace SET token = token + 1
        WHERE repository = (SELECT repository FROM grid_execution WHERE id = %s)
          AND EXISTS (SELECT 1 FROM grid_filelock WHERE execution_id = %s AND state IN {OPEN})
        RETURNING repository, token, {plain.now()}
    """  # noqa: S608
    return _first(run(sql, [uuid(execution_id)] * 2))


def turn_of_repository(repository: str) -> Turn | None:
    """Wait for one's turn in a repository; None when it never had a lock."""
    sql = (
        f"UPDATE grid_lockspace SET token = token + 1 WHERE repository = %s RETURNING repository, token, {plain.now()}"  # noqa: S608
    )
    return _first(run(sql, [repository]))


def put_back(turn: Turn) -> None:
    """Undo the counting of a turn in which nothing was done: no event tells of it, so a replay would not find it."""
    turn.read("UPDATE grid_lockspace SET token = %s WHERE repository = %s", [turn.token - 1, turn.repository])


def last_token(turn: Turn, token: int) -> None:
    """Tell that tokens up to this one were given in this turn."""
    if token > turn.token:
        turn.write("UPDATE grid_lockspace SET token = %s WHERE repository = %s", [token, turn.repository])


def hold_executions(turn: Turn, ids: Iterable[UUID]) -> None:
    """Lock rows of executions in their order; needed where one transaction changes several, and one of them out of order."""
    if connection.vendor == "postgresql" and (wanted := sorted(set(ids))):
        turn.read("SELECT id FROM grid_execution WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [wanted])


def record(turn: Turn, notes: Sequence[Note], *, fenced: tuple[UUID, int] | None = None) -> bool:
    """Write events in this order, each with the next number of its execution's stream, and whatever waits to be written.

    Args:
        fenced: The execution that acts and its fencing token: its claim must still be live.

    Returns:
        False when it is not; the caller must undo the transaction.
    """
    if len(notes) == 1 and connection.vendor == "postgresql":
        return bool(turn.read(*_numbered_at_once(notes[0], fenced)))
    counts: dict[UUID, int] = {}
    for execution_id, _, _ in notes:
        counts[execution_id] = counts.get(execution_id, 0) + 1
    at: dict[UUID, tuple[int, str]] = {}
    for execution_id in sorted(counts):
        where, values = _row_of(execution_id, fenced)
        sql = f"UPDATE grid_execution SET seq = seq + %s WHERE {where} RETURNING seq, root"  # noqa: S608
        found = turn.read(sql, [counts[execution_id], *values])
        if not found:
            return False
        at[execution_id] = (found[0][0] - counts[execution_id] + 1, found[0][1])
    numbered: list[tuple[str, int, str, str, dict[str, Any]]] = []
    for execution_id, kind, body in notes:
        seq, root = at[execution_id]
        numbered.append((stream_of(execution_id), seq, root, kind, body))
        at[execution_id] = (seq + 1, root)
    turn.read(*event_log.statement(numbered))
    return True


def _numbered_at_once(note: Note, fenced: tuple[UUID, int] | None) -> Statement:
    """A statement that counts on the execution's stream and writes the event; no rows when its claim is not live."""
    execution_id, kind, body = note
    where, values = _row_of(execution_id, fenced)
    counted = f"WITH run AS (UPDATE grid_execution SET seq = seq + 1 WHERE {where} RETURNING seq, root)"  # noqa: S608
    sql, of_event = event_log.statement_from("run", stream=stream_of(execution_id), kind=kind, body=body)
    return f"{counted} {sql} RETURNING id", [*values, *of_event]


def _row_of(execution_id: UUID, fenced: tuple[UUID, int] | None) -> tuple[str, list[Any]]:
    if fenced is None or fenced[0] != execution_id:
        return "id = %s", [uuid(execution_id)]
    return f"id = %s AND {_claim()}", [uuid(execution_id), fenced[1]]


def _claim() -> str:
    return f"token = %s AND state IN ({STATES}) AND lease_until > {plain.now()}"


def _first(rows: Sequence[Sequence[Any]]) -> Turn | None:
    if not rows:
        return None
    repository, token, moment, *new_id = rows[0]
    now = when(moment)
    assert now is not None  # noqa: S101 - the database's clock
    return Turn(repository=repository, token=token, now=now, now_stored=moment, new_id=new_id[0] if new_id else None)
