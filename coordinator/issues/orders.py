"""Commands in comments, carried out once each for people who may steer; others get no sign of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from coordinator import wake
from coordinator.agents import raising
from coordinator.documents import slash_commands
from coordinator.documents.slash_commands import Command, Verb
from coordinator.documents.untrusted import one_line
from coordinator.ending import outbox, questions
from coordinator.ending.changes import Looked
from coordinator.issues import replies
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry
from coordinator.models import Command as Taken
from coordinator.money import budgets
from coordinator.operating import control, holds, starting
from coordinator.operating.starting import Order
from coordinator.public_errors import CoordinatorError, NotAllowedError
from coordinator.public_types import AgentState, Source
from coordinator.reading import queries
from coordinator.rules.authority import Person, TextChange
from tracker import public_api as tracker
from tracker import public_sync
from tracker import public_writes as tracker_writes
from tracker.public_types import FeedbackKind, Hint, Ref, Write, WriteKind

log = logging.getLogger(__name__)
_NO_AGENT = "No agent works on this issue; `/agent run` starts one."
_CHANGED = "Not done: somebody changed the issue's text after this was written. Look at it, then ask again."
_DONE = "Done."
_REMARKS = (FeedbackKind.COMMENT, FeedbackKind.REVIEW, FeedbackKind.REVIEW_COMMENT)
_SAID = frozenset({"created", "submitted", "sweep"})
"""Actions of hints about something that was said just now, or that nobody told us of."""
_APPROVE = frozenset({Verb.RUN, Verb.RETRY})
"""Commands that say that the issue's text is as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """Something said on an issue, or about a pull request of its agent."""

    id: str
    """The tracker's number for a comment of a conversation; else with its kind before it."""
    ref: Ref
    """Where it stands, and is answered."""
    author: str
    text: str
    at: datetime
    is_comment: bool = True
    """It stands in a conversation, where it can be reacted to; False for a review and a comment on a line."""


def take_up(repository_id: int, issue_id: int, hint: Hint) -> None:
    """Carry out the commands of a comment that has just been read, unless that was done before.

    Only as it was written: what is edited into a comment later is no command.

    Raises:
        TrackerError: GitHub cannot be asked who the author is; nothing was done.
    """
    words = _comment(issue_id, hint)
    if words is not None:
        _take_up(repository_id, issue_id, words, hint)


def take_up_said(repository_id: int, looked: Looked, hint: Hint) -> None:
    """The same with what was said about a pull request: on the issue of its agent, by the same rights, and answered in place.

    Call it outside a transaction: before a text is approved the issue is read again.

    Raises:
        TrackerError: GitHub cannot be asked; nothing was done.
    """
    words = _remark(looked, hint)
    if words is None or not slash_commands.parse(words.text) or _is_taken(repository_id, words):
        return
    seen = public_sync.refresh(repository_id, looked.issue_key)
    if not seen.is_gone:
        _take_up(repository_id, looked.issue_id, words, hint)


def overhear(hint: Hint, by: Person) -> None:
    """Take note of commands by somebody who may give none; reads nothing, because outsiders could spend our quota so."""
    if hint.action in _SAID and slash_commands.parse(hint.text):
        _refuse(f"{hint.scope}#{hint.key}", hint.comment_id, by)


def _take_up(repository_id: int, issue_id: int, words: _Words, hint: Hint) -> None:
    commands = slash_commands.parse(words.text)
    if not commands or _is_taken(repository_id, words):
        return
    found = public_sync.standing(repository_id, words.author)
    # A sweep cannot tell allowed bots from others by their type; their logins can.
    is_bot = found.is_bot or (hint.actor_is_bot and not hint.actor.endswith("[bot]"))
    by = Person(login=found.login, trust=found.trust, is_bot=is_bot)
    if not by.may_steer:
        _refuse(str(words.ref), words.id, by)
        return
    changes: Sequence[TextChange] = ()
    seen = tracker.get_issue(issue_id)
    if any(command.verb in _APPROVE for command in commands):
        changes = starting.text_changes(public_sync.evidence(repository_id, seen.ref.key))
        starting.prepare(repository_id)
    order = Order(by=by, at=words.at, how="/agent", seen=seen, text_changes=changes)
    try:
        with transaction.atomic():
            taken = Taken.objects.create(
                repository_id=repository_id,
                comment_id=words.id,
                issue_key=words.ref.key,
                author=by.login[:100],
                verbs=" ".join(str(command.verb or "?") for command in commands),
            )
            answers = [_carry_out(repository_id, issue_id, order, command) for command in commands]
            taken.answer = "\n\n".join(answer for answer in answers if answer)
            taken.save(update_fields=["answer"])
            _acknowledge(repository_id, words, answer=taken.answer or ("" if words.is_comment else _DONE))
    except IntegrityError:  # another worker was faster
        if not _is_taken(repository_id, words):
            raise
        return
    # At once: the label that holds is to be there before anything else is started.
    outbox.drain(repository_id)


