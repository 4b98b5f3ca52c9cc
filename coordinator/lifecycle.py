"""The agent's state machine: the only module that writes `Agent.state`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from coordinator.models import Agent
from coordinator.public_types import ENDED, AgentState
from grid import public_events as grid_events

type Draft = tuple[str, dict[str, Any]]

A = AgentState
ARROWS: Mapping[AgentState, frozenset[AgentState]] = {
    A.NEW: frozenset({A.QUEUED, A.BLOCKED, A.ABANDONED}),
    A.QUEUED: frozenset({A.RUNNING, A.QUEUED, A.WAITING, A.REVIEW, A.BLOCKED, A.FAILED, A.DONE, A.ABANDONED}),
    A.RUNNING: frozenset({A.QUEUED, A.WAITING, A.REVIEW, A.BLOCKED, A.FAILED, A.DONE, A.ABANDONED}),
    A.WAITING: frozenset({A.QUEUED, A.BLOCKED, A.FAILED, A.DONE, A.ABANDONED}),
    A.REVIEW: frozenset({A.QUEUED, A.BLOCKED, A.DONE, A.ABANDONED}),
    # Done: a person merged its pull request as it was.
    A.BLOCKED: frozenset({A.QUEUED, A.DONE, A.ABANDONED}),
    A.FAILED: frozenset({A.QUEUED, A.DONE, A.ABANDONED}),
    A.DONE: frozenset(),
    # Only by a person's `retry`.
    A.ABANDONED: frozenset({A.QUEUED}),
}


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
) -> bool:
    """Move an agent, with one event row in the same transaction.

    Args:
        agent: Its `state` is what the caller believes; updated on success.
        old: States to move from; by default the believed one.
        reason: One line for people.
        fields: Further columns to set in the same UPDATE.
        only_if: Further conditions of the UPDATE.
        also: Further events of the same transaction, kind and body each.

    Returns:
        False when the row was in another state by now, or a condition did not hold. Nothing is written then.
    """
    believed = [AgentState(state) for state in old] or [AgentState(agent.state)]
    for state in believed:
        if new not in ARROWS[state]:
            raise IllegalMoveError(f"no arrow from {state} to {new}")
    values: dict[str, Any] = {"state": str(new), "updated_at": Now(), **(fields or {})}
    if new in ENDED:
        values.setdefault("ended_at", Now())
    with transaction.atomic(savepoint=False):  # nothing in here is caught and survived
        rows = Agent.objects.filter(pk=agent.pk, state__in=[str(state) for state in believed], **(only_if or {}))
        if not rows.update(**values):
            return False
        record(agent, ("agent.state-changed", {"to": str(new), "reason": reason[:500]}), *also)
    agent.state = str(new)
    return True


def record(agent: Agent, *events: Draft) -> None:
    """Add events, kind and body each, to the agent's stream, in the caller's transaction."""
    grid_events.append_events(stream=agent.stream, root=agent.root_key, events=events)
