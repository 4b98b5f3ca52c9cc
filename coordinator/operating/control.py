"""What operators do by hand: pause, unpause, cancel, retry, hold. The same functions serve commands, admin and API.

Each act is one transaction with one audit row, is done again when the database undid it in favour of another transaction,
and works while the broker is down.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import auditing, lifecycle, pruning, wake
from coordinator.agents import approvals, integration, roster, tree
from coordinator.agents.integration import GITHUB
from coordinator.care import days
from coordinator.ending import outcomes, questions, taking
from coordinator.giving_way import done_again
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Envelope, Nudge
from coordinator.money import budgets
from coordinator.public_errors import AgentNotFoundError, NotAllowedError
from coordinator.public_types import ENDED, AgentState, Source
from coordinator.reading import touching
from coordinator.reading.touching import Touched
from coordinator.rules.budget_rules import DIMENSIONS, day_end
from coordinator.trees import endings
from grid import public_api as grid
from tracker import public_api as tracker
from tracker import public_writes as tracker_writes
from tracker.public_errors import NotFoundError
from tracker.public_types import Write, WriteKind

REOPENING = timedelta(seconds=15)
"""Until an issue that is being reopened on GitHub is looked at."""


@done_again
def pause(scope: str, *, actor: str) -> int:
    """Close a scope: nothing in it starts any more, nothing that ended there is applied. Running agents go on.

    Returns:
        How many queued executions are held back.
    """
    with transaction.atomic():
        roster.ensure_scope(scope)
        envelope = budgets.pause(scope, actor=actor, now=timezone.now())
        held = grid.hold(is_held=True, subjects=touching.subjects(envelope))
        audit(actor, "pause", scope, {"held": held})
    return held


@done_again
def unpause(scope: str, *, actor: str) -> int:
    """Open a scope again and take up what waited for it.

    Returns:
        How many queued executions may be claimed now.
    """
    with transaction.atomic():
        envelope = budgets.unpause(scope)
        agents = touching.agents_in(envelope)
        held = tracker.facts([agent.issue_id for agent in agents])
        paused = budgets.paused_by(agent.envelope for agent in agents)
        free = [agent for agent in agents if agent.envelope_id not in paused and not held[agent.issue_id].held]
        released = grid.hold(is_held=False, subjects=[agent.subject for agent in free])
        Nudge.objects.filter(agent__in=free, is_open=True).update(not_before=timezone.now() - timedelta(seconds=1))
        Agent.objects.filter(pk__in=[agent.pk for agent in free], is_applied=False).update(updated_at=agent_epoch())
        audit(actor, "unpause", scope, {"released": released})
    return released


@done_again
def cancel(agent_id: int, *, actor: str, reason: str = "") -> Touched:
    """End an agent and everything below it: queued runs at once, running ones within seconds; work done is kept.

    Raises:
        NotAllowedError: It has ended already.
    """
    with transaction.atomic():
        agents = [agent for agent in touching.subtrees([agent_id], lock=True) if agent.state not in ENDED]
        if not agents:
            raise NotAllowedError("it has ended already; retry starts it again")
        touched = touching.preview([agent_id])
        top = agents[0]
        why = f"cancelled by {actor}" + (f": {reason}" if reason else "")
        for agent in agents:
            endings.abandon(agent, reason=why[:500])
        live = grid.find_executions(subjects=[agent.subject for agent in agents], live=True)
        grid.request_stop([run.id for run in live], reason="cancelled")
        if top.pk == agent_id:
            endings.tell_parent(top, f"{top.path} was cancelled")
        audit(
            actor, "cancel", f"agent:{agent_id}", {"agents": len(agents), "running": touched.running, "reason": reason}
        )
    return touched


@done_again
def cancel_scope(scope: str, *, actor: str, reason: str = "") -> Touched:
    """End everything in the fleet, a repository, a tree or below an agent. What is submitted later is not touched.

    Raises:
        NotAllowedError: Nothing in it is under way.
        AgentNotFoundError: No such scope.
    """
    with transaction.atomic():
        tops = touching.tops_in(scope)
        if not tops:
            raise NotAllowedError("nothing in it is under way")
        touched = [cancel(agent_id, actor=actor, reason=reason) for agent_id in tops]
        audit(actor, "cancel_scope", scope, {"agents": tops, "reason": reason})
    return Touched(
        agents=tuple(pk for one in touched for pk in one.agents),
        queued=sum(one.queued for one in touched),
        running=sum(one.running for one in touched),
    )


@done_again
def retry(agent_id: int, *, actor: str, approved_at: datetime | None = None) -> Nudge:
    """Give an agent that waits for a person, or was cancelled, fresh attempts and start it.

    Where only the integration of finished work failed, that is tried again instead, once. The person approves the issue's
    present text by it.

    Args:
        approved_at: When the person asked for it, by the tracker's clock; now when left out.

    Raises:
        NotAllowedError: It is done, or under way.
    """
    with transaction.atomic():
        agent = _get(agent_id)
        state = AgentState(agent.state)
        if state == AgentState.ABANDONED and agent.execution_id is not None:
            outcomes.apply(agent.execution_id)  # of an ended agent it only settles what its last run reserved
        if state == AgentState.DONE:
            raise NotAllowedError("it is done; submit a new issue for more work")
        if state in (AgentState.QUEUED, AgentState.RUNNING):
            raise NotAllowedError(f"it is {state} already; `explain` says what it waits for")
        before = {"state": str(state), "attempts": agent.attempts, "crashes": agent.crashes}
        lifecycle.change(agent, event="agent.retried", attempts=0, crashes=0, reworks=0, not_before=None)
        if approved_at is None:  # else somebody approved the text that was seen, and the present one may differ
            approvals.approve_present(agent, by=actor, at=timezone.now())
        questions.answered(agent_id)
        later = _reopen(agent) if state == AgentState.ABANDONED else None
        if state == AgentState.ABANDONED:
            lifecycle.move(
                agent,
                new=AgentState.QUEUED,
                reason=f"taken up again by {actor}",
                fields={"ended_at": None, "blocked_reason": "", **_start_of_forgotten(agent)},
            )
        taking.once_more(agent, by=actor)
        row = dispatch.nudge(agent_id, source=Source.OPERATOR, reason=f"retry by {actor}", not_before=later)
        audit(actor, "retry", f"agent:{agent_id}", before)
    return row


@done_again
def nudge(agent_id: int, *, actor: str, reason: str = "") -> Nudge:
    """Ask for a look at an agent now, as a person, who thereby approves the issue's present text."""
    with transaction.atomic():
        agent, source = _get(agent_id), Source.OPERATOR
        approvals.approve_present(agent, by=actor, at=timezone.now())
        if questions.answered(agent_id):
            source, agent = Source.SWEEP, _get(agent_id)  # what it was to approve goes on; nobody asked for more
        row = dispatch.nudge(agent, source=source, reason=(reason or f"nudged by {actor}")[:300])
        audit(actor, "nudge", f"agent:{agent_id}", {"reason": reason[:300], "answer": row.answer})
    return row


