"""The statements that launches wait for, by hand: an act is one statement on PostgreSQL, where each is a round trip, two on SQLite.

Both are in a transaction of their caller's. All levels are locked in the order of their ids, which everybody keeps to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from grid.public_sql import places, run, time, uuid

type Row = dict[str, Any]
"""What an event says of a row of ours, see `grid.public_events.row`."""


class Standing(NamedTuple):
    """An envelope as an UPDATE has left it: limits, what is spent of them, whether it was warned."""

    id: int
    warned_at: object
    """Not None when it was warned; so of the breaker."""
    breaker_opened_at: object
    progress_limit_micros: int | None
    progress_mark_micros: int
    usd_limit_micros: int | None
    usd_spent_micros: int
    tokens_limit: int | None
    tokens_spent: int
    tool_calls_limit: int | None
    tool_calls_spent: int
    wall_limit_seconds: int | None
    wall_spent_seconds: int
    executions_limit: int | None
    executions_spent: int
    children_limit: int | None
    children_spent: int


STANDING = ", ".join(Standing._fields)
"""For a RETURNING."""

_ROOM = """
    id IN ({}) AND paused_at IS NULL AND is_counted
        AND (max_live IS NULL OR max_live > live)
        AND (executions_limit IS NULL OR executions_limit > executions_reserved + executions_spent)
        AND (wall_limit_seconds IS NULL OR wall_limit_seconds >= wall_reserved_seconds + wall_spent_seconds + %s)
        AND (tool_calls_limit IS NULL OR tool_calls_limit >= tool_calls_reserved + tool_calls_spent + %s)"""
_TAKE = """
    UPDATE coordinator_envelope AS envelope
    SET live = live + 1, executions_reserved = executions_reserved + 1,
        wall_reserved_seconds = wall_reserved_seconds + %s, tool_calls_reserved = tool_calls_reserved + %s"""
_ENTRY = (
    "INSERT INTO coordinator_ledgerentry (envelope_id, execution_id, kind, executions, wall_seconds, tool_calls, at)"
)
_HELD = "SELECT envelope_id, wall_seconds, tool_calls FROM coordinator_ledgerentry WHERE execution_id = %s AND kind = 'reserve'"
_SETTLE = """
    UPDATE coordinator_envelope AS envelope
    SET live = live - 1, executions_reserved = executions_reserved - 1, executions_spent = executions_spent + %s,
        wall_reserved_seconds = wall_reserved_seconds - {}, wall_spent_seconds = wall_spent_seconds + {},
        tool_calls_reserved = tool_calls_reserved - {}, tool_calls_spent = tool_calls_spent + %s"""

# PostgreSQL: one statement each. The rows are locked in their order first, and only those with room; what a waiter sees after
# the wait is checked anew, which a plain UPDATE does as well, but in any order.
_TAKE_AT_ONCE = f"""
    WITH room AS (SELECT id FROM coordinator_envelope WHERE {_ROOM} ORDER BY id FOR UPDATE),
    taken AS ({_TAKE} FROM room WHERE envelope.id = room.id AND (SELECT COUNT(*) FROM room) = %s RETURNING envelope.id)
    {_ENTRY} SELECT id, %s, 'reserve', 1, %s, %s, %s FROM taken RETURNING id, envelope_id"""  # noqa: S608 - no values in it
_SETTLE_AT_ONCE = f"""
    WITH held AS ({_HELD}),
    locked AS (SELECT id FROM coordinator_envelope WHERE id IN (SELECT envelope_id FROM held) ORDER BY id FOR UPDATE),
    done AS ({_ENTRY} SELECT id, %s, 'settle', %s, LEAST(%s, wall_seconds), %s, %s FROM locked JOIN held ON id = envelope_id
        ON CONFLICT DO NOTHING RETURNING id, envelope_id, wall_seconds)
    {_SETTLE.format("held.wall_seconds", "done.wall_seconds", "held.tool_calls")}
    FROM done JOIN held ON held.envelope_id = done.envelope_id WHERE envelope.id = done.envelope_id
    RETURNING done.id, done.envelope_id, done.wall_seconds, {", ".join(f"envelope.{name}" for name in Standing._fields)}"""  # noqa: S608 - no values in it
# SQLite: writers take turns there, so that what one statement has read is true for the next.
_TAKE_THOSE = f"{_TAKE} WHERE {_ROOM} RETURNING id"
_GIVE_BACK = """
    UPDATE coordinator_envelope
    SET live = live - 1, executions_reserved = executions_reserved - 1,
        wall_reserved_seconds = wall_reserved_seconds - %s, tool_calls_reserved = tool_calls_reserved - %s
    WHERE id IN ({})"""
_ENTRIES = f"{_ENTRY} SELECT id, %s, %s, %s, %s, %s, %s FROM coordinator_envelope WHERE id IN ({{}})"  # noqa: S608
_TOLD = " RETURNING id, envelope_id"
_NEW = " ON CONFLICT DO NOTHING" + _TOLD
_SETTLE_THOSE = f"""{_SETTLE.format("%s", "%s", "%s")} WHERE id IN ({{}}) RETURNING {STANDING}"""
_LOCK = "SELECT id FROM coordinator_envelope WHERE id IN ({}) ORDER BY id FOR UPDATE"


def take(execution_id: UUID, path: Sequence[int], *, wall_seconds: int, tool_calls: int, at: datetime) -> list[Row]:
    """Set one run aside on all of these levels, or on none when one of them is paused, full or spent.

    Returns:
        The new entries, for an event; nothing when nothing was set aside.
    """
    needs, ids, marks = (wall_seconds, tool_calls), list(path), places(path)
    key, when = uuid(execution_id), time(at)
    if connection.vendor == "postgresql":
        found = run(_TAKE_AT_ONCE.format(marks), [*ids, *needs, *needs, len(ids), key, *needs, when])
    else:
        taken = run(_TAKE_THOSE.format(marks), [*needs, *ids, *needs])
        if len(taken) < len(ids):
            if taken:
                run(_GIVE_BACK.format(places(taken)), [*needs, *(pk for (pk,) in taken)])
            return []
        found = run(_ENTRIES.format(marks) + _TOLD, [key, "reserve", 1, *needs, when, *ids])
    return _rows(found, execution_id, "reserve", executions=1, wall_seconds=wall_seconds, tool_calls=tool_calls, at=at)


def settle(
    execution_id: UUID, *, executions: int, wall_seconds: int, tool_calls: int, at: datetime
) -> tuple[list[Row], list[Standing]]:
    """Replace what a run holds by what it used, no more wall time than it holds, on every level.

    Of several settlers only one stores the entries, as they are unique.

    Returns:
        The new entries, and the levels as they are now; nothing when nothing was held, or it is settled.
    """
    key, when = uuid(execution_id), time(at)
    new, standings = list[Any](), list[Any]()
    if connection.vendor == "postgresql":
        found = run(_SETTLE_AT_ONCE, [key, key, executions, wall_seconds, tool_calls, when, executions, tool_calls])
        new, standings = [row[:2] for row in found], [row[3:] for row in found]
        wall_seconds = found[0][2] if found else 0
    elif held := run(_HELD, [key]):
        ids, (_, held_wall, held_calls) = [row[0] for row in held], held[0]  # the same on every level
        wall_seconds, marks = min(wall_seconds, held_wall), places(held)
        new = run(_ENTRIES.format(marks) + _NEW, [key, "settle", executions, wall_seconds, tool_calls, when, *ids])
        if new:
            used = (executions, held_wall, wall_seconds, held_calls, tool_calls)
            standings = run(_SETTLE_THOSE.format(marks), [*used, *ids])
    amounts = {"executions": executions, "wall_seconds": wall_seconds, "tool_calls": tool_calls}
    return _rows(new, execution_id, "settle", at=at, **amounts), [Standing(*row) for row in standings]


def lock(path: Iterable[int]) -> None:
    """Hold these levels until the transaction ends, locked in the order that everybody keeps to."""
    ids = sorted(path)
    if ids and connection.features.has_select_for_update:
        run(_LOCK.format(places(ids)), ids)


def _rows(
    entries: Sequence[tuple[int, int]], execution_id: UUID, kind: str, *, at: datetime, **amounts: int
) -> list[Row]:
    """New entries as an event tells them: number and level of each, and what they have in common."""
    shared = {"execution_id": str(execution_id), "kind": kind, **amounts, "at": at.isoformat()}
    return [
        {"table": "coordinator_ledgerentry", "id": pk, "set": {"envelope_id": envelope, **shared}}
        for pk, envelope in entries
    ]
