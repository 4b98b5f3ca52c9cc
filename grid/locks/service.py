"""Take a lock, wait for it, give it back. Each is one transaction in which the repository's `LockSpace` row is held.

A lock counts only while its execution is live and that one's own lease runs, so nothing has to be renewed for it: the host
renews the lease of the execution. Whoever gets a path that a dead holder still has on record ends that record first: when the
holder comes back, it has nothing, and its fencing token is older than that of the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from grid.locks import notes, passing, patterns, rows, rules, turns
from grid.locks.patterns import Pattern
from grid.locks.rows import Row
from grid.locks.rules import Wish
from grid.locks.sql import when
from grid.locks.turns import Turn
from grid.locks.types import Answer
from grid.public_errors import LockError, LockFencedError, LockLimitError

MAX_LOCKS, MAX_WAITS = 200, 20
"""Of one execution: what it holds, and what it waits for."""
MAX_WAITERS = 200
"""In the line of one repository."""
MAX_SECONDS = 86_400
MAX_REASON = 300
_NEWEST = 2**63 - 1
MODES = ("read", "write")


def acquire(
    execution_id: UUID,
    *,
    fence: int,
    path: str,
    mode: str = "write",
    wait: bool = False,
    reason: str = "",
    seconds: float | None = None,
) -> Answer:
    """Take a lock for a running execution. What it holds already is granted again.

    Args:
        fence: Fencing token of the execution's claim.
        path: File, folder or pattern (`grid.locks.patterns`), relative to the root of its repository.
        mode: `read` lets other readers in; `write` is alone. Who reads may ask for `write` as well.
        wait: Stand in line when somebody else has it; it is handed over as soon as it is free. Returns at once in any case.
        reason: In the words of who asks; shown to others.
        seconds: Ends it by itself after that long; asking again may make it longer, never shorter. None: at the end of its run,
            as with one that was waited for and handed over.

    Raises:
        LockPatternError: It is no path of a repository.
        LockLimitError: Too many locks or waiters.
        LockFencedError: The execution does not run.
    """
    wanted = patterns.parse(path)
    if mode not in MODES:
        raise LockError(f"there is no lock of the kind '{mode[:40]}'; ask for 'read' or 'write'")
    if seconds is not None and not 1 <= seconds <= MAX_SECONDS:
        raise LockError(
            f"a lock can be asked for 1 to {MAX_SECONDS} seconds; leave it out to hold it until the run ends"
        )
    with transaction.atomic():
        turn = turns.turn_of_execution(execution_id, fence=fence)
        if turn is None:
            raise _fenced(execution_id)
        asked = _Asked(turn, execution_id, fence, wanted, mode, reason[:MAX_REASON], seconds)
        return asked.answer(wait=wait)


def release(execution_id: UUID, *, fence: int, path: str) -> bool:
    """Give a lock back, or leave the line for it; whoever is next has it when this returns.

    Returns:
        False when the execution had no open lock with this very path or pattern, or does not run.

    Raises:
        LockPatternError: It is no path of a repository.
    """
    wanted = patterns.parse(path)
    with transaction.atomic():
        turn = turns.turn_of_execution(execution_id, fence=fence)
        found = [] if turn is None else rows.of_execution_or_waiting(turn, execution_id)
        mine = [row for row in found if row.execution_id == execution_id and patterns.same(row.pattern, wanted)]
        if turn is None or not mine:
            transaction.set_rollback(True)
            return False
        told = passing.give_back(turn, mine, why="")
        told += passing.pass_on(turn, [row for row in found if row not in mine], freed=mine)
        if not turns.record(turn, told, fenced=(execution_id, fence)):
            raise _fenced(execution_id)
    return True


class _Asked:
    """One wish while it is decided."""

    def __init__(
        self,
        turn: Turn,
        execution_id: UUID,
        fence: int,
        pattern: Pattern,
        mode: str,
        reason: str,
        seconds: float | None,
    ) -> None:
        self._turn, self._execution_id, self._fence = turn, execution_id, fence
        self._pattern, self._mode, self._reason = pattern, mode, reason
        self._until = turn.now + timedelta(seconds=seconds) if seconds is not None else None
        self._found = rows.near(turn, pattern, execution_id)
        self._rows = {row.id: row for row in self._found}
        self._wishes = [row.wish() for row in self._found]
        self._wish = Wish(
            id=_NEWEST, execution_id=execution_id, pattern=pattern, is_write=mode == "write", is_held=False
        )

    def answer(self, *, wait: bool) -> Answer:
        """Grant, refuse or put in line."""
        held = rules.own(self._wish, [row.wish() for row in self._found if self._lasts(row)])
        if held is not None:
            transaction.set_rollback(True)  # nothing is new: the token that came with the turn is not used up
            return Answer(granted=True, lock=self._rows[held.id].view(), is_new=False)
        ticket = rules.twin(self._wish, self._wishes, is_held=False)
        asked = replace(self._wish, id=ticket.id) if ticket is not None else self._wish
        others = [wish for wish in self._wishes if wish.id != asked.id]
        standing = [self._rows[wish.id] for wish in rules.blockers(asked, others)]
        if not standing:
            return self._grant(ticket)
        if not wait:
            return self._refuse(standing, "locked")
        if ticket is not None:
            transaction.set_rollback(True)
            return self._in_line(standing, ticket.id)
        return self._stand_in_line(standing)

    def _lasts(self, row: Row) -> bool:
        """Whether a lock that is held lasts as long as is asked for now."""
        end = when(row.until)
        return end is None or (self._until is not None and self._until <= end)

    def _grant(self, ticket: Wish | None) -> Answer:
        old = rules.twin(self._wish, [wish for wish in self._wishes if wish.counts], is_held=True) or ticket
        if old is None and sum(row.execution_id == self._execution_id for row in self._found) >= MAX_LOCKS:
            raise LockLimitError(
                f"this run has {MAX_LOCKS} locks; release some with release_lock, or lock the folder above them"
            )
        told = passing.expire(self._turn, [row for row in self._found if self._is_dead(row)])
        if ticket is not None and old is not ticket:
            told += passing.give_back(self._turn, [self._rows[ticket.id]], why="granted in another way")
        now = self._turn.now
        values: dict[str, Any] = {"state": "held", "mode": self._mode, "token": self._turn.token, "until": self._until}
        values |= {"since": now}
        if old is not None and old.is_write:
            values["mode"] = "write"
        if old is None:
            values = {**self._new(), **values}
            lock_id = rows.insert(self._turn, values)
            row = self._row(lock_id, values)
        else:
            lock_id = old.id
            rows.change(self._turn, [lock_id], values)
            row = replace(
                self._rows[lock_id],
                state="held",
                mode=values["mode"],
                token=self._turn.token,
                since=now,
                until=self._until,
            )
        told.append(notes.granted(self._turn, row, set_=values, token=self._turn.token))
        self._record(told)
        return Answer(granted=True, lock=row.view(), is_new=old is None or old is ticket)

    def _is_dead(self, row: Row) -> bool:
        """A lock on record that counts no more and is in the way of what is granted now."""
        if row.counts or not row.is_held:
            return False
        return row.execution_id == self._execution_id or rules.clash(row.wish(), self._wish)

    def _refuse(self, standing: Sequence[Row], code: str, circle: Sequence[UUID] = ()) -> Answer:
        self._record(
            [notes.refused(self._turn, self._execution_id, self._pattern, self._mode, self._reason, standing, circle)]
        )
        return Answer(granted=False, blockers=tuple(row.view() for row in standing), code=code, circle=tuple(circle))

    def _in_line(self, standing: Sequence[Row], ticket: int) -> Answer:
        return Answer(granted=False, blockers=tuple(row.view() for row in standing), ticket=ticket, code="waiting")

    def _stand_in_line(self, standing: Sequence[Row]) -> Answer:
        waiting = [row for row in self._found if not row.is_held and row.counts]
        if sum(row.execution_id == self._execution_id for row in waiting) >= MAX_WAITS:
            raise LockLimitError(f"this run waits for {MAX_WAITS} locks already; go on with what you have")
        if len(waiting) >= MAX_WAITERS:
            raise LockLimitError(f"{MAX_WAITERS} wait for locks of this repository already; ask again later")
        everything = [row.wish() for row in rows.open_rows(self._turn.repository, turn=self._turn)]
        circle = rules.circle(self._execution_id, rules.wait_graph([*everything, self._wish]))
        if circle:
            # Of those who wait in the circle this one came last: it is the one that gives way.
            return self._refuse(standing, "deadlock", circle)
        values = {**self._new(), "state": "waiting", "mode": self._mode, "token": 0}
        lock_id = rows.insert(self._turn, values)
        row = self._row(lock_id, values)
        self._record([notes.waiting(self._turn, row, set_=values, standing=standing)])
        return self._in_line(standing, lock_id)

    def _new(self) -> dict[str, Any]:
        return {
            "repository": self._turn.repository,
            "execution_id": self._execution_id,
            "pattern": self._pattern.text,
            "key": self._pattern.key,
            "is_glob": self._pattern.is_glob,
            "reason": self._reason,
            "asked_at": self._turn.now,
            "since": None,
            "until": None,
            "ended_at": None,
            "end_reason": "",
        }

    def _row(self, lock_id: int, values: dict[str, Any]) -> Row:
        return Row(
            id=lock_id,
            repository=self._turn.repository,
            execution_id=self._execution_id,
            pattern=self._pattern,
            mode=values["mode"],
            state=values["state"],
            token=values["token"],
            asked_at=values["asked_at"],
            since=values["since"],
            until=values["until"],
            reason=self._reason,
            end_reason="",
            lease_until=None,
            subject="",
            run_state="running",
            counts=True,
        )

    def _record(self, told: list[turns.Note]) -> None:
        if not turns.record(self._turn, told, fenced=(self._execution_id, self._fence)):
            raise _fenced(self._execution_id)


def _fenced(execution_id: UUID) -> LockFencedError:
    return LockFencedError(
        f"execution {str(execution_id)[:8]} does not run any more, or its lease is over: it can hold no lock"
    )
