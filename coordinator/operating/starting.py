"""Taking up an issue for somebody who may steer: agent, place in the tree, approval, first nudge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from coordinator.agents import approvals, roster
from coordinator.care import repositories
from coordinator.ending import questions
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.operating import control
from coordinator.public_types import ENDED, AgentState, Source
from coordinator.rules import authority
from coordinator.rules.authority import Person, TextChange
from tracker import public_api as tracker
from tracker.public_sync import Deed, Evidence
from tracker.public_types import IssueView


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Somebody who may steer wants something, and what is known of the issue's text."""

    by: Person
    at: datetime
    """By the tracker's clock."""
    how: str
    """For people: `agent:ready`, `/agent run`."""
    seen: IssueView
    """The issue as read before `text_changes` were: of later changes nobody knows yet whose they are."""
    text_changes: Sequence[TextChange] = ()

    @property
    def actor(self) -> str:
        """As audit rows name this person."""
        return actor_of(self.by.login)


def actor_of(login: str) -> str:
    """How audit rows name somebody on GitHub."""
    return f"github:{login}" if login else "github"


def person(deed: Deed) -> Person:
    """Who did it."""
    return Person(login=deed.by.login, trust=deed.by.trust, is_bot=deed.by.is_bot)


def text_changes(evidence: Evidence) -> tuple[TextChange, ...]:
    """The changes of an issue's text as values to judge; we make none ourselves."""
    return tuple(TextChange(by=person(deed), at=deed.at) for deed in evidence.text_changes)


def prepare(repository_id: int) -> None:
    """Make sure that a repository's limits are known before a tree starts in it. Asks git, so never in a transaction."""
    row = repositories.policy_of(repository_id)
    if (
        row is None or row.refreshed_at is None
    ):  # the row is there before the first fetch has ended, perhaps somebody else's
        repositories.refresh(repository_id)


def start(*, repository_id: int, issue_id: int, order: Order) -> Agent:
    """The agent of an issue, taken on if it has none, with the text approved that the person saw; and a nudge. See `prepare`.

    When somebody who may not steer changed the text since, the agent waits for another approval instead.
    """
    with transaction.atomic():
        agent = Agent.objects.filter(issue_id=issue_id).first()
        is_new = agent is None
        if agent is None:
            agent = _take_on(repository_id=repository_id, issue_id=issue_id)
            # Of two at the same moment one made the agent; the other one waited for it, and finds it nudged or asked about.
            is_new = agent.state == AgentState.NEW and not agent.nudges.exists()
            if is_new:
                control.audit(order.actor, "start", str(tracker.get_issue(issue_id).ref), {"how": order.how})
        if not approve(agent, order):
            return agent
        if is_new or agent.state == AgentState.NEW:
            dispatch.nudge(agent.pk, source=Source.WEBHOOK, reason=f"{order.how} by {order.by.login}")
    return agent


def approve(agent: Agent, order: Order) -> bool:
    """Approve the issue's text as the person saw it; False when it was changed since, and the agent waits therefore."""
    seen, present = order.seen, tracker.get_issue(agent.issue_id)
    if agent.approved_sha and approvals.is_approved(agent, title=present.title, body=present.body):
        return True
    stranger = authority.changed_since(order.text_changes, at=order.at)
    # Another worker may have read a newer text since `order` was made, which nobody has judged.
    if stranger is None and approvals.is_same_text(seen, present):
        approvals.approve(agent, title=seen.title, body=seen.body, by=order.by.login, at=order.at)
        return True
    approvals.withhold(agent)
    who = stranger.by.login if stranger is not None else ""
    questions.ask(agent.pk, reason=approvals.question(who), actor=order.actor)
    return False


def _take_on(*, repository_id: int, issue_id: int) -> Agent:
    """A child of the parent issue's agent, where that is alive; else the root of a tree of its own."""
    above_id = tracker.parent_id(issue_id)
    parent = Agent.objects.filter(issue_id=above_id).exclude(state__in=sorted(ENDED)).first() if above_id else None
    wishes = {name: parent.spec[name] for name in ("adapter", "options") if name in parent.spec} if parent else {}
    agent = roster.take_on(
        issue_id=issue_id,
        repository_id=repository_id,
        parent=parent,
        spec=wishes,
        priority=parent.priority if parent else 0,
    )
    if parent is None and agent.envelope.parent is not None:
        limits = repositories.effective_policy(repositories.policy_of(repository_id))
        repositories.cap_tree(agent.envelope.parent, limits)
    return agent
