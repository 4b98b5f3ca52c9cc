"""Rows of locks, read and written by hand: every call of a tool that writes a file waits for these statements."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from grid.locks.patterns import Pattern
from grid.locks.rules import Wish
from grid.locks.sql import OPEN, STATES, stored, when
from grid.locks.turns import Turn
from grid.locks.types import LockView
from grid.public_types import ON_HOST
from grid.statements import plain
from grid.statements.plain import places, run, uuid

_COLUMNS = (
    "l.id, l.repository, l.execution_id, l.pattern, l.key, l.is_glob, l.mode, l.state, l.token, l.asked_at, l.since, l.until, "
    "l.reason, l.end_reason, e.lease_until, e.subject, e.state"
)
_COUNTS = f"(e.state IN ({STATES}) AND e.lease_until > %s AND (l.until IS NULL OR l.until > %s))"
RUN_ENDED = "its run ended"
"""How the reason of a lock begins that was kept to the end."""


@dataclass(frozen=True, slots=True)
class Row:
    """An open or ended lock with what its execution says of it."""

    id: int
    repository: str
    execution_id: UUID
    pattern: Pattern
    mode: str
    state: str
    token: int
    asked_at: Any
    since: Any
    until: Any
    reason: str
    end_reason: str
    lease_until: Any
    subject: str
    run_state: str
    counts: bool

    @property
    def is_held(self) -> bool:
        """Whether it is held, as far as its row says."""
        return self.state == "held"

    @property
    def is_over(self) -> bool:
        """Of one that does not count: whether it never will again. A lease may be renewed late, an end is for ever."""
        return self.run_state not in ON_HOST or self.until is not None

    @property
    def was_kept(self) -> bool:
        """Whether it was given back by the end of its run and no sooner."""
        return self.state == "released" and self.end_reason.startswith(RUN_ENDED)

    def wish(self) -> Wish:
        """For the rules."""
        return Wish(
            id=self.id,
            execution_id=self.execution_id,
            pattern=self.pattern,
            is_write=self.mode == "write",
            is_held=self.state == "held",
            token=self.token,
            counts=self.counts,
        )

    def view(self) -> LockView:
        """For others."""
        until = when(self.until) or when(self.lease_until)
        return LockView(
            id=self.id,
            repository=self.repository,
            pattern=self.pattern.text,
            mode=self.mode,
            state=self.state,
            execution_id=self.execution_id,
            subject=self.subject,
            token=self.token,
            since=when(self.since) or when(self.asked_at),
            until=until,
            reason=self.reason,
        )


def near(turn: Turn, pattern: Pattern, execution_id: UUID) -> list[Row]:
    """Open locks of the repository that may have to do with a pattern, and all that wait or are the execution's own."""
    where = f"l.repository = %s AND l.state IN {OPEN}"
    params: list[Any] = [turn.repository]
    if not pattern.is_glob and pattern.key:
        names = pattern.names
        above = ["/".join(names[:count]) for count in range(len(names) + 1)]
        marks = places(above)
        below = f"{pattern.key}/"
        where += f""" AND (l.state = 'waiting' OR l.is_glob OR l.key IN ({marks})
            OR substr(l.key, 1, %s) = %s OR l.execution_id = %s)"""
        params += [*above, len(below), below, uuid(execution_id)]
    return _rows(where, params, turn=turn)


def of_execution_or_waiting(turn: Turn, execution_id: UUID) -> list[Row]:
    """An execution's own open locks, and all of the repository that wait."""
    where = f"l.repository = %s AND l.state IN {OPEN} AND (l.state = 'waiting' OR l.execution_id = %s)"
    return _rows(where, [turn.repository, uuid(execution_id)], turn=turn)


def open_rows(repository: str = "", *, execution_id: UUID | None = None, turn: Turn | None = None) -> list[Row]:
    """Open locks, by id: of a repository, of an execution, or all."""
    where, params = f"l.state IN {OPEN}", list[Any]()
    if repository:
        where, params = f"{where} AND l.repository = %s", [repository]
    if execution_id is not None:
        where, params = f"{where} AND l.execution_id = %s", [*params, uuid(execution_id)]
    return _rows(where, params, turn=turn)


