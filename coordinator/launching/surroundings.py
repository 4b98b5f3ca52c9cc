"""What surrounds an agent when it is decided whether it runs, read in the transaction of the decision.

`coordinator.rules.admission` decides by the facts from here, `coordinator.launching.dispatch` acts. Nothing is written, but for the row of a
day that has just begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from coordinator.agents import approvals, remarks, tree
from coordinator.agents.tree import Children
from coordinator.care import days, repositories
from coordinator.conf import conf
from coordinator.contention import conflict_rows, neighbours
from coordinator.launching import briefing, room
from coordinator.launching.briefing import RunPlan
from coordinator.models import Agent, Envelope, Feedback, UpgradeRequest
from coordinator.money import budgets, soft_limits
from coordinator.public_types import AgentState, Source
from coordinator.rules.admission_facts import Facts
from coordinator.talk import inbox
from coordinator.talk.inbox import Inbox
from grid.public_types import LIVE, Mode
from tracker import public_api as tracker

POLICY_MAX_AGE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What both the decision and the launch need."""

    path: list[Envelope]
    """From the fleet down to its own, each day behind its scope."""
    plan: RunPlan
    children: Children
    remarks: list[Feedback]
    """On its pull request, for the next run to take up."""
    messages: Inbox
    """To it, for the next run to be told."""
    is_stale: bool
    """The repository was not fetched for a while."""


def look(agent: Agent) -> Situation:
    """Read an agent's surroundings; the agent comes with its envelope, repository and parent."""
    policy = repositories.policy_of(agent.repository_id)
    plan, now = briefing.plan_for(agent, policy), timezone.now()
    return Situation(
        path=days.path(agent.envelope, repository_id=agent.repository_id, policy=plan.policy, at=now),
        plan=plan,
        children=tree.children_of(agent),
        remarks=remarks.for_next_run(agent),
        messages=inbox.for_next_run(agent),
        is_stale=policy is None or policy.refreshed_at is None or policy.refreshed_at < timezone.now() - POLICY_MAX_AGE,
    )


def gather(agent: Agent, situation: Situation, *, source: Source) -> Facts:
    """Everything the decision depends on."""
    plan, children = situation.plan, situation.children
    issue = tracker.facts([agent.issue_id])[agent.issue_id]
    live = agent.execution if agent.execution is not None and agent.execution.state in LIVE else None
    return Facts(
        now=timezone.now(),
        source=source,
        is_working=conf().is_working,
        state=AgentState(agent.state),
        issue_is_open=issue.is_open,
        is_held=issue.held,
        is_text_approved=approvals.is_issue_approved(agent),
        blockers=tuple(str(ref) for ref in issue.open_blockers),
        rest_until=situation.path[0].rest_until,
        paused=budgets.paused_scope(situation.path),
        live_execution=str(live.pk)[:8] if live else "",
        is_applied=agent.is_applied,
        is_splitting=agent.is_splitting,
        depth=agent.depth,
        max_depth=plan.max_depth,
        not_before=agent.not_before,
        next_mode=agent.next_mode,
        children_open=children.moving,
        children_stuck=children.stuck,
        children_total=children.total,
        children_changed=children.fingerprint != agent.children_seen,
        has_base=bool(plan.base),
        fetch_error=plan.fetch_error,
        agent_error=plan.error,
        upgrades_asked=_upgrades_asked(agent) if children.total else 0,
        conflicts_asked=len(conflict_rows.to_decide(agent, is_new=True)) if children.total else 0,
        conflicts_open=len(conflict_rows.to_decide(agent)) if children.total else 0,
        conflict=conflict_rows.wait_of(agent.pk),
        has_merge="paths" in agent.conflict,
        is_upgraded=agent.state == AgentState.BLOCKED and _is_upgraded(agent),
        capability_error=plan.standing.error,
        full=room.full(plan, path=situation.path),
        money_held=room.money_held(agent, plan, path=situation.path),
        no_progress=soft_limits.stopped(situation.path),
        questions=situation.messages.asking,
        footprint=neighbours.in_the_way(agent, plan.policy),
        remarks=len(situation.remarks),
        reworks=agent.reworks,
    )


def _upgrades_asked(agent: Agent) -> int:
    """Its next run is told of them; those that its last run was told of must not start it again and again."""
    rows = UpgradeRequest.objects.filter(agent__parent_id=agent.pk, state=UpgradeRequest.State.OPEN)
    # A run that was to decide conflicts alone has done nothing about them.
    if agent.execution is not None and agent.execution.mode != Mode.RESOLVE:
        rows = rows.filter(created_at__gt=agent.execution.created_at)
    return rows.count()


def _is_upgraded(agent: Agent) -> bool:
    rows = UpgradeRequest.objects.filter(agent_id=agent.pk, state=UpgradeRequest.State.GRANTED)
    return agent.execution is not None and rows.filter(answered_at__gt=agent.execution.created_at).exists()
