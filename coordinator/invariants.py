"""The laws as queries: each returns the rows that break it, with the remedy. `doctor`, tests and pages share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from django.db.models import Count, F, Q
from django.utils import timezone

from coordinator import asked, budgets, profiles, spend_audit
from coordinator import capability as capabilities
from coordinator.capability import NOTHING, CapabilityError
from coordinator.conflict_rules import STANDING
from coordinator.models import Agent, Conflict, Envelope, LedgerEntry, Message, Nudge
from coordinator.public_types import ENDED, AgentState, Violation
from grid import public_api as grid
from grid import public_events as grid_events
from grid import public_locks as grid_locks
from grid.public_types import LIVE
from tracker import public_api as tracker
from tracker import public_inbound

STALE = timedelta(minutes=3)


def violations() -> list[Violation]:
    """Every row that breaks a law, in the order of the laws."""
    return [violation for law in LAWS for violation in law()]


def one_live_execution() -> Iterator[Violation]:
    """Law 1: at most one live execution per issue."""
    for subject, count in grid.subjects_with_several_live():
        yield Violation(
            law="1 one live execution per issue",
            subject=subject,
            detail=f"{count} live executions",
            remedy="cancel all but the newest; the database lacks the constraint one_live_execution_per_subject: run migrate",
        )


def budgets_add_up() -> Iterator[Violation]:
    """Law 2: reserved + spent within the limit, and equal to the ledger."""
    for envelope, words in spend_audit.overspent():
        yield Violation(
            law="2 budgets are never overspent",
            subject=envelope.key,
            detail=words,
            remedy="raise the limit with `manage.py budget raise`, or cancel what runs in this scope",
        )
    expected = spend_audit.expected()
    for envelope in Envelope.objects.all():
        wrong = {name: value for name, value in expected[envelope.pk].items() if getattr(envelope, name) != value}
        if wrong:
            yield Violation(
                law="2 the ledger adds up",
                subject=envelope.key,
                detail=f"ledger says {wrong}",
                remedy="report this with the ledger's rows of this envelope; it is a bug",
            )


def envelopes_nest() -> Iterator[Violation]:
    """Law 2: the path of every envelope is that of its parent, and an agent's is below its parent agent's."""
    rows = {row.pk: row for row in Envelope.objects.only("key", "kind", "parent", "ancestors")}
    wrong = [
        row.key for row in rows.values() if row.ancestors != (rows[row.parent_id].lineage if row.parent_id else "")
    ]
    agents = Agent.objects.exclude(parent=None).exclude(envelope__parent=F("parent__envelope"))
    for key in [*wrong, *agents.values_list("envelope__key", flat=True)][:100]:
        yield Violation(
            law="2 envelopes nest",
            subject=key,
            detail="it is not below its parent's envelope, so that one does not bound it",
            remedy="report this; it is a bug, or the row was changed by hand",
        )


def reservations_are_settled() -> Iterator[Violation]:
    """Law 2: an execution that has ended holds nothing in reserve."""
    settled = LedgerEntry.objects.filter(kind=LedgerEntry.Kind.SETTLE).values("execution_id")
    waiting = LedgerEntry.objects.filter(kind=LedgerEntry.Kind.RESERVE).exclude(execution_id__in=settled)
    ids = set(waiting.values_list("execution_id", flat=True)[:10_000])
    old = timezone.now() - STALE
    known = {run.id: run for run in grid.find_executions(ids=ids, limit=10_000)}
    for execution_id in ids:
        run = known.get(execution_id)
        if run is None or (run.ended_at is not None and run.ended_at < old):
            yield Violation(
                law="2 a reservation is released once",
                subject=str(execution_id),
                detail=f"the execution is {run.state if run else 'unknown'}, and its reservation is still held",
                remedy="start `beat` and a `control` worker; if it stays, report it: it is a bug",
            )


def model_calls_are_settled() -> Iterator[Violation]:
    """Law 2: a model call holds nothing in reserve after the longest time that one may take."""
    for call in spend_audit.stale_calls(timezone.now() - STALE):
        yield Violation(
            law="2 a reservation is released once",
            subject=f"model call {call.pk}",
            detail=f"{call.provider} {call.model} is in flight since {call.started_at:%Y-%m-%d %H:%M:%S}",
            remedy="start `beat` and a `control` worker; if it stays, report it: it is a bug",
        )


def no_expired_lease() -> Iterator[Violation]:
    """Laws 5 and 12: a lease that ended is taken away from its host."""
    for run in grid.overdue_leases():
        yield Violation(
            law="5 no execution outlives its lease",
            subject=str(run.id),
            detail=f"{run.state} on {run.host}, lease ended {run.lease_until:%H:%M:%S}",
            remedy="the sweep ends it within seconds; if not, start `beat` and a `control` worker",
        )


def no_stuck_row() -> Iterator[Violation]:
    """Law 12: every row that waits is waiting for something that exists."""
    old = timezone.now() - STALE
    unapplied = list(Agent.objects.filter(is_applied=False, execution__ended_at__lt=old).select_related("envelope"))
    paused = budgets.paused_by(agent.envelope for agent in unapplied)
    # An end that waits for a path that somebody else has locked is a conflict by now, which has a law and a limit of its own.
    kept = Conflict.objects.filter(requester__in=unapplied, state__in=sorted(STANDING)).values_list(
        "requester_id", flat=True
    )
    kept_waiting = set(kept)
    for agent in unapplied:
        if agent.envelope_id in paused or agent.pk in kept_waiting:
            continue
        yield Violation(
            law="12 every end is applied",
            subject=f"agent {agent.pk}",
            detail="its last execution ended more than 3 minutes ago and is not applied",
            remedy="start `beat` and a `control` worker; the log of `control` says why when it fails",
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


def nudges_are_answered() -> Iterator[Violation]:
    """Law 8: an open nudge is decided again in time."""
    late = Nudge.objects.filter(is_open=True).filter(
        Q(not_before__lt=timezone.now() - STALE) | Q(not_before=None, created_at__lt=timezone.now() - STALE)
    )
    for nudge in late[:100]:
        yield Violation(
            law="8 every nudge gets an answer",
            subject=f"nudge {nudge.pk} of agent {nudge.agent_id}",
            detail="open, and due more than 3 minutes ago",
            remedy="start `beat` and a `control` worker",
        )


def deliveries_are_processed() -> Iterator[Violation]:
    """Law 8: a webhook that was answered with 2xx is taken up."""
    for delivery in public_inbound.stuck(before=timezone.now() - STALE):
        has_failed = delivery.state == "failed"
        late = "start `beat` and a `control` worker; their log says why when it fails"
        replay = f"fix what the message says, then `manage.py replay_webhook {delivery.id}`"
        yield Violation(
            law="8 every delivery answered 2xx is processed",
            subject=f"delivery {delivery.id} ({delivery.event} of {delivery.scope or 'no repository'})",
            detail=(delivery.error if has_failed else "stored, and due more than 3 minutes ago")[:300],
            remedy=replay if has_failed else late,
        )


def conflicts_end() -> Iterator[Violation]:
    """Law 12: a conflict is decided in time, and what is decided is carried out."""
    old = timezone.now() - STALE
    late = Q(state="open", default_at__lt=old) | Q(state="decided", act_at__lt=old, step=0)
    for row in Conflict.objects.filter(late).order_by("pk")[:100]:
        since = row.default_at if row.state == "open" else row.act_at
        yield Violation(
            law="12 every conflict ends",
            subject=f"conflict {row.pk}",
            detail=f"{row.state}, and due since {since:%H:%M:%S}",
            remedy=f"start `beat` and a `control` worker, or `manage.py conflict decide {row.pk} sequence`",
        )


def events_have_no_gap() -> Iterator[Violation]:
    """Law 6: numbers 1..n on every stream."""
    for stream, count, last in grid_events.streams_with_gaps():
        yield Violation(
            law="6 events have no gap or duplicate",
            subject=stream,
            detail=f"{count} events, the last is number {last}",
            remedy="rows were deleted by hand or lost by the database; restore them from the export",
        )


def terminal_is_final() -> Iterator[Violation]:
    """Law 7: a terminal execution has an end and exactly one ending event."""
    for subject, detail in grid.broken_ends():
        yield Violation(
            law="7 terminal states never change", subject=subject, detail=detail, remedy="report this; it is a bug"
        )


def writes_are_carried_out() -> Iterator[Violation]:
    """Law 9: tracker writes that failed for ever wait for a person."""
    for write in tracker.failed_writes():
        yield Violation(
            law="9 a tracker write happens once",
            subject=write.key,
            detail=write.error[:300],
            remedy=f"fix what the message says, then `manage.py retry --write {write.key}`",
        )


def locks_have_one_writer() -> Iterator[Violation]:
    """Law 3: of overlapping locks of two running executions none is for writing; tokens only grow; the ended hold nothing."""
    for one, other in grid_locks.double_writers():
        yield Violation(
            law="3 a lock has one writer",
            subject=f"lock {one.id}",
            detail=f"{one.pattern} and {other.pattern} (lock {other.id}) are held at once, and one of them is for writing",
            remedy=f"take the later one away with `manage.py locks release {max(one.id, other.id)}`, and report it: it is a bug",
        )
    for repository, token in grid_locks.tokens_above_counter():
        yield Violation(
            law="3 fencing tokens only grow",
            subject=repository,
            detail=f"a lock has token {token}, and the repository's counter has not come that far",
            remedy="report it: it is a bug, or the row was changed by hand",
        )
    for view in grid_locks.left_behind():
        yield Violation(
            law="3 a run that has ended holds nothing",
            subject=f"lock {view.id}",
            detail=f"{view.pattern} is {view.state} by execution {str(view.execution_id)[:8]}, which has ended",
            remedy="the sweep ends it within seconds; if not, start `beat` and a `control` worker",
        )


def tree_is_sound() -> Iterator[Violation]:
    """Depth, root and parent of every agent agree."""
    wrong = Agent.objects.filter(parent__isnull=False).exclude(depth=F("parent__depth") + 1)
    for agent in wrong[:100]:
        yield Violation(
            law="4 a child is one level below its parent",
            subject=f"agent {agent.pk}",
            detail=f"depth {agent.depth}",
            remedy="report this; it is a bug",
        )
    several = Nudge.objects.filter(is_open=True).values("agent_id").annotate(n=Count("pk")).filter(n__gt=1)
    for row in several:
        yield Violation(
            law="8 one open nudge per agent",
            subject=f"agent {row['agent_id']}",
            detail=f"{row['n']} open nudges",
            remedy="run migrate: the constraint one_open_nudge_per_agent is missing",
        )


def capabilities_only_shrink() -> Iterator[Violation]:
    """Law 4: no agent holds what its parent does not."""
    rows = Agent.objects.exclude(capability={}).exclude(parent=None).exclude(parent__capability={})
    for pk, path, own, above in rows.values_list("pk", "path", "capability", "parent__capability").iterator():
        try:
            more = capabilities.beyond(capabilities.from_json(own), capabilities.from_json(above))
        except CapabilityError as error:
            yield _wider(pk, path, f"it or its parent's cannot be read: {error}")
            continue
        if more != NOTHING:
            yield _wider(pk, path, "; ".join(capabilities.in_words(more, profiles.fleet_tiers())))


def _wider(agent_id: int, path: str, detail: str) -> Violation:
    return Violation(
        law="4 a child holds no more than its parent",
        subject=f"agent {agent_id}",
        detail=detail[:500],
        remedy=f"pause it with `manage.py pause {path}` and report this; it is a bug, or the row was changed by hand",
    )


def messages_come_to_an_end() -> Iterator[Violation]:
    """A message to an agent that has ended, or of a thread whose time is over, waits for nothing."""
    old = timezone.now() - STALE
    ended = Q(agent__state__in=sorted(ENDED), agent__ended_at__lt=old)
    over = Q(post__thread__expires_at__lt=old)
    waiting = Message.objects.filter(ended | over, state__in=[Message.State.QUEUED, Message.State.DELIVERED])
    for row in waiting.filter(created_at__lt=old).select_related("agent")[:100]:
        yield Violation(
            law="12 every message comes to an end",
            subject=f"message {row.pk} to agent {row.agent_id}",
            detail=f"{row.state}, and the agent is {row.agent.state}",
            remedy="start `beat` and a `control` worker; the sweep gives it up within seconds",
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
            remedy="start `beat` and a `control` worker",
        )


LAWS: tuple[Callable[[], Iterator[Violation]], ...] = (
    one_live_execution,
    budgets_add_up,
    envelopes_nest,
    reservations_are_settled,
    model_calls_are_settled,
    locks_have_one_writer,
    tree_is_sound,
    capabilities_only_shrink,
    no_expired_lease,
    events_have_no_gap,
    terminal_is_final,
    nudges_are_answered,
    conflicts_end,
    deliveries_are_processed,
    writes_are_carried_out,
    no_stuck_row,
    messages_come_to_an_end,
)
