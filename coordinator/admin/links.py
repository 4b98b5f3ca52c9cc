"""Ways from any page to the pages of agents and runs."""

from __future__ import annotations

from uuid import UUID

from coordinator.admin.display import line
from coordinator.models import Agent
from grid.public_admin import link


def agent_link(agent: Agent, *, title: int = 80) -> str:
    """To an agent, by its path and so many characters of its issue's title."""
    return link("coordinator_agent", agent.pk, f"{agent.path} {line(agent.issue.title, title)}")


def run_link(execution_id: UUID | None, *, none: str = "-") -> str:
    """To a run, by the beginning of its id."""
    return link("grid_execution", execution_id, str(execution_id)[:8]) if execution_id else none
