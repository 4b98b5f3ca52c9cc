"""The one way to start an execution: a nudge is recorded, decided on facts, and answered, all in one transaction.

Webhook, operator, sweep, retry, resume and conflict all come through `nudge`. Whatever the answer, it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from coordinator import (
    admission,
    approvals,
    briefing,
    budgets,
    lifecycle,
    messages,
    profiles,
    remarks,
    repositories,
    tree,
    wake,
)
from coordinator import capability as capabilities
from coordinator.admission import Facts
from coordinator.briefing import RunPlan
from coordinator.conf import conf
from coordinator.lifecycle import Draft
from coordinator.models import Agent, Envelope, Feedback, Message, Nudge, UpgradeRequest
from coordinator.public_types import AgentState, Answer, Decision, Source
from coordinator.tree import Children
from grid import public_api as grid
from grid.public_types import LIVE, Mode
from tracker import public_api as tracker

POLICY_MAX_AGE = timedelta(minutes=5)
RECHECK = timedelta(seconds=60)
"""A deferred nudge whose event was missed is decided again after this long."""


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
        row = _open_nudge(agent)
        if row is not None:
            _coalesce(row, source=source, reason=reason)
        else:
            row = Nudge(agent=agent, source=source, reason=reason[:500])  # stored with its answer
        if not_before is not None:
            _tell(agent, row, _answer(row, admission.defer("back-off", reason or "later", not_before)))
        else:
            _decide(agent, row)
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
    return rows.select_related("envelope__parent__parent__parent", "repository", "issue").get(pk=agent_id)


def _open_nudge(agent: Agent) -> Nudge | None:
    try:
        return Nudge.objects.get(agent=agent, is_open=True)
    except Nudge.DoesNotExist:
        return None


def _coalesce(open_row: Nudge, *, source: Source, reason: str) -> None:
    """Record the later nudge as answered by the open one, which is stored with its own answer later.

    A person's word outranks the machine's.
    """
    Nudge.objects.create(
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


def _decide(agent: Agent, row: Nudge) -> Decision:
    situation = look(agent)
    if situation.is_stale:
        wake.refresh_repository(agent.repository_id)
    facts = gather(agent, situation, source=Source(row.source))
    decision, notes = admission.decide(facts), list[Draft]()
    if decision.answer == Answer.ADMITTED:
        decision, row.execution_id, notes = _reserve_and_queue(agent, decision, situation)
    told = _answer(row, decision)
    if row.execution_id is not None and decision.answer == Answer.ADMITTED:
        _start(agent, row, decision, situation, also=[*([told] if told else []), *notes])
    else:
        _tell(agent, row, told)
    return decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What both the decision and the launch need."""

    path: list[Envelope]
    plan: RunPlan
    children: Children
    remarks: list[Feedback]
    """On its pull request, for the next run to take up."""
    messages: list[Message]
    """To it, for the next run to be told."""
    is_stale: bool
    """The repository was not fetched for a while."""


def look(agent: Agent) -> Situation:
    """Read an agent's surroundings; the agent comes with its envelope path, repository and parent."""
    policy = repositories.policy_of(agent.repository_id)
    return Situation(
        path=budgets.path_of(agent.envelope),
        plan=briefing.plan_for(agent, policy),
        children=tree.children_of(agent),
        remarks=remarks.for_next_run(agent),
        messages=messages.for_next_run(agent),
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
        is_upgraded=agent.state == AgentState.BLOCKED and _is_upgraded(agent),
        capability_error=plan.standing.error,
        full=budgets.full(situation.path, wall_seconds=plan.wall_seconds),
        remarks=len(situation.remarks),
        reworks=agent.reworks,
    )


def _upgrades_asked(agent: Agent) -> int:
    """Its next run is told of them; those that its last run was told of must not start it again and again."""
    rows = UpgradeRequest.objects.filter(agent__parent_id=agent.pk, state=UpgradeRequest.State.OPEN)
    return rows.filter(created_at__gt=agent.execution.created_at).count() if agent.execution else rows.count()


def _is_upgraded(agent: Agent) -> bool:
    rows = UpgradeRequest.objects.filter(agent_id=agent.pk, state=UpgradeRequest.State.GRANTED)
    return agent.execution is not None and rows.filter(answered_at__gt=agent.execution.created_at).exists()


def _reserve_and_queue(
    agent: Agent, decision: Decision, situation: Situation
) -> tuple[Decision, UUID | None, list[Draft]]:
    """Reserve and queue an execution; the reservation and the constraint have the last word."""
    plan, execution_id = situation.plan, uuid4()
    if not budgets.reserve(path=situation.path, execution_id=execution_id, wall_seconds=plan.wall_seconds):
        until = timezone.now() + admission.CAPACITY_RETRY
        return admission.defer("capacity", "another launch took the last place", until), None, []
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
        budgets.settle(execution_id=execution_id, executions=0, wall_seconds=0)
        return admission.defer("running", "another execution of this issue is live"), None, []
    return decision, execution_id, [("agent.wish-not-met", {"why": note}) for note in briefed.notes]


def _start(agent: Agent, row: Nudge, decision: Decision, situation: Situation, *, also: list[Draft]) -> None:
    """Move the agent whose execution is queued."""
    messages.take(situation.messages, execution_id=row.execution_id)
    fields = {
        "execution_id": row.execution_id,
        "is_applied": False,
        "executions": agent.executions + 1,
        "base": agent.base or situation.plan.base,
        "next_mode": "",
        "not_before": None,
        "resume_due_at": None,
        "blocked_reason": "",
        "children_seen": situation.children.fingerprint,
        "decision": row.decision,
        "capability": _hold(agent, situation),
        **remarks.take(agent, situation.remarks, execution_id=row.execution_id),
    }
    reason = f"{decision.mode}: {row.reason or row.source}"
    lifecycle.move(agent, new=AgentState.QUEUED, reason=reason, fields=fields, also=also)


def _hold(agent: Agent, situation: Situation) -> dict[str, object]:
    """What the agent may use from now on; what is below it never has more."""
    found = situation.plan.standing
    held = capabilities.as_json(found.capability)
    if not agent.capability:
        budgets.lower(situation.path[-1], **profiles.shares(agent, found, situation.path))
    elif agent.capability != held:
        profiles.narrow_below(agent, found.capability)
    return held


def _answer(row: Nudge, decision: Decision) -> Draft | None:
    """Store the answer; returns the event that tells it, None when it says nothing new."""
    is_open = decision.answer == Answer.DEFERRED
    stored = _plain(decision)
    changed = row.decision is None or {**row.decision, "until": None} != {**stored, "until": None}
    row.answer, row.decision, row.is_open = decision.answer, stored, is_open
    row.not_before = (decision.until or timezone.now() + RECHECK) if is_open else None
    row.answered_at = timezone.now()
    row.save()
    if not changed:
        return None
    return f"nudge.{decision.answer}", {"nudge": row.pk, "source": row.source, "reason": row.reason, **stored}


def _tell(agent: Agent, row: Nudge, told: Draft | None) -> None:
    if told is not None:
        Agent.objects.filter(pk=agent.pk).update(decision=row.decision, updated_at=Now())
        lifecycle.record(agent, told)


def _plain(decision: Decision) -> dict[str, str | None]:
    return {
        "answer": str(decision.answer),
        "code": decision.code,
        "reason": decision.reason,
        "until": decision.until.isoformat() if decision.until else None,
        "mode": decision.mode,
    }
