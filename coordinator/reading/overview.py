"""Where everything stands, in one read: for `status`, pages and whoever else shows a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils import timezone

from coordinator.agents import reporting
from coordinator.care import repositories
from coordinator.public_types import AgentView, Cost, EnvelopeView
from coordinator.reading import pulse, queries
from coordinator.rules import answers
from grid import public_api as grid
from grid import public_bus as grid_bus
from grid import public_events as grid_events
from grid.public_bus import BusView
from grid.public_types import ExecutionView, HostView
from tracker import public_api as tracker
from tracker.public_types import RepositoryView

SILENT_SECONDS = 60.0
"""A host that did not report for so long is taken for dead."""
_SAID = ("agent.output", "agent.message", "agent.error", "tool.requested")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An agent with an execution that has not ended."""

    agent: AgentView
    execution: ExecutionView
    last_line: str
    """What it said or did last; an agent's words."""
    reported: str = ""
    """How far it says it is, by the tool `report_state`; an agent's words."""
    cost: Cost | None = None
    """Of the agent's models so far, earlier runs included; None: nothing is known of any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What needs a person, what runs, what waits, and on what it all stands."""

    attention: tuple[AgentView, ...]
    """Agents that wait for a person, those last whose next run nothing but a person's act lets start."""
    running: tuple[Running, ...]
    waiting: tuple[AgentView, ...]
    """Other agents that have not ended, without a live execution."""
    ended: tuple[AgentView, ...]
    """The last few."""
    hosts: tuple[HostView, ...]
    envelopes: tuple[EnvelopeView, ...]
    scope_names: Mapping[str, str]
    """What people call the envelopes, by key."""
    policy_errors: tuple[tuple[RepositoryView, str], ...]
    repositories: tuple[RepositoryView, ...]
    bus: BusView | None = None
    """None: no queue is configured."""
    sweeps: str = ""
    """That nobody sweeps though work waits, in a sentence; see `coordinator.reading.pulse`."""

    @property
    def has_working_host(self) -> bool:
        """Whether some host reported lately and takes work."""
        return any(host.heartbeat_age_seconds <= SILENT_SECONDS and not host.is_draining for host in self.hosts)


def read(*, limit: int = 50) -> Overview:
    """The overview, at most `limit` agents of each sort."""
    open_agents = queries.under_way(limit=limit)
    runs = {run.id: run for run in grid.find_executions(ids=[a.execution_id for a in open_agents if a.execution_id])}
    live = {run.id for run in runs.values() if run.is_live}
    at_work = [f"agent:{agent.id}" for agent in open_agents if agent.execution_id in live]
    reported = reporting.last_states(at_work, runs=live) if at_work else {}
    costs = queries.costs_of(agent for agent in open_agents if agent.execution_id in live) if at_work else {}
    envelopes = queries.envelopes()
    idle = [agent for agent in open_agents if agent.execution_id not in live]
    stuck = [agent for agent in idle if answers.needs_a_person(agent.decision)]
    return Overview(
        attention=(*queries.needing_attention(limit=limit), *stuck),
        running=tuple(
            Running(
                agent=agent,
                execution=runs[agent.execution_id],
                last_line=last_line(runs[agent.execution_id]),
                reported=reported.get(f"agent:{agent.id}", ""),
                cost=costs.get(agent.id),
            )
            for agent in open_agents
            if agent.execution_id in live
        ),
        waiting=tuple(agent for agent in idle if agent not in stuck),
        ended=tuple(queries.recent(limit=5)),
        hosts=tuple(grid.hosts()),
        envelopes=tuple(envelopes),
        scope_names=queries.scope_names(envelopes),
        policy_errors=tuple(repositories.errors()),
        repositories=tuple(tracker.list_repositories()),
        bus=grid_bus.view(),
        sweeps=pulse.problem(now=timezone.now()),
    )


def last_line(run: ExecutionView) -> str:
    """What an execution said or did last, in one raw line; empty when nothing yet."""
    said = grid_events.latest_events(stream=f"execution:{run.id}", kinds=_SAID, limit=1)
    if not said:
        return ""
    body = said[0].body
    lines = body.get("lines")
    text = lines[-1] if isinstance(lines, Sequence) and lines else body.get("text") or body.get("name") or ""
    return str(text)[:2000].strip().rpartition("\n")[2]
