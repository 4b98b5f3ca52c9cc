"""Commands in comments, carried out once each for people who may steer; others get no sign of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import IntegrityError, transaction
from django.utils import timezone

from coordinator import wake
from coordinator.conf import conf
from coordinator.documents import slash_commands
from coordinator.documents.slash_commands import Command, Verb
from coordinator.documents.untrusted import one_line
from coordinator.ending import outbox, questions
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry
from coordinator.models import Command as Taken
from coordinator.money import budgets
from coordinator.operating import control, holds, starting
from coordinator.operating.starting import Order
from coordinator.public_errors import CoordinatorError, NotAllowedError
from coordinator.public_types import AgentState, AgentView, Decision, Source
from coordinator.reading import explanations, queries
from coordinator.rules.authority import Person, TextChange
from tracker import public_api as tracker
from tracker import public_sync
from tracker import public_writes as tracker_writes
from tracker.public_types import CommentView, Hint, Write, WriteKind

log = logging.getLogger(__name__)
_PLAN_LINES = 60
_NO_AGENT = "No agent works on this issue; `/agent run` starts one."
_CHANGED = "Not done: somebody changed the issue's text after this was written. Look at it, then ask again."
_INTERNAL = frozenset({"agent", "fetch"})
_APPROVE = frozenset({Verb.RUN, Verb.RETRY})
"""Commands that say that the issue's text is as it should be."""


def take_up(repository_id: int, issue_id: int, hint: Hint) -> None:
    """Carry out the commands of a comment that has just been read, unless that was done before.

    Only as it was written: what is edited into a comment later is no command.

    Raises:
        TrackerError: GitHub cannot be asked who the author is; nothing was done.
    """
    comment = _comment(issue_id, hint)
    commands = slash_commands.parse(comment.body) if comment is not None else ()
    if comment is None or not commands:
        return
    if Taken.objects.filter(repository_id=repository_id, comment_id=comment.id).exists():
        return
    found = public_sync.standing(repository_id, comment.author)
    # A sweep cannot tell allowed bots from others by their type; their logins can.
    is_bot = found.is_bot or (hint.actor_is_bot and not hint.actor.endswith("[bot]"))
    by = Person(login=found.login, trust=found.trust, is_bot=is_bot)
    if not by.may_steer:
        _refuse(str(comment.ref), comment.id, by)
        return
    changes: Sequence[TextChange] = ()
    seen = tracker.get_issue(issue_id)
    if any(command.verb in _APPROVE for command in commands):
        changes = starting.text_changes(public_sync.evidence(repository_id, comment.ref.key))
        starting.prepare(repository_id)
    order = Order(by=by, at=comment.created_at, how="/agent", seen=seen, text_changes=changes)
    try:
        with transaction.atomic():
            taken = Taken.objects.create(
                repository_id=repository_id,
                comment_id=comment.id,
                issue_key=comment.ref.key,
                author=by.login[:100],
                verbs=" ".join(str(command.verb or "?") for command in commands),
            )
            answers = [_carry_out(repository_id, issue_id, order, command) for command in commands]
            taken.answer = "\n\n".join(answer for answer in answers if answer)
            taken.save(update_fields=["answer"])
            _acknowledge(repository_id, comment, answer=taken.answer)
    except IntegrityError:  # another worker was faster
        if not Taken.objects.filter(repository_id=repository_id, comment_id=comment.id).exists():
            raise
        return
    # At once: the label that holds is to be there before anything else is started.
    outbox.drain(repository_id)


def overhear(hint: Hint, by: Person) -> None:
    """Take note of commands by somebody who may give none; reads nothing, because outsiders could spend our quota so."""
    if hint.action in ("created", "sweep") and slash_commands.parse(hint.text):
        _refuse(f"{hint.scope}#{hint.key}", hint.comment_id, by)


def _comment(issue_id: int, hint: Hint) -> CommentView | None:
    """The comment, if it may hold commands."""
    if hint.action not in ("created", "sweep") or not hint.comment_id:
        return None
    said = next((said for said in tracker.comments(issue_id) if said.id == hint.comment_id), None)
    if said is None or said.is_ours or (said.edited_at is not None and said.edited_at != said.created_at):
        return None
    return said


def _carry_out(repository_id: int, issue_id: int, order: Order, command: Command) -> str:
    """Do it; returns what is to be said to it."""
    if command.verb is None:
        return command.problem
    agent = Agent.objects.select_related("issue", "repository").filter(issue_id=issue_id).first()
    if command.verb in (Verb.HOLD, Verb.UNHOLD):
        return _hold(repository_id, issue_id, order, held=command.verb == Verb.HOLD)
    if command.verb == Verb.RUN:
        return _run(repository_id, issue_id, order, agent)
    if agent is None:
        return _NO_AGENT
    try:
        with transaction.atomic():
            return _act(agent, order, command)
    except CoordinatorError as error:
        return f"Not done: {one_line(str(error), 500)}"


