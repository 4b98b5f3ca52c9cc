"""The question to people whether a changed text may be worked on: asked, and answered by an approval or by the old text.

The words of somebody who may not steer reach no prompt, and nothing is published while they stand. A run that is under way
has seen none of them: it goes on to its end, and that end waits. So nobody can end paid work by editing an issue.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction

from coordinator import auditing, lifecycle, wake
from coordinator.agents import approvals, tree
from coordinator.ending import applied
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.public_types import AgentState
from coordinator.trees import endings, reports
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_types import State

GOES_ON = " Its run goes on meanwhile; what it brings is taken up after that."
_RESTING = frozenset({AgentState.REVIEW, AgentState.WAITING})
_AT_WORK = frozenset({AgentState.QUEUED, AgentState.RUNNING})


def ask(agent_id: int, *, reason: str, actor: str) -> bool:
    """Let an agent wait for a person who looks at its issue's text. A queued run is taken back, one under way goes on.

    Args:
        agent_id: Its text is not approved.
        reason: `approvals.question`.
        actor: Whose doing it is, for the audit.

    Returns:
        False when it waits for a person, or ended, already.
    """
    with transaction.atomic():
        agent = Agent.objects.select_for_update(of=("self",)).get(pk=agent_id)
        if AgentState.BLOCKED not in lifecycle.ARROWS[AgentState(agent.state)]:
            return False
        live = grid.find_executions(subjects=[agent.subject], live=True)
        queued = [run.id for run in live if run.state == State.QUEUED]
        grid.request_stop(queued, reason="cancelled")
        if len(live) > len(queued):
            reason += GOES_ON
        lifecycle.close_nudge(agent)
        lifecycle.move(agent, new=AgentState.BLOCKED, reason=reason, fields={"blocked_reason": reason[:1000]})
        agent.blocked_reason = reason[:1000]
        tree.show_state(agent)
        tree.write(agent, *reports.show(agent), reports.notice(agent))
        endings.tell_parent(agent, f"{agent.path} waits for an approval")
        detail = {"reason": reason, "stopped": len(queued)}
        auditing.record(actor, approvals.NEEDS_APPROVAL, f"agent:{agent_id}", detail)
        wake.drain_outbox(agent.repository_id)
    return True


def answered(agent_id: int) -> bool:
    """Put an agent whose text is approved again where it was when the question came; the sweep applies an end that waited.

    Returns:
        False when nothing waits for it: no question was asked or it stands, or there was no run under way and no work to go
        back to, so that another run is what is wanted. Nothing was done then.
    """
    with transaction.atomic():
        agent = dispatch.locked(agent_id)
        if not approvals.is_asked(agent) or not approvals.is_issue_approved(agent):
            return False
        was = _state_before(agent)
        if was not in (_RESTING if agent.is_applied else _AT_WORK) or _is_taken_back(agent):
            return False
        fields: dict[str, Any] = {"blocked_reason": ""}
        if was == AgentState.WAITING:
            fields |= applied.resume_check(agent)
        lifecycle.move(agent, new=was, reason="its text is approved", fields=fields)
        agent.blocked_reason = ""
        tree.show_state(agent)
        tree.write(agent, *reports.show(agent))
        # What people asked for meanwhile, such as remarks on its pull request.
        dispatch.decide_again(agent_id)
        wake.drain_outbox(agent.repository_id)
    return True


def _state_before(agent: Agent) -> AgentState | None:
    """The state from which it was asked; the log tells, as the row has only the present one."""
    moves = grid_events.latest_events(stream=agent.stream, kinds=(lifecycle.CHANGED_STATE,), limit=2)
    return AgentState(moves[0].body["to"]) if len(moves) == 2 else None


def _is_taken_back(agent: Agent) -> bool:
    """Whether its run was cancelled before it began, so that its end is none of an agent's."""
    return not agent.is_applied and agent.execution is not None and agent.execution.state == State.CANCELLED