@done_again
def retry_write(key: str, *, actor: str) -> None:
    """Take up a tracker write that failed for ever, and those that failed because of it.

    Raises:
        AgentNotFoundError: There is no such write.
        NotAllowedError: It has not failed.
    """
    try:
        with transaction.atomic():
            if not tracker_writes.retry(key):
                raise NotAllowedError(f"the write {key!r} has not failed for ever: it is done, or still to be tried")
            repository_id = tracker_writes.repository_of(key)
            audit(actor, "retry_write", key, {"repository": repository_id})
            wake.drain_outbox(repository_id)
    except NotFoundError as error:
        raise AgentNotFoundError(f"no write {key!r} waits to be retried; `doctor` lists those that failed") from error


@done_again
def raise_limit(
    scope: str,
    *,
    actor: str,
    executions: int | None = None,
    wall_seconds: int | None = None,
    usd_micros: int | None = None,
    tokens: int | None = None,
    tool_calls: int | None = None,
    children: int | None = None,
) -> Envelope:
    """Raise what a scope may use; a day's is made when there is none. What waited for it is decided again.

    Raises InvalidInputError when a limit would be lower than what is used, AgentNotFoundError for an unknown scope.
    """
    limits = {
        "executions": executions,
        "wall_seconds": wall_seconds,
        "usd_micros": usd_micros,
        "tokens": tokens,
        "tool_calls": tool_calls,
        "children": children,
    }
    with transaction.atomic():
        inside = touching.agents_in(days.ensure(scope))
        until = day_end(scope)
        for agent in inside if until is not None else ():
            if (
                agent.not_before == until
            ):  # stopped for want of this day's money; before the envelopes, as launches do it
                lifecycle.change(agent, only_if={"not_before": until}, not_before=None)
        before, envelope = budgets.set_limits(scope, limits)
        agents = [agent.pk for agent in inside]
        Nudge.objects.filter(agent__in=agents, is_open=True).update(not_before=timezone.now() - timedelta(seconds=1))
        audit(actor, "raise_limit", scope, {"before": _limits(before), "after": _limits(envelope)})
    return envelope


def _limits(envelope: Envelope) -> dict[str, int | None]:
    return {name: getattr(envelope, item.limit) for name, item in DIMENSIONS.items()}


def audit(actor: str, action: str, target: str, detail: dict[str, Any]) -> AuditEntry:
    """Record an act, in its transaction."""
    return auditing.record(actor, action, target, detail)


def agent_epoch() -> Any:
    """An `updated_at` old enough for the sweep to look at the row at once."""
    return timezone.now() - timedelta(hours=1)


def _get(agent_id: int) -> Agent:
    try:
        return dispatch.locked(agent_id)
    except Agent.DoesNotExist as error:
        raise AgentNotFoundError(f"no agent {agent_id}") from error


def _reopen(agent: Agent) -> datetime | None:
    """Open the agent's issue again; on GitHub that takes a moment, and this is when to look."""
    if tracker.get_issue(agent.issue_id).is_open:
        return None
    if agent.repository.tracker != GITHUB:
        tracker.reopen_issue(agent.issue_id)
        return None
    write = Write(
        key=f"reopen:{agent.pk}:{agent.executions}:{timezone.now().timestamp():.6f}",
        kind=WriteKind.REOPEN,
        payload={"ref": agent.issue.key},
        coalesce=f"reopen:{agent.pk}",
    )
    tree.write(agent, write)
    wake.drain_outbox(agent.repository_id)
    return timezone.now() + REOPENING


def _start_of_forgotten(agent: Agent) -> dict[str, str]:
    """Where an agent starts that was cancelled long ago: the locks that its unfinished work is held against may be gone."""
    return {"head": integration.branch_head(agent)} if pruning.is_forgotten(agent.ended_at, timezone.now()) else {}
