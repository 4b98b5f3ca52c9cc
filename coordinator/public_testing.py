"""Parts of a grid in a given state, for benchmarks and trials: made by the domain's own functions, nothing is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from coordinator import lifecycle
from coordinator.agents import roster
from coordinator.care import repositories
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.money import budgets
from coordinator.public_types import AgentState, Answer, Source
from tracker import public_api as tracker
from tracker.public_types import IssueDraft

_COMMAND = {"adapter": "command", "options": {"command": "true"}}


def waiting_parent(source: Path, *, children: int) -> int:
    """An agent that waits for so many children, all of which are done; returns its id.

    Args:
        source: A git repository with a commit.
        children: Each with an issue of its own, linked to the parent's.
    """
    repository = repositories.add_local(str(source))
    repositories.refresh(repository.id)
    parent = _agent(repository.id, f"A task in {children} parts")
    above = tracker.get_issue(parent.issue_id)
    for number in range(children):
        child = _agent(repository.id, f"Part {number}", parent=parent)
        tracker.tracker_for(repository.id).link_child(above.ref, tracker.get_issue(child.issue_id).ref)
        lifecycle.move(child, new=AgentState.QUEUED, reason="a trial")
        lifecycle.move(child, new=AgentState.DONE, reason="a trial", fields={"summary": f"Part {number} is there."})
    lifecycle.move(parent, new=AgentState.QUEUED, reason="a trial")
    lifecycle.move(parent, new=AgentState.WAITING, reason="a trial")
    return parent.pk


def resume(agent_id: int) -> str:
    """Nudge a waiting parent as its last child does; returns the mode of the run that this queued. Raises ValueError."""
    decision = dispatch.nudge(agent_id, source=Source.CHILD, reason="the last one is done").decision or {}
    if decision.get("answer") != Answer.ADMITTED:
        raise ValueError(f"it does not run: {decision.get('reason', 'there is no answer')}")
    return str(decision.get("mode"))


def reserving(source: Path) -> Callable[[], bool]:
    """Returns an act that reserves one run on the whole path of an agent's envelopes and settles it again."""
    repository = repositories.add_local(str(source))
    repositories.refresh(repository.id)
    agent = _agent(repository.id, "Pay for it")
    path = budgets.path_of(agent.envelope)

    def reserve_and_settle() -> bool:
        execution_id = uuid4()
        taken = budgets.reserve(path=path, execution_id=execution_id, wall_seconds=1)
        return bool(taken) and budgets.settle(execution_id=execution_id, executions=0, wall_seconds=0)

    return reserve_and_settle


def _agent(repository_id: int, title: str, *, parent: Agent | None = None) -> Agent:
    issue = tracker.create_issue(repository_id=repository_id, draft=IssueDraft(title=title))
    issue_id = tracker.issue_id(issue.ref, repository_id=repository_id)
    return roster.take_on(issue_id=issue_id, repository_id=repository_id, parent=parent, spec=_COMMAND)
