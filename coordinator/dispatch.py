"""The one way to start an execution: a nudge is recorded, decided on facts, and answered, all in one transaction.

Webhook, operator, sweep, retry, resume and conflict all come through `nudge`. Whatever the answer, it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from coordinator import (
    admission,
    approvals,
    briefing,
    budgets,
    conflict_rows,
    days,
    inbox,
    lifecycle,
    messages,
    neighbours,
    profiles,
    remarks,
    repositories,
    room,
    soft_limits,
    tree,
    wake,
)
from coordinator import capability as capabilities
from coordinator.admission import Facts
from coordinator.briefing import RunPlan
from coordinator.conf import conf
from coordinator.inbox import Inbox
from coordinator.lifecycle import Draft
from coordinator.models import Agent, Envelope, Feedback, Nudge, UpgradeRequest
from coordinator.public_types import AgentState, Answer, Decision, Source
from coordinator.tree import Children
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_types import LIVE, Mode
from tracker import public_api as tracker

POLICY_MAX_AGE = timedelta(minutes=5)
RECHECK = timedelta(seconds=60)
"""A deferred nudge whose event was missed is decided again after this long."""
_NUDGE_CHANGES = ("source", "reason", "is_open", "answer", "decision", "execution_id")
_NUDGE = ("agent_id", "created_at", *_NUDGE_CHANGES)
"""Columns that events carry; when an open nudge is looked at again is no state."""


def nudge(asked: int | Agent, *, source: Source, reason: str = "", not_before: datetime | None = None) -> Nudge:
    """Ask for a look at an agent now, and answer.

    Args:
        asked: The agent's id, or what `locked` returned in this transaction.
        not_before: Decide no earlier (retries); the nudge is recorded as deferred until then.

    Returns:
        The nudge that holds the answer: the new one, or the open one it was coalesced into.
    """
    with transaction.atomic(savepoint=False):  # nothing in here is caught and survived
        agent = asked if isinstance(asked, Agent) else locked(asked)
        row, joined = _open_nudge(agent), None
        if row is not None:
            joined = _coalesce(row, source=source, reason=reason)
        else:
            row = Nudge(agent=agent, source=source, reason=reason[:500])  # stored with its answer
        if not_before is not None:
            _tell(agent, row, _answer(row, admission.defer("back-off", reason or "later", not_before), joined=joined))
        else:
            _decide(agent, row, joined=joined)
    return row


def decide_again(agent_id: int) -> Decision | None:
    """Decide an agent's open nudge anew; None when it has none."""
    if not Nudge.objects.filter(agent_id=agent_id, is_open=True).exists():
        return None
    with transaction.atomic():
        agent = locked(agent_id)
        row = _open_nudge(agent)
        if row is None:
            return None
        return _decide(agent, row)


def locked(agent_id: int) -> Agent:
    """An agent with what a decision reads, its row held until the transaction ends. Raises Agent.DoesNotExist."""
    # Of itself only: locking the joined rows as well would make every launch wait for its neighbours.
    rows = Agent.objects.select_for_update(of=("self",))
    # Without parent and last execution, which most have not: reading their columns costs more than asking for them.
    return rows.select_related("envelope", "repository", "issue").get(pk=agent_id)


def _open_nudge(agent: Agent) -> Nudge | None:
    try:
        return Nudge.objects.get(agent=agent, is_open=True)
    except Nudge.DoesNotExist:
        return None


def _coalesce(open_row: Nudge, *, source: Source, reason: str) -> Nudge:
    """Record the later nudge as answered by the open one, which is stored with its own answer later.

    A person's word outranks the machine's.
    """
    joined = Nudge.objects.create(
        agent_id=open_row.agent_id,
        source=source,
        reason=reason[:500],
        is_open=False,
        answer=Answer.COALESCED,
        decision=_plain(Decision(answer=Answer.COALESCED, code="coalesced", reason=f"joined nudge {open_row.pk}")),
        answered_at=timezone.now(),
    )
    if source in admission.BY_HAND or open_row.source not in admission.BY_HAND:
        open_row.source, open_row.reason = source, reason[:500]
    return joined


def _decide(agent: Agent, row: Nudge, *, joined: Nudge | None = None) -> Decision:
    situation = look(agent)
    if situation.is_stale:
        wake.refresh_repository(agent.repository_id)
    facts = gather(agent, situation, source=Source(row.source))
    decision, notes = admission.decide(facts), list[Draft]()
    if decision.answer == Answer.ADMITTED:
        by_hand = row.source in admission.BY_HAND
        decision, row.execution_id, notes = _reserve_and_queue(agent, decision, situation, by_hand=by_hand)
    told = _answer(row, decision, joined=joined)
    if row.execution_id is not None and decision.answer == Answer.ADMITTED:
        _start(agent, row, decision, situation, also=[*([told] if told else []), *notes])
    else:
        _tell(agent, row, told)
    return decision


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


