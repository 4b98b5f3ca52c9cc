"""The execution's state machine: the only module that writes `Execution.state`.

Every move is one conditional UPDATE and one event row in the same transaction. A move that loses a race changes nothing
and says so.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from grid import changing, event_log, returning, wake
from grid.locks import ending
from grid.models import Execution
from grid.models.executions import stream_of
from grid.public_types import LIVE, ON_HOST, TERMINAL, State
from grid.statements.prepared import given, given_all
from grid.statements.writing import PreparedUpdate

ARROWS: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.CLAIMED, State.CANCELLED}),
    State.CLAIMED: frozenset(
        {State.RUNNING, State.STOPPING, State.FAILED, State.CANCELLED, State.INTERRUPTED, State.LOST, State.QUARANTINED}
    ),
    State.RUNNING: TERMINAL | {State.STOPPING},
    State.STOPPING: TERMINAL,
    **{state: frozenset() for state in TERMINAL},
}
ENDED = "task.ended"
STARTED = "task.started"
CHANGED = "task.state-changed"
_TOLD = ("seq", "root", "subject", "token", "host", "sandbox")
"""Columns of the row that every move reads back."""


class IllegalMoveError(ValueError):
    """The arrow is not in the state machine: a bug of the caller, never a race."""


def move(
    execution_id: UUID,
    *,
    old: Collection[State],
    new: State,
    reason: str,
    token: int | None = None,
    where: Q | None = None,
    fields: Mapping[str, Any] | None = None,
) -> bool:
    """Move one execution from any of `old` to `new`.

    Args:
        old: States the caller believes in; each must have an arrow to `new`.
        reason: One line for people, kept on the event and, for terminal states, on the row.
        token: Fencing token of the holder; None for moves that need none (claim, cancel of a queued row, reaping).
        where: A further condition on the row, checked by the same UPDATE.
        fields: Further columns to set in the same UPDATE.

    Returns:
        False when the row was in none of these states, or belonged to another token. Nothing is written then.
    """
    for state in old:
        if new not in ARROWS[state]:
            raise IllegalMoveError(f"no arrow from {state} to {new}")
    values: dict[str, Any] = {"state": new, "seq": F("seq") + 1, **(fields or {})}
    if new in TERMINAL:
        values |= {"ended_at": Now(), "reason": reason[:500]}
    with transaction.atomic(savepoint=False):  # nothing in here is caught and survived
        # A queued one holds no locks. Their turn comes first: whoever takes a lock waits for the execution's row second, too.
        leaving = ending.before_end(execution_id) if new in TERMINAL and ON_HOST.intersection(old) else None
        unknown = [name for name, value in values.items() if name != "seq" and isinstance(value, Combinable)]
        columns = [*_TOLD, *(name for name in unknown if name not in _TOLD)]
        ours = {"execution": execution_id, "states": old, "token": token}
        moved = _move(where, token is not None).run(values, returning=columns, **ours)
        if not moved:
            if leaving is not None:
                ending.stays(leaving)
            return False
        row = returning.values(Execution, columns, moved[0])
        seq, root = row.pop("seq"), row.pop("root")
        body = {
            "to": str(new),
            "reason": reason[:500],
            "subject": row.pop("subject"),
            "token": row["token"],
            "host": row["host"],
            "rows": [changing.row(execution_id, {**values, **row})],
        }
        event_log.insert_numbered(stream=stream_of(execution_id), root=root, first_seq=seq, events=[(_kind(new), body)])
        if leaving is not None:
            ending.after_end(leaving, why=f"its run ended: {new}")
        if new in TERMINAL:
            wake.events()
    return True


@functools.lru_cache(maxsize=16)
def _move(where: Q | None, has_token: bool) -> PreparedUpdate:  # noqa: FBT001 - a key
    holder = {"token": given("token")} if has_token else {}
    return PreparedUpdate(
        lambda: Execution.objects.filter(where or Q(), pk=given("execution"), state__in=given_all("states"), **holder)
    )


def _kind(new: State) -> str:
    """Starts and ends have kinds of their own: others wait for them and read nothing else."""
    if new in TERMINAL:
        return ENDED
    return STARTED if new == State.RUNNING else CHANGED


def is_live(state: str) -> bool:
    """Whether a row in this state still holds its subject."""
    return state in LIVE
