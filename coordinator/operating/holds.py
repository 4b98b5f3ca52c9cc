"""Keeping away from an issue while a person holds it."""

from __future__ import annotations

from django.db import transaction

from coordinator import wake
from coordinator.agents.integration import GITHUB
from coordinator.ending import outcomes
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.money import budgets
from coordinator.operating import control
from grid import public_api as grid
from tracker import public_api as tracker
from tracker import public_writes as tracker_writes
from tracker.public_types import Write, WriteKind

HOLD = "agent:hold"


def set_hold(issue_id: int, *, repository_id: int, held: bool, actor: str) -> None:
    """Put `agent:hold` on an issue, or take it off. While it is there nothing is started, applied or written.

    On GitHub the label follows with the outbox; what waits in a queue is held back at once.
    """
    with transaction.atomic():
        issue = tracker.get_issue(issue_id)
        entry = control.audit(actor, "hold" if held else "unhold", str(issue.ref), {})
        if tracker.get_repository(repository_id).tracker != GITHUB:
            tracker.set_hold(issue_id, held=held, actor=actor)
        else:
            payload = {"ref": issue.ref.key, "name": HOLD, "present": held}
            write = Write(
                key=f"hold:{entry.pk}", kind=WriteKind.SET_LABEL, payload=payload, coalesce=f"hold:{issue_id}"
            )
            tracker_writes.wish(repository_id, [write])
            wake.drain_outbox(repository_id)
        if held:
            hold_back(issue_id)


def hold_back(issue_id: int) -> int:
    """Keep the issue's queued runs from starting; returns how many. Running agents go on, their ends wait."""
    return grid.hold(is_held=True, subjects=[f"issue:{issue_id}"])


def release(agent_id: int) -> None:
    """Take up what waited for a hold on the agent's issue to end; does nothing while it lasts."""
    agent = Agent.objects.select_related("envelope").get(pk=agent_id)
    if tracker.facts([agent.issue_id])[agent.issue_id].held or budgets.paused_scope(budgets.path_of(agent.envelope)):
        return
    grid.hold(is_held=False, subjects=[agent.subject])
    if not agent.is_applied and agent.execution_id is not None:
        outcomes.apply(agent.execution_id, drains=False)
    elif agent.nudges.filter(is_open=True, decision__code="held").exists():
        dispatch.decide_again(agent_id)
    wake.drain_outbox(agent.repository_id)