def _is_taken(repository_id: int, words: _Words) -> bool:
    return Taken.objects.filter(repository_id=repository_id, comment_id=words.id).exists()


def _comment(issue_id: int, hint: Hint) -> _Words | None:
    """The comment, if it may hold commands."""
    if hint.action not in _SAID or not hint.comment_id:
        return None
    said = next((said for said in tracker.comments(issue_id) if said.id == hint.comment_id), None)
    if said is None or said.is_ours or (said.edited_at is not None and said.edited_at != said.created_at):
        return None
    return _Words(id=said.id, ref=said.ref, author=said.author, text=said.body, at=said.created_at)


def _remark(looked: Looked, hint: Hint) -> _Words | None:
    """What the hint names of all that was said, if it may hold commands."""
    if hint.action not in _SAID or not hint.comment_id:
        return None
    # Numbers are those of one kind, so that two of them may be the same; then the text tells which is meant.
    ids = {f"{kind}:{hint.comment_id}" for kind in _REMARKS}
    named = [said for said in looked.said if said.id in ids]
    said = next((one for one in named if len(named) == 1 or one.text == hint.text), None)
    if said is None or (said.is_edited and (hint.action == "sweep" or said.text != hint.text)):
        return None  # GitHub gives a comment on a line that was held back for its review a later time, too
    is_comment = said.kind == FeedbackKind.COMMENT
    name = hint.comment_id if is_comment else said.id.replace(":", "-").replace("_", "-")
    return _Words(
        id=name, ref=looked.change.ref, author=said.author, text=said.text, at=said.created_at, is_comment=is_comment
    )


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
            return replies.to_nudge(agent.pk)
        case Verb.CANCEL:
            touched = control.cancel(agent.pk, actor=order.actor, reason="/agent cancel")
            return f"Cancelled, with {len(touched.agents) - 1} below it." if len(touched.agents) > 1 else ""
        case Verb.BUDGET:
            return _budget(agent, order, command)
        case Verb.PLAN:
            return replies.plan(queries.tree(agent.tree_id), mine=agent.pk)
        case Verb.EXPLAIN:
            return replies.explain(agent.pk)
    return ""


def _run(repository_id: int, issue_id: int, order: Order, agent: Agent | None) -> str:
    if not tracker.get_issue(issue_id).is_open:
        return "Not done: the issue is closed. Reopen it first."
    if agent is None or agent.state == AgentState.NEW:
        started = starting.start(repository_id=repository_id, issue_id=issue_id, order=order)
        return replies.to_nudge(started.pk)
    if not starting.approve(agent, order):
        return _CHANGED
    if questions.answered(agent.pk):
        return ""  # its run goes on, or its work is before people again
    state = AgentState(agent.state)
    if state in (AgentState.QUEUED, AgentState.RUNNING):
        return f"It is {state} already."
    if state in (AgentState.WAITING, AgentState.REVIEW):
        dispatch.nudge(agent.pk, source=Source.WEBHOOK, reason=f"/agent run by {order.by.login}")
        return replies.to_nudge(agent.pk)
    try:
        with transaction.atomic():
            control.retry(agent.pk, actor=order.actor, approved_at=order.at)
    except NotAllowedError as error:
        return f"Not done: {one_line(str(error), 500)}"
    return replies.to_nudge(agent.pk)


def _hold(repository_id: int, issue_id: int, order: Order, *, held: bool) -> str:
    holds.set_hold(issue_id, repository_id=repository_id, held=held, actor=order.actor)
    reason = tracker.facts([issue_id])[issue_id].hold_reason
    if not held and reason.startswith("assigned"):
        return f"The label is taken off, but the issue is still held: {one_line(reason, 100)}."
    return ""


def _budget(agent: Agent, order: Order, command: Command) -> str:
    scope, unit = f"tree:{agent.tree_id}", raising.MONEY if command.is_money else raising.RUNS
    why = raising.refusal(budgets.get(scope), unit=unit, wanted=command.number)
    if why:
        return why
    if command.is_money:
        control.raise_limit(scope, actor=order.actor, usd_micros=command.number * 1_000_000)
        return f"The whole tree may use ${command.number:,} now."
    control.raise_limit(scope, actor=order.actor, executions=command.number)
    return f"The whole tree may use {command.number:,} runs now."


def _acknowledge(repository_id: int, words: _Words, *, answer: str) -> None:
    writes = []
    if words.is_comment:
        seen = {"ref": words.ref.key, "kind": "eyes", "comment": words.id}
        writes.append(Write(key=f"react:{repository_id}:{words.id}", kind=WriteKind.REACT, payload=seen))
    if answer:
        said = {"ref": words.ref.key, "slot": f"answer-{words.id}", "data": {}, "markdown": answer}
        writes.append(Write(key=f"answer:{repository_id}:{words.id}", kind=WriteKind.UPSERT_COMMENT, payload=said))
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