def _act(agent: Agent, order: Order, command: Command) -> str:
    match command.verb:
        case Verb.RETRY:
            if not starting.approve(agent, order):
                return _CHANGED
            control.retry(agent.pk, actor=order.actor, approved_at=order.at)
        case Verb.CANCEL:
            touched = control.cancel(agent.pk, actor=order.actor, reason="/agent cancel")
            return f"Cancelled, with {len(touched.agents) - 1} below it." if len(touched.agents) > 1 else ""
        case Verb.BUDGET:
            return _budget(agent, order, command.number)
        case Verb.PLAN:
            return _plan(queries.tree(agent.tree_id), mine=agent.pk)
        case Verb.EXPLAIN:
            return _explain(agent.pk)
    return ""


def _run(repository_id: int, issue_id: int, order: Order, agent: Agent | None) -> str:
    if not tracker.get_issue(issue_id).is_open:
        return "Not done: the issue is closed. Reopen it first."
    if agent is None or agent.state == AgentState.NEW:
        starting.start(repository_id=repository_id, issue_id=issue_id, order=order)
        return ""
    if not starting.approve(agent, order):
        return _CHANGED
    if questions.answered(agent.pk):
        return ""  # its run goes on, or its work is before people again
    state = AgentState(agent.state)
    if state in (AgentState.QUEUED, AgentState.RUNNING):
        return f"It is {state} already."
    if state in (AgentState.WAITING, AgentState.REVIEW):
        dispatch.nudge(agent.pk, source=Source.WEBHOOK, reason=f"/agent run by {order.by.login}")
        return ""
    try:
        with transaction.atomic():
            control.retry(agent.pk, actor=order.actor, approved_at=order.at)
    except NotAllowedError as error:
        return f"Not done: {one_line(str(error), 500)}"
    return ""


def _hold(repository_id: int, issue_id: int, order: Order, *, held: bool) -> str:
    holds.set_hold(issue_id, repository_id=repository_id, held=held, actor=order.actor)
    reason = tracker.facts([issue_id])[issue_id].hold_reason
    if not held and reason.startswith("assigned"):
        return f"The label is taken off, but the issue is still held: {one_line(reason, 100)}."
    return ""


def _budget(agent: Agent, order: Order, number: int) -> str:
    scope, cap = f"tree:{agent.tree_id}", conf().tree_executions
    present = budgets.get(scope).executions_limit
    if number > cap:
        return f"Not done: an operator lets one tree use {cap} runs at most."
    if present is not None and number <= present:
        return f"Not done: the tree may use {present} runs already."
    control.raise_limit(scope, actor=order.actor, executions=number)
    return f"The whole tree may use {number} runs now."


def _plan(views: Sequence[AgentView], *, mine: int) -> str:
    lines = [
        f"{'  ' * (view.depth - views[0].depth)}- #{view.issue.rpartition('#')[2]}: {view.state}"
        + (" (this issue)" if view.id == mine else "")
        for view in views[:_PLAN_LINES]
    ]
    more = [f"- … and {len(views) - _PLAN_LINES} more"] if len(views) > _PLAN_LINES else []
    return "\n".join(["The plan:", "", *lines, *more])


def _explain(agent_id: int) -> str:
    found = explanations.explain(agent_id)
    agent = found.agent
    lines = [
        f"- state: {agent.state}, {agent.executions} runs, {agent.attempts} failed since the last success",
        f"- if it were nudged now: {_in_public(found.now)}",
    ]
    if agent.decision is not None:
        lines.append(f"- last answer to a nudge: {_in_public(agent.decision)}")
    if found.children:
        lines.append(f"- sub-issues: {len(found.children)}")
    for envelope in found.envelopes:
        if envelope.executions_limit is not None:
            used = envelope.executions_spent + envelope.executions_reserved
            lines.append(f"- {envelope.kind}: {used} of {envelope.executions_limit} runs used")
    return "\n".join(lines)


def _in_public(decision: Decision) -> str:
    """Comments may be read by anybody; what went wrong on our machines is for operators."""
    reason = "an operator can see why" if decision.code in _INTERNAL else one_line(decision.reason, 300)
    return f"{decision.answer}, {reason}"


def _acknowledge(repository_id: int, comment: CommentView, *, answer: str) -> None:
    writes = [
        Write(
            key=f"react:{repository_id}:{comment.id}",
            kind=WriteKind.REACT,
            payload={"ref": comment.ref.key, "kind": "eyes", "comment": comment.id},
        )
    ]
    if answer:
        payload = {"ref": comment.ref.key, "slot": f"answer-{comment.id}", "data": {}, "markdown": answer}
        writes.append(Write(key=f"answer:{repository_id}:{comment.id}", kind=WriteKind.UPSERT_COMMENT, payload=payload))
    tracker_writes.wish(repository_id, writes)
    wake.drain_outbox(repository_id)


def _refuse(issue: str, comment_id: str, by: Person) -> None:
    """The author is told nothing, so that nobody can find out by trying who may steer; operators can see it, once."""
    actor, target = starting.actor_of(by.login), f"{issue} comment {comment_id}"
    log.warning("command refused", extra={"action": "refuse", "actor": actor, "issue": issue})
    if not AuditEntry.objects.filter(action="refused", target=target).exists():
        control.audit(actor, "refused", target, {"trust": str(by.trust), "is_bot": by.is_bot, "at": _now()})


def _now() -> str:
    return timezone.now().isoformat(timespec="seconds")
