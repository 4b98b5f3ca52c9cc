"""The move with which an execution's end is applied: agent, labels and words to people, in one transaction, by whoever is first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import lifecycle
from coordinator.agents import tree
from coordinator.models import Agent
from coordinator.public_types import ATTENTION, AgentState
from coordinator.trees import endings, reports
from grid.public_types import ExecutionView, Outcome
from tracker import public_api as tracker

FIRST_RESUME_CHECK = timedelta(seconds=30)


def move(agent: Agent, run: ExecutionView, new: AgentState, reason: str, **fields: Any) -> bool:
    """Move the agent and mark the end as applied, in one transaction; False when somebody else has."""
    with transaction.atomic(savepoint=False):
        if new in ATTENTION:
            fields["blocked_reason"] = reason[:1000]
        if new == AgentState.WAITING:
            fields = {**resume_check(agent), **fields}
        if run.result.outcome is not None and run.result.outcome.summary:
            fields.setdefault("summary", run.result.outcome.summary)
        fields["is_applied"] = True
        mine = {"execution_id": run.id, "is_applied": False}
        if not lifecycle.move(agent, old=_movable(new), new=new, reason=reason, fields=fields, only_if=mine):
            return False
        for name in ("blocked_reason", "summary", "head"):
            setattr(agent, name, fields.get(name, getattr(agent, name)))
        if new != AgentState.DONE:  # its issue is closed, which takes the label off
            tree.show_state(agent)
        if new in ATTENTION:
            issue = tracker.get_issue(agent.issue_id)
            tree.write(agent, *reports.ended(agent, run))
            endings.tell_parent(agent, f"{issue.ref} needs attention: {reason}"[:300])
        elif new in (AgentState.QUEUED, AgentState.WAITING):
            tree.write(agent, *reports.show(agent))
    return True


def stop(agent: Agent, run: ExecutionView, new: AgentState, reason: str) -> bool:
    """The same with no word to anybody: the row only. False when somebody else has applied the end."""
    fields = {"blocked_reason": reason[:1000], "is_applied": True}
    mine = {"execution_id": run.id, "is_applied": False}
    return lifecycle.move(agent, old=_movable(new), new=new, reason=reason, fields=fields, only_if=mine)


def _movable(new: AgentState) -> list[AgentState]:
    return [old for old in (AgentState.QUEUED, AgentState.RUNNING) if new in lifecycle.ARROWS[old]]


def succeeded(outcome: Outcome | None) -> dict[str, Any]:
    """Columns of an agent whose run went well: nothing that failed before counts any more."""
    return {"attempts": 0, "crashes": 0, "summary": outcome.summary if outcome else "", "conflict": {}, "next_mode": ""}


def resume_check(agent: Agent) -> dict[str, Any]:
    """Columns of a parent that waits: when the sweep looks at it."""
    return {
        "resume_due_at": timezone.now() + FIRST_RESUME_CHECK,
        "resume_backoff_seconds": round(FIRST_RESUME_CHECK.total_seconds()),
    }