def by_id(lock_id: int) -> Row | None:
    """One lock, open or ended."""
    found = _rows("l.id = %s", [lock_id])
    return found[0] if found else None


def granted_ones(execution_ids: Collection[UUID]) -> list[Row]:
    """Every lock that executions ever had, by token."""
    if not execution_ids:
        return []
    marks = places(execution_ids)
    rows = _rows(f"l.execution_id IN ({marks}) AND l.token > 0", [uuid(one) for one in execution_ids])
    return sorted(rows, key=lambda row: row.token)


def later_writers(repository: str, *, token: int, but: Collection[UUID]) -> list[Row]:
    """Write locks that other executions had of a repository after a token, by token."""
    marks = places(but)
    where = f"l.repository = %s AND l.mode = 'write' AND l.token > %s AND l.execution_id NOT IN ({marks})"
    rows = _rows(where, [repository, token, *(uuid(one) for one in but)])
    return sorted(rows, key=lambda row: row.token)


def repositories_to_sweep() -> list[str]:
    """Repositories in which somebody waits, or an open lock counts no more."""
    sql = f"""
        SELECT DISTINCT l.repository FROM grid_filelock l JOIN grid_execution e ON e.id = l.execution_id
        WHERE l.state IN {OPEN} AND (l.state = 'waiting' OR NOT {_COUNTS.replace("%s", plain.now())})
    """  # noqa: S608
    return [name for (name,) in run(sql)]


def tokens_above_counter() -> list[tuple[str, int]]:
    """Repositories with a token that their counter has not given, and that token."""
    sql = """
        SELECT l.repository, MAX(l.token) FROM grid_filelock l LEFT JOIN grid_lockspace s ON s.repository = l.repository
        GROUP BY l.repository, s.token HAVING MAX(l.token) > COALESCE(s.token, 0)
    """
    return [(name, token) for name, token in run(sql)]


def _rows(where: str, params: Sequence[Any], *, turn: Turn | None = None) -> list[Row]:
    moment = [turn.now_stored] * 2 if turn is not None else []
    counts = _COUNTS if moment else _COUNTS.replace("%s", plain.now())
    sql = f"""
        SELECT {_COLUMNS}, {counts} FROM grid_filelock l JOIN grid_execution e ON e.id = l.execution_id
        WHERE {where} ORDER BY l.id
    """  # noqa: S608
    found = turn.read(sql, [*moment, *params]) if turn is not None else run(sql, params)
    return [
        Row(
            id=pk,
            repository=repository,
            execution_id=execution if isinstance(execution, UUID) else UUID(execution),
            pattern=Pattern(text=text, key=key, is_glob=bool(is_glob)),
            mode=mode,
            state=state,
            token=token,
            asked_at=asked_at,
            since=since,
            until=until,
            reason=reason,
            end_reason=end_reason,
            lease_until=lease_until,
            subject=subject,
            run_state=run_state,
            counts=bool(counts_now),
        )
        for (
            pk,
            repository,
            execution,
            text,
            key,
            is_glob,
            mode,
            state,
            token,
            asked_at,
            since,
            until,
            reason,
            end_reason,
            lease_until,
            subject,
            run_state,
            counts_now,
        ) in found
    ]


def insert(turn: Turn, values: dict[str, Any]) -> int:
    """Store a new lock; returns its number."""
    if turn.new_id is not None:
        values = {"id": turn.new_id, **values}
    sql = f"INSERT INTO grid_filelock ({', '.join(values)}) VALUES ({places(values)})"  # noqa: S608
    if turn.new_id is not None:
        turn.write(sql, _stored(turn, values))
        return turn.new_id
    return int(turn.read(f"{sql} RETURNING id", _stored(turn, values))[0][0])


def change(turn: Turn, lock_ids: Collection[int], values: dict[str, Any]) -> None:
    """Set columns of locks of the repository."""
    columns = ", ".join(f"{name} = %s" for name in values)
    sql = f"UPDATE grid_filelock SET {columns} WHERE id IN ({places(lock_ids)})"  # noqa: S608
    turn.write(sql, [*_stored(turn, values), *lock_ids])


def _stored(turn: Turn, values: dict[str, Any]) -> list[Any]:
    return [turn.now_stored if value is turn.now else stored(value) for value in values.values()]
