"""Agents that run as far as the database knows: claimed by a host that does not exist, with a bearer token."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from coordinator.ending import outcomes
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.public_types import Source
from grid import bearers, executions, lifecycle
from grid.models import Execution, Host
from grid.public_types import Outcome, OutcomeKind, Result, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A run under way."""

    agent_id: int
    execution_id: UUID
    fence: int
    token: str

    @property
    def agent(self) -> Agent:
        """As it is now."""
        return Agent.objects.get(pk=self.agent_id)

    @property
    def headers(self) -> dict[str, str]:
        """For a request in its name."""
        return {"Authorization": f"Bearer {self.token}"}


def running(agent: Agent) -> Running:
    """Launch an agent, and claim its execution."""
    dispatch.nudge(agent.pk, source=Source.OPERATOR)
    agent.refresh_from_db()
    return claimed(agent)


def claimed(agent: Agent) -> Running:
    """Claim the execution that is queued for an agent."""
    agent.refresh_from_db()
    assert agent.execution_id is not None, agent.decision
    Host.objects.get_or_create(name="nowhere", defaults={"slots": 50})
    row = executions.claim(agent.execution_id, host="nowhere")
    assert row is not None
    assert lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started")
    return Running(agent_id=agent.pk, execution_id=row.pk, fence=row.token, token=bearers.mint(row.pk, fence=row.token))


def end(run: Running, kind: OutcomeKind = OutcomeKind.DONE, *, state: State = State.SUCCEEDED) -> None:
    """End a run with a report, and apply it."""
    result = Result(outcome=Outcome(kind=kind, summary=f"says {kind}"), head=run.agent.base, changed=False)
    row = Execution.objects.get(pk=run.execution_id)
    assert executions.end(row.pk, token=run.fence, state=state, reason="ended", result=result)
    outcomes.apply(run.execution_id)
