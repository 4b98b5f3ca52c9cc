"""The one way to start an execution: a nudge is recorded, decided on facts, and answered, all in one transaction.

Webhook, operator, sweep, retry, resume and conflict all come through `nudge`. Whatever the answer, it is stored.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from coordinator import lifecycle, wake
from coordinator.agents import remarks
from coordinator.care import profiles
from coordinator.contention import neighbours
from coordinator.launching import briefing, room, surroundings
from coordinator.launching.surroundings import Situation
from coordinator.lifecycle import Draft
from coordinator.models import Agent, Nudge
from coordinator.public_types import AgentState, Answer, Decision, Source
from coordinator.rules import admission
from coordinator.rules import capability as capabilities
from coordinator.talk import messages
from grid import public_api as grid
from grid import public_events as grid_events
from grid import public_sql
from grid.public_sql import Prepared, given
from grid.public_types import Mode

RECHECK = timedelta(seconds=60)
"""A deferred nudge whose event was missed is decided again after this long."""
_NUDGE_CHANGES = ("source", "reason", "is_open", "answer", "decision", "execution_id")
_NUDGE = ("agent_id", "created_at", *_NUDGE_CHANGES)
"""Columns that events carry; when an open nudge is looked at again is no state."""
# Of itself only: locking the joined rows as well would make every launch wait for its neighbours. Not its key: a row that
# refers to it asks for that when it commits, and has the agent's stream by then, which a decision waits for.
# Without parent and last execution, which most have not: reading their columns costs more than asking for them.
_LOCKED = Prepared(
    lambda: (
        Agent.objects.select_for_update(of=("self",), no_key=True)
        .select_related("envelope", "repository", "issue")
        .filter(pk=given("agent"))
        .order_by()
    )
)
_OPEN = Prepared(lambda: Nudge.objects.filter(agent=given("agent"), is_open=True).order_by())


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
        row, joined = _OPEN.one(agent=agent.pk), None
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
    if not _OPEN.exists(agent=agent_id):
        return None
    with transaction.atomic():
        agent = locked(agent_id)
        row = _OPEN.one(agent=agent_id)
        if row is None:
            return None
        return _decide(agent, row)


def locked(agent_id: int) -> Agent:
    """An agent with what a decision reads, its row held until the transaction ends. Raises Agent.DoesNotExist."""
    return _LOCKED.get(agent=agent_id)


def _coalesce(open_row: Nudge, *, source: Source, reason: str) -> Nudge:
    """Record the later nudge as answered by the open one, which is stored with its own answer later.

    A person's word outranks the machine's.
    """
    joined = Nudge(
        agent_id=open_row.agent_id,
        source=source,
        reason=reason[:500],
        is_open=False,
        answer=Answer.COALESCED,
        decision=_plain(Decision(answer=Answer.COALESCED, code="coalesced", reason=f"joined nudge {open_row.pk}")),
        answered_at=timezone.now(),
    )
    public_sql.insert(joined)
    if source in admission.BY_HAND or open_row.source not in admission.BY_HAND:
        open_row.source, open_row.reason = source, reason[:500]
    return joined


def _decide(agent: Agent, row: Nudge, *, joined: Nudge | None = None) -> Decision:
    situation = surroundings.look(agent)
    if situation.is_stale:
        wake.refresh_repository(agent.repository_id)
    facts = surroundings.gather(agent, situation, source=Source(row.source))
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


def _reserve_and_queue(
    agent: Agent, decision: Decision, situation: Situation, *, by_hand: bool
) -> tuple[Decision, UUID | None, list[Draft]]:
    """Reserve and queue an execution; the reservation and the constraint have the last word.

    When no execution comes of it, all of it is undone, with the limits that were cut from its parent's.
    """
    with transaction.atomic():
        found = _queued(agent, decision, situation, by_hand=by_hand)
        if found[1] is None:
            transaction.set_rollback(True)
    return found


def _queued(
    agent: Agent, decision: Decision, situation: Situation, *, by_hand: bool
) -> tuple[Decision, UUID | None, list[Draft]]:
    execution_id = uuid4()
    until = timezone.now() + admission.CAPACITY_RETRY
    aside = room.set_aside(agent, situation.plan, path=situation.path, execution_id=execution_id, by_hand=by_hand)
    if aside is None:
        return admission.defer("capacity", "another launch took the last place", until), None, []
    plan, reserved = aside
    # The tree's envelope is ours until the transaction ends: a neighbour that was admitted meanwhile is seen now.
    if not by_hand and (neighbour := neighbours.in_the_way(agent, plan.policy)):
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
    if is_new:
        public_sql.insert(row)
    else:
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
