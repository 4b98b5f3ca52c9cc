"""Locks that end, and their way to whoever is next. All in the turn of the caller; events are returned, to be recorded by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from grid.locks import notes, rows, rules, turns
from grid.locks.rows import Row
from grid.locks.turns import Note, Turn
from grid.public_types import ON_HOST


def give_back(turn: Turn, mine: Sequence[Row], *, why: str) -> list[Note]:
    """End locks of an execution as `released`, and its waits as `withdrawn`."""
    held, waiting = [row for row in mine if row.is_held], [row for row in mine if not row.is_held]
    told = _end(turn, held, state="released", kind=notes.RELEASED, why=why)
    return told + _end(turn, waiting, state="withdrawn", kind=notes.RELEASED, why=why or "not wanted any more")


def expire(turn: Turn, dead: Sequence[Row]) -> list[Note]:
    """End locks, or waits, that count no more.

    A lock that was granted in the very moment in which its run ended is still open afterwards. It was kept to the end: as one
    that was lost, it would spoil the work of its run.
    """
    told = give_back(turn, [row for row in dead if row.run_state not in ON_HOST], why=rows.RUN_ENDED)
    silent = [row for row in dead if row.run_state in ON_HOST]
    why = "its time was over, or the lease of its run"
    return told + _end(turn, silent, state="expired", kind=notes.EXPIRED, why=why)


def take_away(turn: Turn, row: Row, *, actor: str, why: str, to: UUID | None) -> list[Note]:
    """End a lock or a wait by somebody's decision."""
    also = {"by": actor, **({"to": str(to)} if to else {})}
    return _end(turn, [row], state="broken" if row.is_held else "withdrawn", kind=notes.BROKEN, why=why, also=also)


def refuse_waiting(turn: Turn, row: Row, circle: Sequence[UUID]) -> list[Note]:
    """End a wait that is part of a circle."""
    also = {"circle": [str(execution) for execution in circle[:20]]}
    return _end(turn, [row], state="withdrawn", kind=notes.DEADLOCK, why="it would never end", also=also)


def pass_on(turn: Turn, known: Sequence[Row], *, freed: Sequence[Row], first: UUID | None = None) -> list[Note]:
    """Give what has become free to those who waited for it, in their order.

    Args:
        known: Open locks, all waiting ones among them: without any there is nothing to do.
        freed: What has ended just now; a wait, too, as later ones do not pass an earlier one.
        first: Goes before all others.
    """
    if not any(not row.is_held and row.counts for row in known) or not freed:
        return []
    everything = rows.open_rows(turn.repository, turn=turn)
    wishes = [row.wish() for row in everything]
    by_id = {row.id: row for row in everything}
    told: list[Note] = []
    token = turn.token
    for wish in rules.next_ones(wishes, first=first):
        row = by_id[wish.id]
        in_the_way = [
            other for other in everything if other.is_held and not other.counts and rules.clash(other.wish(), wish)
        ]
        told += expire(turn, [other for other in in_the_way if other.id in by_id])
        for other in in_the_way:
            by_id.pop(other.id, None)
        values: dict[str, Any] = {"state": "held", "token": token, "since": turn.now}
        rows.change(turn, [row.id], values)
        now_held = replace(row, state="held", token=token, since=turn.now)
        told.append(notes.granted(turn, now_held, set_=values, token=token, kind=notes.HANDED_OVER))
        token += 1
    turns.last_token(turn, token - 1)
    return told


def _end(turn: Turn, gone: Sequence[Row], *, state: str, kind: str, why: str, also: Any = None) -> list[Note]:
    if not gone:
        return []
    values = {"state": state, "ended_at": turn.now, "end_reason": why[:300]}
    rows.change(turn, [row.id for row in gone], values)
    return notes.ended(turn, gone, kind=kind, set_=values, why=why[:300], also=also)
