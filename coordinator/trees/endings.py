"""How agents end: abandoned without their work, their issue closed, their parent told. Call these in a transaction."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from coordinator import lifecycle, wake
from coordinator.agents import tree
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.public_types import AgentState, Source
from coordinator.trees import reports, spawning
from tracker import public_writes as tracker_writes
from tracker.public_types import CloseReason, Write, WriteKind


def abandon(agent: Agent, *, reason: str) -> bool:
    """End an agent without its work; closes the issue when it was one of ours. Call it in a transaction."""
    fields: dict[str, Any] = {"blocked_reason": reason[:1000], "is_splitting": False, "not_before": None}
    if not lifecycle.move(agent, new=AgentState.ABANDONED, reason=reason, fields=fields):
        return False
    if agent.is_splitting and agent.execution_id is not None:
        tracker_writes.withdraw(spawning.write_keys(agent), now=timezone.now())
    lifecycle.close_nudge(agent)
    tree.show_state(agent)
    agent.blocked_reason = fields["blocked_reason"]
    tree.write(agent, *reports.show(agent))
    if agent.parent_id:
        tree.write(agent, close_issue(agent, key=agent.issue.key, reason=CloseReason.NOT_PLANNED))
    wake.drain_outbox(agent.repository_id)
    return True


def tell_parent(agent: Agent, reason: str) -> None:
    """Nudge the parent, in the caller's transaction."""
    if agent.parent_id:
        dispatch.nudge(agent.parent_id, source=Source.CHILD, reason=reason)


def close_issue(agent: Agent, *, key: str, reason: CloseReason) -> Write:
    """The wish to close an agent's issue."""
    return Write(
        key=f"close:{agent.pk}:{agent.executions}:{reason}",
        kind=WriteKind.CLOSE,
        payload={"ref": key, "reason": str(reason)},
        coalesce=tree.label_of(agent),
    )
