"""The statements that model calls wait for, by hand: docs/performance.md says what a call may lose on its way.

Whoever calls them is in a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from coordinator.models import ModelCall
from coordinator.money.ledger_sql import STANDING, Row, Standing
from grid.public_sql import places, run, time, uuid


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
        AND (tokens_limit IS NULL OR tokens_limit >= tokens_spent + tokens_reserved + %s)
    RETURNING id"""
_CALL = """
    INSERT INTO coordinator_modelcall (id, agent_id, execution_id, provider, model, state, reserved_usd_micros,
        reserved_tokens, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, is_estimated, reason,
        owner, started_at)
    VALUES (%s, %s, %s, %s, %s, 'reserved', %s, %s, 0, 0, 0, 0, %s, '', %s, %s)"""
_SPENT = """
    INSERT INTO coordinator_spendentry (envelope_id, call_id, kind, usd_micros, tokens, at) VALUES {}
    RETURNING id, envelope_id"""
_SETTLE_CALL = f"""
    UPDATE coordinator_envelope AS envelope
    SET usd_reserved_micros = usd_reserved_micros - %s, usd_spent_micros = usd_spent_micros + %s,
        tokens_reserved = tokens_reserved - %s, tokens_spent = tokens_spent + %s,
        unpriced_tokens = unpriced_tokens + %s
    WHERE id IN ({{}}) RETURNING {STANDING}"""  # noqa: S608 - names of columns


def lock_levels(path: Sequence[int]) -> list[Level]:
    """Lock envelopes in the order of their ids, which is the one that everybody keeps to."""
    lock = " FOR UPDATE" if connection.features.has_select_for_update else ""
    rows = run(_LEVELS.format(places(path)) + lock, path)
    return [Level(row[0], row[1], bool(row[2]), *row[3:]) for row in rows]


def take(path: Sequence[int], *, usd_micros: int, tokens: int) -> bool:
    """Set an amount aside on every one of these levels that is open and has room; whether all had."""
    values = [usd_micros, tokens, *path, usd_micros, tokens]
    return len(run(_TAKE.format(places(path)), values)) == len(path)


def insert_call(call: ModelCall) -> None:
    """Store a new call that holds a reservation; its `started_at` is set."""
    ids = [uuid(call.pk), call.agent_id, uuid(call.execution_id)]
    values = [*ids, call.provider, call.model, call.reserved_usd_micros, call.reserved_tokens, False]
    owner = None if call.owner is None else uuid(call.owner)
    run(_CALL, [*values, owner, time(call.started_at)])


def insert_spend(call_id: UUID, kind: str, amounts: Sequence[tuple[int, int, int]], *, at: datetime) -> list[Row]:
    """Store movements for a call: envelope, millionths of a US dollar and tokens of each; returns them for an event."""
    call, when = uuid(call_id), time(at)
    values = [one for envelope, usd, tokens in amounts for one in (envelope, call, kind, usd, tokens, when)]
    rows = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(amounts))
    ids = {envelope: pk for pk, envelope in run(_SPENT.format(rows), values)}
    shared = {"call_id": str(call_id), "kind": kind, "at": at.isoformat()}
    return [
        {
            "table": "coordinator_spendentry",
            "id": ids[envelope],
            "set": {"envelope_id": envelope, **shared, "usd_micros": usd, "tokens": tokens},
        }
        for envelope, usd, tokens in amounts
    ]


def settle_call(
    path: Sequence[int], *, held_usd: int, held_tokens: int, usd_micros: int | None, tokens: int
) -> list[Standing]:
    """Replace what a call held on these levels by what it cost."""
    values = [held_usd, usd_micros or 0, held_tokens, tokens, tokens if usd_micros is None else 0, *path]
    return [Standing(*row) for row in run(_SETTLE_CALL.format(places(path)), values)]


_BUSY = """
    SELECT execution_id, provider, model, state, started_at > %s FROM coordinator_modelcall
    WHERE state = 'reserved' OR (execution_id = %s AND started_at > %s)"""


def calls_under_way(execution_id: UUID, *, since: datetime) -> tuple[list[tuple[bool, str]], int]:
    """All calls in flight, each with whether it is this execution's and its model; and how many this one began since then."""
    at = time(since)
    mine = uuid(execution_id)
    rows = run(_BUSY, [at, mine, at])
    flying = [(row[0] == mine, f"{row[1]}:{row[2]}") for row in rows if row[3] == ModelCall.State.RESERVED]
    return flying, sum(row[0] == mine and bool(row[4]) for row in rows)


_BEGUN = """
    SELECT provider, model, COUNT(*) FROM coordinator_modelcall
    WHERE state IN ('reserved', 'settled') AND started_at > %s GROUP BY provider, model"""


def calls_begun(*, since: datetime) -> dict[str, int]:
    """How many calls of the whole fleet began since then, by model."""
    return {f"{provider}:{model}": count for provider, model, count in run(_BEGUN, [time(since)])}
