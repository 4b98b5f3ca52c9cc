"""Laws 8, 9 and 12: what waits comes to an end."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Q

from coordinator.agents import approvals
from coordinator.invariants.terms import START, long_ago
from coordinator.models import Agent, Conflict, Message, Nudge
from coordinator.money import budgets
from coordinator.public_types import ENDED, AgentState, Violation
from coordinator.rules.conflict_rules import STANDING
from coordinator.teamwork import asked
from grid.public_types import LIVE
from tracker import public_api as tracker
from tracker import public_inbound
from tracker import public_writes as tracker_writes


def nudges_are_answered() -> Iterator[Violation]:
    """Law 8: an open nudge is decided again in time."""
    late = Nudge.objects.filter(is_open=True).filter(
        Q(not_before__lt=long_ago()) | Q(not_before=None, created_at__lt=long_ago())
    )
    for nudge in late[:100]:
        yield Violation(
            law="8 every nudge gets an answer",
            subject=f"nudge {nudge.pk} of agent {nudge.agent_id}",
            detail="open, and due more than 3 minutes ago",
            remedy=START,
        )


def deliveries_are_processed() -> Iterator[Violation]:
    """Law 8: a webhook that was answered with 2xx is taken up."""
    for delivery in public_inbound.stuck(before=long_ago()):
        has_failed = delivery.state == "failed"
        late = f"{START}; their log says why when it fails"
        replay = f"fix what the message says, then `manage.py replay_webhook {delivery.id}`"
        yield Violation(
            law="8 every delivery answered 2xx is processed",
            subject=f"delivery {delivery.id} ({delivery.event} of {delivery.scope or 'no repository'})",
            detail=(delivery.error if has_failed else "stored, and due more than 3 minutes ago")[:300],
            remedy=replay if has_failed else late,
        )


def writes_are_carried_out() -> Iterator[Violation]:
    """Law 9: tracker writes that failed for ever wait for a person."""
    for write in tracker_writes.failed():
        yield Violation(
            law="9 a tracker write happens once",
            subject=write.key,
            detail=write.error[:300],
            remedy=f"fix what the message says, then `manage.py retry --write {write.key}`",
        )


def conflicts_end() -> Iterator[Violation]:
    """Law 12: a conflict is decided in time, and what is decided is carried out."""
    old = long_ago()
    late = Q(state="open", default_at__lt=old) | Q(state="decided", act_at__lt=old, step=0)
    for row in Conflict.objects.filter(late).order_by("pk")[:100]:
        since = row.default_at if row.state == "open" else row.act_at
        yield Violation(
            law="12 every conflict ends",
            subject=f"conflict {row.pk}",
            detail=f"{row.state}, and due since {since:%H:%M:%S}",
            remedy=f"{START}, or `manage.py conflict decide {row.pk} sequence`",
        )


def no_stuck_row() -> Iterator[Violation]:
    """Law 12: every row that waits is waiting for something that exists."""
    old = long_ago()
    unapplied = list(
        Agent.objects.filter(is_applied=False, execution__ended_at__lt=old).select_related("envelope", "issue")
    )
    paused = budgets.paused_by(agent.envelope for agent in unapplied)
    # An end that waits for a path that somebody else has locked is a conflict by now, which has a law and a limit of its own.
    kept = Conflict.objects.filter(requester__in=unapplied, state__in=sorted(STANDING)).values_list(
        "requester_id", flat=True
    )
    kept_waiting = set(kept)
    issues = tracker.facts([agent.issue_id for agent in unapplied])
    for agent in unapplied:
        if agent.envelope_id in paused or agent.pk in kept_waiting or issues[agent.issue_id].held:
            continue
        if approvals.is_asked(agent) and not approvals.is_issue_approved(agent):
            continue
        yield Violation(
            law="12 every end is applied",
            subject=f"agent {agent.pk}",
            detail="its last execution ended more than 3 minutes ago and is not applied",
            remedy=f"{START}; the log of `control` says why when it fails",
        )
    waiting = Agent.objects.filter(state__in=[AgentState.NEW, AgentState.QUEUED], is_applied=True, updated_at__lt=old)
    for agent in waiting.exclude(nudges__is_open=True):
        yield Violation(
            law="8 every nudge gets an answer",
            subject=f"agent {agent.pk}",
            detail=f"{agent.state} without an open nudge",
            remedy=f"manage.py nudge {agent.path}",
        )
    orphans = Agent.objects.filter(state=AgentState.WAITING, resume_due_at=None, is_splitting=False, updated_at__lt=old)
    for agent in orphans.exclude(nudges__is_open=True):
        yield Violation(
            law="12 a waiting parent is looked at",
            subject=f"agent {agent.pk}",
            detail="waiting without a date for its next look",
            remedy=f"manage.py nudge {agent.path}",
        )


def messages_come_to_an_end() -> Iterator[Violation]:
    """A message to an agent that has ended, or of a thread whose time is over, waits for nothing."""
    old = long_ago()
    ended = Q(agent__state__in=sorted(ENDED), agent__ended_at__lt=old)
    over = Q(post__thread__expires_at__lt=old)
    waiting = Message.objects.filter(ended | over, state__in=[Message.State.QUEUED, Message.State.DELIVERED])
    for row in waiting.filter(created_at__lt=old).select_related("agent")[:100]:
        yield Violation(
            law="12 every message comes to an end",
            subject=f"message {row.pk} to agent {row.agent_id}",
            detail=f"{row.state}, and the agent is {row.agent.state}",
            remedy=f"{START}; the sweep gives it up within seconds",
        )
    live = [str(state) for state in LIVE]
    unasked = Message.objects.filter(asked.UNTOLD, wakes=True, created_at__lt=old)
    unasked = unasked.exclude(agent__state__in=sorted(ENDED)).exclude(agent__execution__state__in=live)
    # A run that has just ended without having been told counts from its end.
    for row in unasked.exclude(agent__execution__ended_at__gt=old)[:100]:
        yield Violation(
            law="12 every message comes to an end",
            subject=f"message {row.pk} to agent {row.agent_id}",
            detail="it asks for something, and its agent was not looked at",
            remedy=START,
        )
