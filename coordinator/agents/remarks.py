"""What people and checks said about agents' pull requests, on its way into the prompts of their next runs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Q

from coordinator import lifecycle
from coordinator.agents.integration import GITHUB
from coordinator.documents.prompt_context import Remark
from coordinator.models import Agent, Feedback
from coordinator.public_types import AgentState
from grid import public_events as grid_events
from tracker.public_types import Feedback as Said
from tracker.public_types import FeedbackKind

IN_A_PROMPT = 50
"""The rest waits for the run after."""
MAX_CHARACTERS = 20_000
END = "end"
"""Kind of the row that keeps one closing of a pull request from ending an agent twice; its id ends with the number."""
_KEY_MAX = 200
_KINDS = [str(kind) for kind in FeedbackKind]


def record(agent: Agent, said: Sequence[Said]) -> list[Feedback]:
    """Write down what is new, in the caller's transaction, which holds the agent's row; what is known stays as it is."""
    known = set(Feedback.objects.filter(agent=agent).values_list("tracker_id", flat=True))
    fresh = {key: item for item in said if (key := _key(item.id)) not in known}
    rows = Feedback.objects.bulk_create(
        Feedback(
            agent=agent,
            tracker_id=key,
            kind=str(item.kind),
            author=_author(item)[:100],
            text=item.text[:MAX_CHARACTERS].replace("\0", ""),
            path=item.path[:1000],
            line=item.line if item.line and item.line > 0 else None,
            head_sha=item.head_sha[:64],
        )
        for key, item in fresh.items()
    )
    if rows:
        body = {"remarks": [row.tracker_id for row in rows], "rows": [grid_events.row(row) for row in rows]}
        lifecycle.record(agent, ("feedback.taken-in", body))
    return rows


def waiting(agent: Agent) -> list[Feedback]:
    """What no run was told yet, oldest first; a failed check counts for the commit it looked at only."""
    return list(Feedback.objects.filter(_waits(agent), agent=agent, kind__in=_KINDS).order_by("pk"))


def for_next_run(agent: Agent) -> list[Feedback]:
    """What the next run's prompt holds: what waits, and what the last one was told when it came to nothing."""
    if agent.repository.tracker != GITHUB or agent.parent_id is not None:
        return []
    wanted = _waits(agent)
    if agent.execution_id is not None and agent.state != AgentState.REVIEW:
        wanted |= Q(execution_id=agent.execution_id)
    return list(Feedback.objects.filter(wanted, agent=agent, kind__in=_KINDS).order_by("pk")[:IN_A_PROMPT])


def survived(agent: Agent) -> list[int]:
    """Numbers of the pull requests whose end was taken up: those of an agent's former lives."""
    ids = Feedback.objects.filter(agent=agent, kind=END).values_list("tracker_id", flat=True)
    return [int(number) for tracker_id in ids if (number := tracker_id.rpartition(":")[2]).isdecimal()]


def take(agent: Agent, rows: Collection[Feedback], *, execution_id: UUID | None) -> dict[str, Any]:
    """Mark what a run's prompt holds, in the transaction that launches it; returns columns of the agent to set."""
    if not rows:
        return {}
    is_rework = any(row.execution_id is None for row in rows)
    Feedback.objects.filter(pk__in=[row.pk for row in rows]).update(execution_id=execution_id)
    for row in rows:
        row.execution_id = execution_id
    return {"reworks": agent.reworks + 1} if is_rework else {}


def told(execution_id: UUID) -> list[Feedback]:
    """What a run's prompt held."""
    return list(Feedback.objects.filter(execution_id=execution_id, kind__in=_KINDS).order_by("pk"))


def in_prompt(rows: Collection[Feedback]) -> tuple[Remark, ...]:
    """The same as values for a prompt."""
    return tuple(
        Remark(
            author=row.author,
            text=row.text,
            is_check=row.kind == FeedbackKind.CHECK,
            path=row.path,
            line=row.line,
            commit=row.head_sha,
        )
        for row in rows
    )


def _key(tracker_id: str) -> str:
    return tracker_id if len(tracker_id) <= _KEY_MAX else hashlib.sha256(tracker_id.encode()).hexdigest()


def _author(item: Said) -> str:
    """Who said it; of a check its name, which stands in its id between kind and commit."""
    if item.kind != FeedbackKind.CHECK:
        return item.author
    return item.id.partition(":")[2].rpartition(":")[0] or item.author


def _waits(agent: Agent) -> Q:
    return Q(execution_id=None) & (~Q(kind=str(FeedbackKind.CHECK)) | Q(head_sha=agent.head))
