"""Conflicts as others see them: frozen values for commands, pages and programs. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coordinator.conf import conf
from coordinator.contention import conflict_rows, conflict_words
from coordinator.models import Conflict
from coordinator.rules import conflict_rules as rules
from coordinator.rules.conflict_steps import steps
from coordinator.teamwork import conflicts


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictView:
    """One conflict."""

    id: int
    kind: str
    state: str
    what: str
    """In a sentence."""
    patterns: tuple[str, ...]
    requester_id: int
    requester: str
    """Its place in the tree."""
    holder_id: int
    holder: str
    arbiter_id: int | None
    """None: people decide."""
    arbiter: str
    """Its place in the tree; empty: people decide."""
    thread_id: int | None
    choices: tuple[str, ...]
    """Each with what happens then."""
    decision: str
    """In a sentence; empty of one that is not decided."""
    choice: str
    order: tuple[int, ...]
    decided_by: str
    words: str
    decisions: int
    steps: tuple[tuple[str, bool], ...]
    """Of the present decision: what is to be done, and whether it is."""
    waiter_id: int | None
    """Who is not started because of it."""
    joined: int
    facts: Mapping[str, Any]
    reason: str
    """How it ended."""
    created_at: datetime
    default_at: datetime
    act_at: datetime | None
    decided_at: datetime | None
    ended_at: datetime | None


def view(row: Conflict) -> ConflictView:
    """A row as a value; it comes with its agents."""
    decision = conflict_rows.decision(row)
    plan = steps(rules.Kind(row.kind), conflict_rows.sides(row), decision) if decision is not None else ()
    return ConflictView(
        id=row.pk,
        kind=row.kind,
        state=row.state,
        what=conflict_words.what(row),
        patterns=tuple(row.patterns),
        requester_id=row.requester_id,
        requester=row.requester.path,
        holder_id=row.holder_id,
        holder=row.holder.path,
        arbiter_id=row.arbiter_id,
        arbiter=row.arbiter.path if row.arbiter is not None else "",
        thread_id=row.thread_id,
        choices=conflict_words.meanings(row, grace=conf().conflict_grace_seconds),
        decision=conflict_words.decided_of(row),
        choice=row.choice,
        order=tuple(row.order),
        decided_by=row.decided_by,
        words=row.words,
        decisions=row.decisions,
        steps=tuple((f"{step.name} {step.agent}", number < row.step) for number, step in enumerate(plan)),
        waiter_id=row.waiter_id,
        joined=row.joined,
        facts=row.facts,
        reason=row.reason,
        created_at=row.created_at,
        default_at=row.default_at,
        act_at=row.act_at,
        decided_at=row.decided_at,
        ended_at=row.ended_at,
    )


def find(*, state: str = "", agent_id: int | None = None, limit: int = 100) -> list[ConflictView]:
    """Conflicts, the newest first; arguments as of `conflicts.find`."""
    return [view(row) for row in conflicts.find(state=state, agent_id=agent_id, limit=limit)]


def get(conflict_id: int) -> ConflictView:
    """One conflict. Raises AgentNotFoundError."""
    return view(conflicts.get(conflict_id))


def decide(conflict_id: int, *, choice: str, actor: str, order: Sequence[int] = (), reason: str = "") -> ConflictView:
    """Decide a conflict; errors as of `conflicts.decide`."""
    return get(conflicts.decide(conflict_id, choice=choice, actor=actor, order=order, reason=reason).pk)