def _reserve_and_queue(
    agent: Agent, decision: Decision, situation: Situation, *, by_hand: bool
) -> tuple[Decision, UUID | None, list[Draft]]:
    """Reserve and queue an execution; the reservation and the constraint have the last word."""
    execution_id = uuid4()
    aside = room.set_aside(agent, situation.plan, path=situation.path, execution_id=execution_id, by_hand=by_hand)
    if aside is None:
        until = timezone.now() + admission.CAPACITY_RETRY
        return admission.defer("capacity", "another launch took the last place", until), None, []
    plan, reserved = aside
    # The tree's envelope is ours until the transaction ends: a neighbour that was admitted meanwhile is seen now.
    if not by_hand and (neighbour := neighbours.in_the_way(agent, plan.policy)):
        lifecycle.record(agent, reserved)
        budgets.settle(execution_id=execution_id, executions=0, wall_seconds=0, agent=agent)
        until = timezone.now() + admission.CAPACITY_RETRY
        return admission.defer(neighbours.CODE, f"works on the same files as {neighbour}", until), None, []
    briefed = briefing.brief(
        agent,
        plan=plan,
        mode=Mode(decision.mode),
        children=situation.children,
        path=situation.path,
        said=situation.remarks,
        told=situation.messages,
    )
    if grid.launch(briefed.spec, execution_id=execution_id) is None:
        lifecycle.record(agent, reserved)
        budgets.settle(execution_id=execution_id, executions=0, wall_seconds=0, agent=agent)
        return admission.defer("running", "another execution of this issue is live"), None, []
    return decision, execution_id, [reserved, *(("agent.wish-not-met", {"why": note}) for note in briefed.notes)]


def _start(agent: Agent, row: Nudge, decision: Decision, situation: Situation, *, also: list[Draft]) -> None:
    """Move the agent whose execution is queued."""
    told = messages.take(situation.messages.rows, execution_id=row.execution_id)
    fields = {
        "execution_id": row.execution_id,
        "is_applied": False,
        "executions": agent.executions + 1,
        "base": agent.base or situation.plan.base,
        "next_mode": "",
        "not_before": None,
        "resume_due_at": None,
        "blocked_reason": "",
        "children_seen": _seen(agent, decision, situation),
        "decision": row.decision,
        **_hold(agent, situation),
        **remarks.take(agent, situation.remarks, execution_id=row.execution_id),
    }
    reason = f"{decision.mode}: {row.reason or row.source}"
    lifecycle.move(
        agent,
        new=AgentState.QUEUED,
        reason=reason,
        fields=fields,
        also=[*also, *told],
        rows=[grid_events.row(said, "execution_id") for said in situation.remarks],
    )


def _seen(agent: Agent, decision: Decision, situation: Situation) -> str:
    """What the run looks at of the children; one that decides conflicts of theirs looks at nothing else."""
    is_arbiter = decision.mode == Mode.RESOLVE and "paths" not in agent.conflict
    return agent.children_seen if is_arbiter else situation.children.fingerprint


def _hold(agent: Agent, situation: Situation) -> dict[str, object]:
    """Columns with what the agent may use from now on, none when that is as it was; what is below it never has more."""
    found = situation.plan.standing
    held = capabilities.as_json(found.capability)
    if agent.capability == held:
        return {}
    if agent.capability:
        profiles.narrow_below(agent, found.capability)
    return {"capability": held}


def _answer(row: Nudge, decision: Decision, *, joined: Nudge | None = None) -> Draft | None:
    """Store the answer; returns the event that tells it, None when it says nothing new and no nudge has `joined`."""
    is_open = decision.answer == Answer.DEFERRED
    stored = _plain(decision)
    changed = row.decision is None or {**row.decision, "until": None} != {**stored, "until": None}
    row.answer, row.decision, row.is_open = decision.answer, stored, is_open
    row.not_before = (decision.until or timezone.now() + RECHECK) if is_open else None
    row.answered_at = timezone.now()
    is_new = row.pk is None
    row.save()
    if not changed and joined is None:
        return None
    rows = [grid_events.row(row, *(_NUDGE if is_new else _NUDGE_CHANGES))]
    if joined is not None:
        rows.append(grid_events.row(joined, *_NUDGE))
    body = {"nudge": row.pk, "source": row.source, "reason": row.reason, **stored, "rows": rows}
    if joined is not None:
        body["joined"] = joined.pk
    return f"nudge.{decision.answer}", body


def _tell(agent: Agent, row: Nudge, told: Draft | None) -> None:
    if told is not None:
        lifecycle.change(agent, event=told[0], body=told[1], decision=row.decision)


def _plain(decision: Decision) -> dict[str, str | None]:
    return {
        "answer": str(decision.answer),
        "code": decision.code,
        "reason": decision.reason,
        "until": decision.until.isoformat() if decision.until else None,
        "mode": decision.mode,
    }
