"""Locks of runs that end, of runs that are silent, and of those from whom an operator or a decision takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from grid.locks import passing, patterns, rows, rules, turns
from grid.locks.rows import Row
from grid.locks.turns import Note, Turn
from grid.locks.types import LockView
from grid.public_errors import LockError, LockNotFoundError


@dataclass(frozen=True, slots=True)
class Leaving:
    """What an execution has that is about to end."""

    turn: Turn
    execution_id: UUID
    known: tuple[Row, ...]
    """Its own open locks, and all of the repository that wait."""


def before_end(execution_id: UUID) -> Leaving | None:
    """Wait for the turn in its repository before an execution's row is changed; None: it has nothing to give back.

    In this order, as whoever takes a lock has the turn first and the execution's row second, too.
    """
    turn = turns.turn_before_end(execution_id)
    if turn is None:
        return None
    known = rows.of_execution_or_waiting(turn, execution_id)
    if any(row.execution_id != execution_id for row in known):
        everybody = rows.open_rows(turn.repository, turn=turn)
        concerned = [row.execution_id for row in everybody if not row.is_held or not row.counts]
        turns.hold_executions(turn, [execution_id, *concerned])
    return Leaving(turn, execution_id, tuple(known))


def after_end(leaving: Leaving, *, why: str) -> None:
    """Give everything back and pass it on, in the transaction that ended the execution."""
    turn = leaving.turn
    mine = [row for row in leaving.known if row.execution_id == leaving.execution_id]
    told = passing.give_back(turn, mine, why=why)
    told += passing.pass_on(turn, [row for row in leaving.known if row not in mine], freed=mine)
    if told:
        turns.record(turn, told)
    else:
        turns.put_back(turn)


def stays(leaving: Leaving) -> None:
    """The execution has not ended after all: somebody else was first, or nothing of what was believed is true."""
    turns.put_back(leaving.turn)


def break_lock(lock_id: int, *, actor: str, reason: str, to: UUID | None = None) -> LockView:
    """Take a lock away from its holder, or a waiting one out of the line. Its fencing token is old from now on.

    Args:
        actor: Who decides: `cli:ann`, `agent:12`.
        reason: One line; on the event.
        to: Execution that waits for it and gets it next, before all others; None: the first in line.

    Raises:
        LockNotFoundError: It is not open.
        LockError: `to` does not wait for it.
    """
    found = rows.by_id(lock_id)
    if found is None:
        raise LockNotFoundError(f"there is no lock {lock_id}")
    with transaction.atomic():
        turn = turns.turn_of_repository(found.repository)
        everything = rows.open_rows(found.repository, turn=turn) if turn is not None else []
        row = next((row for row in everything if row.id == lock_id), None)
        if turn is None or row is None:
            raise LockNotFoundError(f"lock {lock_id} on {found.pattern.text} is not open any more: it is {found.state}")
        others = [other for other in everything if other.id != lock_id]
        if to is not None and not any(_waits_for(other, row, to) for other in others):
            raise LockError(
                f"execution {str(to)[:8]} does not wait for {row.pattern.text}; `manage.py locks` shows who does"
            )
        told = passing.take_away(turn, row, actor=actor, why=reason, to=to)
        told += passing.pass_on(turn, others, freed=[row], first=to)
        turns.record(turn, told)
    ended = rows.by_id(lock_id)
    return (ended or row).view()


def sweep() -> int:
    """End what counts no more, hand over, and resolve circles; returns how many locks and waits it ended.

    A lapsed lease of a run that may come back ends its locks only when somebody else wants them.
    """
    return sum(_sweep(repository) for repository in rows.repositories_to_sweep())


def _sweep(repository: str) -> int:
    with transaction.atomic():
        turn = turns.turn_of_repository(repository)
        if turn is None:
            return 0
        everything = rows.open_rows(repository, turn=turn)
        waiting = [row for row in everything if not row.is_held and row.counts]
        dead = [row for row in everything if not row.counts and (row.is_over or _is_wanted(row, waiting))]
        told = passing.expire(turn, dead)
        left = [row for row in everything if row not in dead]
        refused, words = _resolve(turn, left)
        told += words
        told += passing.pass_on(turn, [row for row in left if row not in refused], freed=everything)
        if not told:
            transaction.set_rollback(True)
            return 0
        turns.record(turn, told)
    return len(dead) + len(refused)


def _resolve(turn: Turn, left: Sequence[Row]) -> tuple[list[Row], list[Note]]:
    """Refuse the youngest wait of each circle. A new wait never makes one; a decision about who is next can."""
    refused: list[Row] = []
    told: list[Note] = []
    wishes = [row.wish() for row in left]
    graph = rules.wait_graph(
        wishes
    )  # seconds of a long line's sweep, in which nobody else has a turn: not once for each
    for start in tuple(graph):
        if circle := rules.circle(start, graph):
            victim = rules.youngest(circle, wishes)
            row = next(row for row in left if row.id == victim.id)
            told += passing.refuse_waiting(turn, row, circle)
            refused.append(row)
            wishes = [wish for wish in wishes if wish.id != victim.id]
            graph = rules.wait_graph(wishes)
    return refused, told


def _is_wanted(row: Row, waiting: Sequence[Row]) -> bool:
    return not row.is_held or any(rules.clash(row.wish(), other.wish()) for other in waiting)


def _waits_for(other: Row, row: Row, execution_id: UUID) -> bool:
    return other.execution_id == execution_id and not other.is_held and patterns.overlap(other.pattern, row.pattern)
