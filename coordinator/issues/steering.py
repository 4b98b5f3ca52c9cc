"""GitHub says that something happened to an issue: read it again, and let its agent follow.

Whatever is done follows from the issue as it is now and from GitHub's own record of who did what; what a hint claims is
only where to look. So hints may come twice, late or in any order. Call it outside transactions: it asks the network.
"""

from __future__ import annotations

import logging

from django.db import transaction

from coordinator import wake
from coordinator.agents import approvals, tree
from coordinator.agents.integration import GITHUB
from coordinator.ending import questions
from coordinator.issues import orders
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry
from coordinator.operating import control, holds, starting
from coordinator.operating.starting import Order
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import ENDED, AgentState, Source
from coordinator.rules import authority
from coordinator.rules.admission import BY_HAND
from coordinator.rules.authority import Person, Situation, Verdict, Wish
from tracker import public_api as tracker
from tracker import public_changes, public_sync
from tracker import public_writes as tracker_writes
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_sync import Evidence, Seen
from tracker.public_types import AgentState as Shown
from tracker.public_types import Hint, HintKind, Write, WriteKind

log = logging.getLogger(__name__)
_AT_WORK_LABELS = frozenset({str(AgentState.QUEUED), str(AgentState.RUNNING)})
_DONE = "The work on this issue is done, and stays so. Open another issue for more."


def take_up(repository_id: int, hint: Hint) -> None:
    """Look at the issue that a hint names, and act on what has changed there.

    Raises:
        TrackerError: GitHub cannot be asked now, or does not let us; nothing was decided.
    """
    if hint.kind not in (HintKind.ISSUE, HintKind.COMMENT) or not hint.key:
        return
    if tracker.get_repository(repository_id).tracker != GITHUB:
        return
    if hint.kind == HintKind.COMMENT and hint.actor:
        # Before the issue is read: what outsiders say changes nothing, and the next look at the issue finds it.
        found = public_sync.standing(repository_id, hint.actor)
        by = Person(login=found.login, trust=found.trust, is_bot=found.is_bot)
        if not by.may_steer:
            orders.overhear(hint, by)
            return
    try:
        seen = public_sync.refresh(repository_id, hint.key)
    except (NotFoundError, InvalidError) as error:
        log.info("nothing to steer", extra={"action": "steer", "issue": hint.key, "error": str(error)[:200]})
        return
    if hint.kind == HintKind.COMMENT and not seen.is_gone:
        orders.take_up(repository_id, seen.issue_id, hint)
    follow(repository_id, seen, hint)


def follow(repository_id: int, seen: Seen, hint: Hint) -> None:
    """Let an issue's agent follow the issue, which has just been read."""
    agent = _agent(seen.issue_id)
    is_alive = agent is not None and agent.state not in ENDED
    if agent is not None and is_alive and seen.is_gone:
        _end(agent, hint, "its issue was deleted or moved away")
        return
    if agent is not None and is_alive:
        if approvals.is_asked(agent):
            questions.answered(agent.pk)  # its old text may stand there again
        _follow_hold(agent)
        agent = _agent(seen.issue_id)
    situation = _situation(seen, agent)
    if authority.is_over(situation):
        if agent is not None and not _is_merged(agent):
            _end(agent, hint, "its issue was closed")
        return
    wish = authority.wish(situation)
    is_changed = agent is not None and agent.state not in ENDED and not situation.is_text_approved
    if wish is None and not is_changed:
        return
    evidence = public_sync.evidence(repository_id, seen.after.ref.key)
    order = _order(repository_id, seen, wish, evidence, hint) if wish is not None else None
    if order is not None and order.by.may_steer and wish is not None:
        _grant(repository_id, seen, agent, wish, order)
        return
    if wish is not None:
        _refuse(seen, agent, wish, order)
    if agent is not None and is_changed:
        _judge_text(agent, seen, evidence)


def _situation(seen: Seen, agent: Agent | None) -> Situation:
    issue = seen.after
    ours = public_sync.machine_user().casefold()
    if agent is None:
        written = None
    else:
        written = tracker_writes.latest(tree.state_writes(agent)) if issue.agent_state in _TELLING else None
    return Situation(
        is_open=issue.is_open and not seen.is_gone,
        shown=issue.agent_state,
        is_ours_by_assignment=bool(ours) and ours in [login.casefold() for login in issue.assignees],
        agent=AgentState(agent.state) if agent is not None else None,
        is_label_pending=written is not None and not written.is_done,
        is_label_written=written is not None and written.is_done and written.key.rpartition(":")[2] in _AT_WORK_LABELS,
        is_asked=agent is not None and agent.nudges.filter(is_open=True, source__in=sorted(BY_HAND)).exists(),
        is_text_approved=agent is None or approvals.is_issue_approved(agent),
    )


_TELLING = frozenset({Shown.READY, Shown.NONE})
"""What an issue shows when it may ask for something."""


