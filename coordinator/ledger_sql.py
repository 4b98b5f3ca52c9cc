"""The statements that launches and model calls wait for, by hand: building each with the ORM takes longer than the database does.

`docs/performance.md` says what a call may lose on its way. Both databases understand them; whoever calls them is in a
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from coordinator.models import ModelCall

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


_STANDING = Standing._fields


@dataclass(frozen=True, slots=True)
class Level:
    """An envelope as far as money and tokens go, locked."""

    pk: int
    key: str
    is_paused: bool
    usd_limit_micros: int | None
    usd_spent_micros: int
    usd_reserved_micros: int
    tokens_limit: int | None
    tokens_spent: int
    tokens_reserved: int


_LEVELS = """
    SELECT id, key, paused_at IS NOT NULL, usd_limit_micros, usd_spent_micros, usd_reserved_micros,
        tokens_limit, tokens_spent, tokens_reserved
    FROM coordinator_envelope WHERE id IN ({}) ORDER BY id"""
_TAKE = """
    UPDATE coordinator_envelope
    SET usd_reserved_micros = usd_reserved_micros + %s, tokens_reserved = tokens_reserved + %s
    WHERE id IN ({}) AND paused_at IS NULL
        AND (usd_limit_micros IS NULL OR usd_limit_micros >= usd_spent_micros + usd_reserved_micros + %s)
        AND (tokens_limit IS NULL OR tokens_limit >= tokens_spent + tokens_reserved + %s)"""
_CALL = """
    INSERT INTO coordinator_modelcall (id, agent_id, execution_id, provider, model, state, reserved_usd_micros,
        reserved_tokens, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, is_estimated, reason,
        owner, started_at)
    VALUES (%s, %s, %s, %s, %s, 'reserved', %s, %s, 0, 0, 0, 0, %s, '', %s, %s)"""
_SPENT = """
    INSERT INTO coordinator_spendentry (envelope_id, call_id, kind, usd_micros, tokens, at) VALUES {}
    RETURNING id, envelope_id"""
_SETTLE_CALL = """
    UPDATE coordinator_envelope
    SET usd_reserved_micros = usd_reserved_micros - %s, usd_spent_micros = usd_spent_micros + %s,
        tokens_reserved = tokens_reserved - %s, tokens_spent = tokens_spent + %s,
        unpriced_tokens = unpriced_tokens + %s
    WHERE id IN ({}) RETURNING """ + ", ".join(_STANDING)  # noqa: S608 - names of columns


def lock_levels(path: Sequence[int]) -> list[Level]:
    """Lock envelopes in the order of their ids, which is the one that everybody keeps to."""
    lock = " FOR UPDATE" if connection.features.has_select_for_update else ""
    rows = _all(_LEVELS.format(_places(path)) + lock, path)
    return [Level(row[0], row[1], bool(row[2]), *row[3:]) for row in rows]


def take(path: Sequence[int], *, usd_micros: int, tokens: int) -> bool:
    """Set an amount aside on every one of these levels that is open and has room; whether all had."""
    values = [usd_micros, tokens, *path, usd_micros, tokens]
    with connection.cursor() as db:
        db.execute(_TAKE.format(_places(path)), values)
        return bool(db.rowcount == len(path))


def insert_call(call: ModelCall) -> None:
    """Store a new call that holds a reservation; its `started_at` is set."""
    ids = [_uuid(call.pk), call.agent_id, _uuid(call.execution_id)]
    values = [*ids, call.provider, call.model, call.reserved_usd_micros, call.reserved_tokens, False]
    owner = None if call.owner is None else _uuid(call.owner)
    with connection.cursor() as db:
        db.execute(_CALL, [*values, owner, _time(call.started_at)])


def insert_spend(call_id: UUID, kind: str, amounts: Sequence[tuple[int, int, int]], *, at: datetime) -> list[Row]:
    """Store movements for a call: envelope, millionths of a US dollar and tokens of each; returns them for an event."""
    call, when = _uuid(call_id), _time(at)
    values = [one for envelope, usd, tokens in amounts for one in (envelope, call, kind, usd, tokens, when)]
    ids = {envelope: pk for pk, envelope in _all(_SPENT.format(_rows(len(amounts), 6)), values)}
    shared = {"call_id": str(call_id), "kind": kind, "at": at.isoformat()}
    return [
        _row("spendentry", ids[envelope], {"envelope_id": envelope, **shared, "usd_micros": usd, "tokens": tokens})
        for envelope, usd, tokens in amounts
    ]


def settle_call(
    path: Sequence[int], *, held_usd: int, held_tokens: int, usd_micros: int | None, tokens: int
) -> list[Standing]:
    """Replace what a call held on these levels by what it cost."""
    values = [held_usd, usd_micros or 0, held_tokens, tokens, tokens if usd_micros is None else 0, *path]
    return [Standing(*row) for row in _all(_SETTLE_CALL.format(_places(path)), values)]


# --- launches ---------------------------------------------------------------------------------------------------------

_ROOM = """
    id IN ({}) AND paused_at IS NULL AND is_counted
        AND (max_live IS NULL OR max_live > live)
        AND (executions_limit IS NULL OR executions_limit > executions_reserved + executions_spent)
        AND (wall_limit_seconds IS NULL OR wall_limit_seconds >= wall_reserved_seconds + wall_spent_seconds + %s)
        AND (tool_calls_limit IS NULL OR tool_calls_limit >= tool_calls_reserved + tool_calls_spent + %s)"""
_LOCK_ROOM = f"SELECT id FROM coordinator_envelope WHERE {_ROOM} ORDER BY id FOR UPDATE"  # noqa: S608 - no values in it
_TAKE_ROOM = f"""
    UPDATE coordinator_envelope
    SET live = live + 1, executions_reserved = executions_reserved + 1,
        wall_reserved_seconds = wall_reserved_seconds + %s, tool_calls_reserved = tool_calls_reserved + %s
    WHERE {_ROOM}"""  # noqa: S608 - no values in it
_ALL_OR_NONE = f" AND (SELECT COUNT(*) FROM coordinator_envelope WHERE {_ROOM}) = %s"  # noqa: S608 - no values in it
_LOCK = "SELECT id FROM coordinator_envelope WHERE id IN ({}) ORDER BY id FOR UPDATE"
_ENTRIES = """
    INSERT INTO coordinator_ledgerentry (envelope_id, execution_id, kind, executions, wall_seconds, tool_calls, at)
    SELECT id, %s, %s, %s, %s, %s, %s FROM coordinator_envelope WHERE id IN ({}) RETURNING id, envelope_id"""
_HELD = """
    SELECT envelope_id, executions, wall_seconds, tool_calls FROM coordinator_ledgerentry AS held
    WHERE execution_id = %s AND kind = 'reserve' AND NOT EXISTS (
        SELECT 1 FROM coordinator_ledgerentry AS done WHERE done.execution_id = held.execution_id AND done.kind = 'settle')
    ORDER BY envelope_id"""
_SETTLE = """
    UPDATE coordinator_envelope
    SET live = live - 1, executions_reserved = executions_reserved - 1, executions_spent = executions_spent + %s,
        wall_reserved_seconds = wall_reserved_seconds - %s, wall_spent_seconds = wall_spent_seconds + %s,
        tool_calls_reserved = tool_calls_reserved - %s, tool_calls_spent = tool_calls_spent + %s
    WHERE id IN ({}) RETURNING """ + ", ".join(_STANDING)  # noqa: S608 - names of columns


def take_room(path: Sequence[int], *, wall_seconds: int, tool_calls: int) -> bool:
    """Set one run aside on all of these levels, or on none when one of them is paused, full or spent."""
    ids, needs = list(path), [wall_seconds, tool_calls]
    places = _places(ids)
    with connection.cursor() as db:
        if connection.features.has_select_for_update:
            # Locked in one order, and only those with room: what a waiter sees after the wait is checked anew.
            db.execute(_LOCK_ROOM.format(places), [*ids, *needs])
            if len(db.fetchall()) != len(ids):
                return False
            db.execute(_TAKE_ROOM.format(places), [*needs, *ids, *needs])
        else:
            # Writers take turns there, so that one statement can look and take.
            statement = _TAKE_ROOM.format(places) + _ALL_OR_NONE.format(places)
            db.execute(statement, [*needs, *ids, *needs, *ids, *needs, len(ids)])
        return bool(db.rowcount == len(ids))


def lock(path: Iterable[int]) -> None:
    """Hold these levels until the transaction ends, locked in the order that everybody keeps to."""
    ids = sorted(path)
    if ids and connection.features.has_select_for_update:
        _all(_LOCK.format(_places(ids)), ids)


def insert_entries(
    execution_id: UUID,
    kind: str,
    path: Sequence[int],
    *,
    executions: int,
    wall_seconds: int,
    tool_calls: int,
    at: datetime,
) -> list[Row]:
    """Store a movement of a run on each of these levels; returns them for an event."""
    values = [_uuid(execution_id), kind, executions, wall_seconds, tool_calls, _time(at), *path]
    ids = _all(_ENTRIES.format(_places(path)), values)
    shared = {
        "execution_id": str(execution_id),
        "kind": kind,
        "executions": executions,
        "wall_seconds": wall_seconds,
        "tool_calls": tool_calls,
        "at": at.isoformat(),
    }
    return [_row("ledgerentry", pk, {"envelope_id": envelope, **shared}) for pk, envelope in ids]


def lock_held(execution_id: UUID) -> dict[int, tuple[int, int, int]]:
    """What a run holds in reserve, by envelope, locked: executions, wall seconds and tool calls; empty when it is settled."""
    found = _held(execution_id)
    if not found or not connection.features.has_select_for_update:
        return found  # writers take turns there, and this one has its turn
    lock(found)
    return _held(execution_id)  # two settlers may have come this far together


def _held(execution_id: UUID) -> dict[int, tuple[int, int, int]]:
    return {row[0]: row[1:] for row in _all(_HELD, [_uuid(execution_id)])}


def settle_run(
    path: Sequence[int], *, executions: int, held_wall: int, wall_seconds: int, held_calls: int, tool_calls: int
) -> list[Standing]:
    """Replace what a run held on these levels by what it used."""
    values = [executions, held_wall, wall_seconds, held_calls, tool_calls, *path]
    return [Standing(*row) for row in _all(_SETTLE.format(_places(path)), values)]


# --- calls under way --------------------------------------------------------------------------------------------------

_BUSY = """
    SELECT execution_id, provider, model, state, started_at > %s FROM coordinator_modelcall
    WHERE state = 'reserved' OR (execution_id = %s AND started_at > %s)"""


def calls_under_way(execution_id: UUID, *, since: datetime) -> tuple[list[tuple[bool, str]], int]:
    """All calls in flight, each with whether it is this execution's and its model; and how many this one began since then."""
    at = connection.ops.adapt_datetimefield_value(since)
    mine = _uuid(execution_id)
    rows = _all(_BUSY, [at, mine, at])
    flying = [(row[0] == mine, f"{row[1]}:{row[2]}") for row in rows if row[3] == ModelCall.State.RESERVED]
    return flying, sum(row[0] == mine and bool(row[4]) for row in rows)


def _all(sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as db:
        db.execute(sql, values)
        return list(db.fetchall())


def _places(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))


def _uuid(value: UUID) -> UUID | str:
    return value if connection.features.has_native_uuid_field else value.hex


def _time(value: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(value)


def _rows(count: int, width: int) -> str:
    return ", ".join([f"({', '.join(['%s'] * width)})"] * count)


def _row(table: str, pk: int, columns: dict[str, Any]) -> Row:
    return {"table": f"coordinator_{table}", "id": pk, "set": columns}
