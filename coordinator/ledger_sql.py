"""The statements that every model call waits for, by hand: building each with the ORM takes longer than the database does.

`docs/performance.md` says what a call may lose on its way. Both databases understand them; whoever calls them is in a
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from coordinator.models import ModelCall


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
        reserved_tokens, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, is_estimated, reason)
    VALUES (%s, %s, %s, %s, %s, 'reserved', %s, %s, 0, 0, 0, 0, %s, '')"""
_ENTRIES = "INSERT INTO coordinator_spendentry (envelope_id, call_id, kind, usd_micros, tokens) VALUES {}"


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
    """Store a new call that holds a reservation."""
    ids = [_uuid(call.pk), call.agent_id, _uuid(call.execution_id)]
    values = [*ids, call.provider, call.model, call.reserved_usd_micros, call.reserved_tokens, False]
    with connection.cursor() as db:
        db.execute(_CALL, values)


def insert_entries(call_id: UUID, kind: str, entries: Iterable[tuple[int, int, int]]) -> None:
    """Store movements for a call: envelope, millionths of a US dollar and tokens of each."""
    rows = [(envelope_id, _uuid(call_id), kind, usd, tokens) for envelope_id, usd, tokens in entries]
    with connection.cursor() as db:
        db.execute(
            _ENTRIES.format(", ".join(["(%s, %s, %s, %s, %s)"] * len(rows))), [one for row in rows for one in row]
        )


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