def _order(repository_id: int, seen: Seen, wish: Wish, evidence: Evidence, hint: Hint) -> Order | None:
    """Who made the issue ask for this; None when GitHub has no record of it."""
    changes = starting.text_changes(evidence)
    if wish == Wish.START_ASSIGNED:
        ours = public_sync.machine_user()
        deed = evidence.assignments.get(ours.casefold())
        is_hinted = hint.action == "assigned" and hint.assignee.casefold() == ours.casefold()
        how = f"assignment of {ours}"
        is_wanted = True
    else:
        is_wanted = wish != Wish.CANCEL
        label = authority.READY if is_wanted else authority.RUNNING
        deed = evidence.labels.get(label)
        action = "labeled" if is_wanted else "unlabeled"
        is_hinted = hint.action == action and hint.label.casefold() == label
        how = label if is_wanted else f"{label} taken off"
    if deed is not None and deed.is_on == is_wanted:
        return Order(by=starting.person(deed), at=deed.at, how=how, seen=seen.after, text_changes=changes)
    if is_hinted and hint.actor and not hint.actor_is_bot:
        # The record lags behind the webhook. By the tracker's clock: ours would let changes of this moment pass for old.
        found = public_sync.standing(repository_id, hint.actor)
        by = Person(login=found.login, trust=found.trust, is_bot=found.is_bot)
        return Order(by=by, at=seen.after.updated_at, how=how, seen=seen.after, text_changes=changes)
    return None


def _grant(repository_id: int, seen: Seen, agent: Agent | None, wish: Wish, order: Order) -> None:
    try:
        if wish in (Wish.START, Wish.START_ASSIGNED):
            starting.prepare(repository_id)
            starting.start(repository_id=repository_id, issue_id=seen.issue_id, order=order)
        elif agent is None:
            return
        elif wish == Wish.RETRY:
            with transaction.atomic():
                is_approved = starting.approve(agent, order)
                # Where something waited for the approval, that is what it was given for.
                if is_approved and not questions.answered(agent.pk):
                    control.retry(agent.pk, actor=order.actor, approved_at=order.at)
            if not is_approved:
                _show_again(agent)
        elif wish == Wish.CANCEL:
            control.cancel(agent.pk, actor=order.actor, reason=order.how)
        else:
            _tell_done(agent)
    except NotAllowedError as error:  # somebody was faster
        log.info("not steered", extra={"action": "steer", "issue": str(seen.after.ref), "error": str(error)[:200]})


def _refuse(seen: Seen, agent: Agent | None, wish: Wish, order: Order | None) -> None:
    """Nothing happens, and the person is told nothing; operators can see it, once."""
    login = order.by.login if order is not None else ""
    actor, target = starting.actor_of(login), str(seen.after.ref)
    detail = {
        "wish": str(wish),
        "trust": str(order.by.trust) if order is not None else "",
        "how": "label or assignment",
    }
    log.warning("steering refused", extra={"action": "refuse", "actor": actor, "issue": target, "wish": str(wish)})
    if not AuditEntry.objects.filter(action="refused", actor=actor, target=target, detail=detail).exists():
        control.audit(actor, "refused", target, detail)
    if agent is not None and agent.state not in ENDED and agent.state != AgentState.NEW:
        _show_again(agent)


def _show_again(agent: Agent) -> None:
    """Put the agent's own label back."""
    with transaction.atomic():
        tree.show_state(agent)
        wake.drain_outbox(agent.repository_id)


def _judge_text(agent: Agent, seen: Seen, evidence: Evidence) -> None:
    changes = starting.text_changes(evidence)
    verdict, login = authority.judge_text(is_approved=False, changes=changes, approved_at=agent.approved_at)
    if verdict == Verdict.ASK:
        questions.ask(agent.pk, reason=approvals.question(login), actor=starting.actor_of(login))
        return
    with transaction.atomic():
        # What was read before the evidence, at the time of its last change: what came since has still to be judged.
        text, at = seen.after, max(change.at for change in changes)
        approvals.approve(agent, title=text.title, body=text.body, by=login, at=at)
        control.audit(starting.actor_of(login), "approve", f"agent:{agent.pk}", {"how": "edited the text"})
        if questions.answered(agent.pk):
            return
        if (
            approvals.is_asked(agent)
            or agent.nudges.filter(is_open=True, decision__code=approvals.NEEDS_APPROVAL).exists()
        ):
            dispatch.nudge(agent.pk, source=Source.WEBHOOK, reason=f"text edited by {login}")


def _follow_hold(agent: Agent) -> None:
    if tracker.facts([agent.issue_id])[agent.issue_id].held:
        holds.hold_back(agent.issue_id)
    else:
        holds.release(agent.pk)


def _end(agent: Agent, hint: Hint, reason: str) -> None:
    by = hint.actor if hint.action in ("closed", "deleted", "transferred") else ""
    try:
        control.cancel(agent.pk, actor=starting.actor_of(by), reason=reason)
    except NotAllowedError:
        log.info("ended already", extra={"action": "steer", "agent": agent.pk})


def _is_merged(agent: Agent) -> bool:
    """Whether the issue was closed because its pull request was merged: then the agent has done its work."""
    change = public_changes.change_of_branch(agent.repository_id, agent.branch) if agent.parent_id is None else None
    if change is None:
        return False
    return change.is_merged or public_changes.refresh_change(agent.repository_id, change.ref.key).is_merged


def _tell_done(agent: Agent) -> None:
    payload = {"ref": agent.issue.key, "slot": "answer-done", "data": {}, "markdown": _DONE}
    with transaction.atomic():
        tree.write(agent, Write(key=f"answer:{agent.pk}:done", kind=WriteKind.UPSERT_COMMENT, payload=payload))
        wake.drain_outbox(agent.repository_id)


def _agent(issue_id: int) -> Agent | None:
    rows = Agent.objects.select_related("issue", "repository", "envelope__parent")
    return rows.filter(issue_id=issue_id).first()
