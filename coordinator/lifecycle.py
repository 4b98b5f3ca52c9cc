"""The agent's state machine: the only module that writes `Agent.state`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from coordinator.models import Agent
from coordinator.public_types import ENDED, AgentState, Answer
from grid import public_events as grid_events
from grid.public_sql import PreparedUpdate, given, given_all

type Draft = tuple[str, dict[str, Any]]

A = AgentState
ARROWS: Mapping[AgentState, frozenset[AgentState]] = {
    A.NEW: frozenset({A.QUEUED, A.BLOCKED, A.ABANDONED}),
    A.QUEUED: frozenset({A.RUNNING, A.QUEUED, A.WAITING, A.REVIEW, A.BLOCKED, A.FAILED, A.DONE, A.ABANDONED}),
    A.RUNNING: frozenset({A.QUEUED, A.WAITING, A.REVIEW, A.BLOCKED, A.FAILED, A.DONE, A.ABANDONED}),
    A.WAITING: frozenset({A.QUEUED, A.BLOCKED, A.FAILED, A.DONE, A.ABANDONED}),
    A.REVIEW: frozenset({A.QUEUED, A.BLOCKED, A.DONE, A.ABANDONED}),
    # Done: a person merged its pull request as it was. Running, waiting, review: back to what a question interrupted.
    A.BLOCKED: frozenset({A.QUEUED, A.RUNNING, A.WAITING, A.REVIEW, A.DONE, A.ABANDONED}),
    A.FAILED: frozenset({A.QUEUED, A.DONE, A.ABANDONED}),
    A.DONE: frozenset(),
    # Only by a person's `retry`.
    A.ABANDONED: frozenset({A.QUEUED}),
}


CHANGED_STATE, CHANGED = "agent.state-changed", "agent.changed"
_TABLE = Agent._meta.db_table
_IN_STATE = PreparedUpdate(lambda: Agent.objects.filter(pk=given("agent"), state__in=given_all("states")))
_COLUMNS = {field.name: field.column or field.name for field in Agent._meta.concrete_fields}


class IllegalMoveError(ValueError):
    """The arrow is not in the state machine: a bug of the caller, never a race."""


def move(
    agent: Agent,
    *,
    new: AgentState,
    reason: str,
    old: Collection[AgentState] = (),
    fields: Mapping[str, Any] | None = None,
    only_if: Mapping[str, Any] | None = None,
    also: Sequence[Draft] = (),
    rows: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """Move an agent, with one event row in the same transaction.

    Args:
        agent: Its `state` is what the caller believes; updated on success.
        old: States to move from; by default the believed one.
        reason: One line for people.
        fields: Further columns to set in the same UPDATE.
        only_if: Further conditions of the UPDATE.
        also: Further events of the same transaction, kind and body each.
        rows: Further rows of state tables that were written with this move (`grid.public_events.row`).

    Returns:
        False when the row was in another state by now, or a condition did not hold. Nothing is written then.
    """
    believed = [AgentState(state) for state in old] or [AgentState(agent.state)]
    for state in believed:
        if new not in ARROWS[state]:
            raise IllegalMoveError(f"no arrow from {state} to {new}")
    values: dict[str, Any] = {"state": str(new), **(fields or {})}
    if new in ENDED:
        values.setdefault("ended_at", timezone.now())
    with transaction.atomic(savepoint=False):  # nothing in here is caught and survived
        changes = {"updated_at": Now(), **values}
        if only_if:
            moved = Agent.objects.filter(pk=agent.pk, state__in=[*map(str, believed)], **only_if).update(**changes)
        else:
            moved = len(_IN_STATE.run(changes, agent=agent.pk, states=believed))
        if not moved:
            return False
        body = {"to": str(new), "reason": reason[:500], "rows": [_row(agent.pk, values), *rows]}
        record(agent, (CHANGED_STATE, body), *also)
    agent.state = str(new)
    return True


def change(
    agent: Agent,
    *,
    event: str = CHANGED,
    body: Mapping[str, Any] | None = None,
    only_if: Mapping[str, Any] | Q | None = None,
    also: Sequence[Draft] = (),
    **fields: Any,
) -> bool:
    """Change columns of an agent other than its state, with one event row in the same transaction.

    Args:
        agent: Its attributes are set on success.
        event: Kind of the event.
        body: What the event says beside the columns.
        only_if: Further conditions of the UPDATE.
        also: Further events of the same transaction, kind and body each.
        fields: Columns and their new values; plain ones, no `Now()` and no `F(…)`.

    Returns:
        False when there is no such row, or a condition did not hold. Nothing is written then.
    """
    if "state" in fields:
        raise IllegalMoveError("the state is changed by `move`")
    condition = only_if if isinstance(only_if, Q) else Q(**(only_if or {}))
    with transaction.atomic(savepoint=False):  # nothing in here is caught and survived
        if not Agent.objects.filter(condition, pk=agent.pk).update(**{"updated_at": Now(), **fields}):
            return False
        further = body or {}
        record(agent, (event, {**further, "rows": [_row(agent.pk, fields), *further.get("rows", ())]}), *also)
    for name, value in fields.items():
        setattr(agent, name, value)
    return True


def close_nudge(agent: Agent) -> None:
    """Refuse the open nudge of an agent that is not to be looked at any more, in the caller's transaction."""
    row = agent.nudges.filter(is_open=True).first()
    if row is None or not agent.nudges.filter(pk=row.pk, is_open=True).update(
        is_open=False, answer=Answer.REFUSED, answered_at=timezone.now()
    ):
        return
    changed = grid_events.changed_row(row._meta.db_table, row.pk, is_open=False, answer=Answer.REFUSED)
    record(agent, ("nudge.closed", {"nudge": row.pk, "rows": [changed]}))


def _row(pk: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """What an event says of these columns; `updated_at` is the sweeps' own and no state."""
    columns = {_COLUMNS.get(name, name): value for name, value in values.items() if name != "updated_at"}
    return grid_events.changed_row(_TABLE, pk, **columns)


def record(agent: Agent, *events: Draft) -> None:
    """Add events, kind and body each, to the agent's stream, in the caller's transaction."""
    grid_events.append_events(stream=agent.stream, root=agent.root_key, events=events)
