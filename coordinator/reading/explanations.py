"""Why an agent runs or does not, in one frozen value for commands and pages. Nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coordinator.agents import reporting
from coordinator.care import profiles
from coordinator.documents.policy import CAPS
from coordinator.launching import briefing, surroundings
from coordinator.models import Agent
from coordinator.money import budgets, costs
from coordinator.public_errors import AgentNotFoundError
from coordinator.public_types import AgentView, Cost, Decision, EnvelopeView, NudgeView, Source
from coordinator.reading import queries
from coordinator.rules import admission
from coordinator.rules import capability as capabilities
from grid.public_types import ExecutionView


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an agent runs or does not: the stored answer and a fresh one."""

    agent: AgentView
    now: Decision
    """What a person's nudge would be answered at this moment; nothing is started by asking."""
    nudges: tuple[NudgeView, ...]
    executions: tuple[ExecutionView, ...]
    envelopes: tuple[EnvelopeView, ...]
    blockers: tuple[str, ...]
    children: tuple[AgentView, ...]
    policy_error: str
    profile: str
    """Name of the profile of its next run."""
    profile_from: str
    """Who chose it: `the agent`, `its parent`, `.agentgrid.yml`, `depth 1`."""
    model: str
    """Of its next run, `provider:name`; empty: its program's own business."""
    capability: dict[str, Any]
    """What its next run may use."""
    holds: tuple[str, ...]
    """The same in words."""
    wishes_not_met: tuple[str, ...]
    """Profiles that were asked for and are not there."""
    reported: str
    """How far its present run says it is, by the tool `report_state`; an agent's words."""
    cost: Cost | None
    """Of its models so far; None: nothing is known of any."""
    limits: dict[str, int]
    """What the policy file and the fleet's caps allow, by the names of docs/policy-file.md."""
    origin: dict[str, str]
    """Where each limit comes from: `default`, `fleet`, `.agentgrid.yml`."""


def explain(agent_id: int) -> Explanation:
    """Everything that decides whether an agent runs. Raises AgentNotFoundError."""
    row = queries.complete_rows().filter(pk=agent_id).first()
    if row is None:
        raise AgentNotFoundError(f"no agent {agent_id}")
    situation = surroundings.look(row)
    facts = surroundings.gather(row, situation, source=Source.OPERATOR)
    policy, found = briefing.limits_of(row), situation.plan.standing
    return Explanation(
        agent=queries.agents([row])[0],
        now=admission.decide(facts),
        nudges=tuple(queries.nudges_of(agent_id, limit=10)),
        executions=tuple(queries.executions_of(agent_id, limit=10)),
        envelopes=tuple(budgets.view(envelope) for envelope in situation.path),
        blockers=facts.blockers,
        children=tuple(queries.agents(queries.complete_rows().filter(parent_id=agent_id).order_by("pk"))),
        policy_error=situation.plan.fetch_error,
        profile=found.profile.name,
        profile_from=found.chosen_by,
        model=found.model,
        capability=capabilities.as_json(found.capability),
        holds=tuple(capabilities.in_words(found.capability, profiles.fleet_tiers())),
        wishes_not_met=found.notes,
        reported=_reported(row),
        cost=costs.of_agents([row]).get(row.pk),
        limits={name: getattr(policy, name) for name in CAPS},
        origin=dict(policy.origin),
    )


def _reported(row: Agent) -> str:
    if row.execution_id is None or row.is_applied:
        return ""
    return reporting.last_states([row.stream], runs=[row.execution_id]).get(row.stream, "")
