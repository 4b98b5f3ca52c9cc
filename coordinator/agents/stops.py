"""Whether an agent's work may still become something: asked again right before anything of it leaves the agent's own branch.

Merges and pushes are made outside transactions and may take a while. What people decided meanwhile is seen here.
"""

from __future__ import annotations

from coordinator.models import Agent
from coordinator.money import budgets
from coordinator.public_errors import StoppedError
from coordinator.public_types import AgentState
from tracker import public_api as tracker

_AT_WORK = (AgentState.QUEUED, AgentState.RUNNING)


def check(agent: Agent) -> None:
    """Refuse to go on for an agent that may not any more; nothing is locked, so look as late as possible.

    Args:
        agent: As it was when the end of its last execution was taken up.

    Raises:
        StoppedError: It was cancelled, lost its approval or went on otherwise, a scope around it was paused, or its issue held.
    """
    run = agent.execution_id
    waiting = Agent.objects.filter(pk=agent.pk, is_applied=False, state__in=_AT_WORK)
    if run is None or not waiting.filter(execution_id=run).exists():
        raise StoppedError(f"agent {agent.pk} does not wait for this end any more")
    if budgets.is_paused(run):
        raise StoppedError(f"a scope of agent {agent.pk} was paused")
    if tracker.is_held(agent.issue_id):
        raise StoppedError(f"the issue of agent {agent.pk} is held")
