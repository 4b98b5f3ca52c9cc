"""Apply the ends of executions: agent moves, ledger, merges, sub-issues, retries. Every step may be repeated.

An execution's end is applied by whoever switches `Agent.is_applied` in the same transaction as the agent's move; a crash
before it leaves the row unapplied, and the sweep applies it again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from coordinator import (
    briefing,
    budgets,
    dispatch,
    endings,
    integration,
    lifecycle,
    messages,
    outbox,
    proposals,
    reports,
    reviewing,
    spawning,
    tree,
    upgrades,
)
from coordinator.conf import conf
from coordinator.models import Agent
from coordinator.public_errors import ClosingWordsError
from coordinator.public_types import ATTENTION, ENDED, AgentState, Source
from grid import public_api as grid
from grid import public_code as grid_code
from grid.public_errors import GridError, MergeConflictError, SourceUnavailableError
from grid.public_types import LIVE, ExecutionView, Outcome, OutcomeKind, State
from tracker import public_api as tracker
from tracker.public_types import CloseReason

log = logging.getLogger(__name__)
MAX_RETRY_SECONDS = 300.0
FIRST_RESUME_CHECK = timedelta(seconds=30)
CHECKPOINTS = frozenset({State.INTERRUPTED, State.TIMED_OUT})
"""Ends whose work the next run continues from; after an acceptance failure as well."""


def begun(execution_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these have an agent that is not shown as running yet; short runs have ended by now."""
    if not execution_ids:
        return []
    live = [str(state) for state in LIVE]
    rows = Agent.objects.filter(execution_id__in=execution_ids, state=AgentState.QUEUED, execution__state__in=live)
    return list(rows.values_list("execution_id", flat=True))


def started(execution_id: UUID) -> None:
    """The agent's process exists."""
    live = [str(state) for state in LIVE]
    agents = Agent.objects.select_related("issue", "repository")
    try:
        agent = agents.get(execution_id=execution_id, state=AgentState.QUEUED, execution__state__in=live)
    except Agent.DoesNotExist:
        return
    with transaction.atomic():
        if lifecycle.move(agent, new=AgentState.RUNNING, reason="its execution started"):
            tree.show_state(agent)
            tree.write(agent, *reports.show(agent))
    messages.hand_over_waiting(agent)


def apply(execution_id: UUID, *, drains: bool = True) -> bool:
    """Apply the end of one execution.

    Args:
        execution_id: The execution that ended.
        drains: Carry out the tracker writes that come of it; a caller with several ends does it once for all.

    Returns:
        False when there is nothing to apply, or not yet: its scope is paused or its issue held, and nothing may happen there.
    """
    # Parent and envelope are asked for where they are needed: that is cheaper than their columns for all others.
    agents = Agent.objects.select_related("repository", "issue")
    try:
        agent = agents.get(execution_id=execution_id, is_applied=False)
    except Agent.DoesNotExist:
        return False
    run = grid.get_execution(execution_id)
    if run.is_live:
        return False
    spent = 0 if run.state in (State.INTERRUPTED, State.CANCELLED) and not run.started_at else 1
    budgets.settle(
        execution_id=execution_id,
        executions=0 if run.state == State.INTERRUPTED else spent,
        wall_seconds=round(run.wall_seconds),
    )
    if agent.state in ENDED:
        Agent.objects.filter(pk=agent.pk, execution_id=execution_id).update(is_applied=True)
        return True
    if agent.state == AgentState.BLOCKED:
        # Its text lost its approval under way. The run was stopped; what it left stays on its own ref.
        Agent.objects.filter(pk=agent.pk, execution_id=execution_id).update(is_applied=True)
        dispatch.decide_again(agent.pk)
        return True
    if budgets.is_paused(execution_id):
        return False
    if tracker.is_held(agent.issue_id):
        return False
    _apply(agent, run)
    if drains:
        outbox.drain(agent.repository_id)
    dispatch.decide_again(agent.pk)
    return True


def _apply(agent: Agent, run: ExecutionView) -> None:
    outcome = run.result.outcome
    match run.state:
        case State.SUCCEEDED if outcome is not None and outcome.kind == OutcomeKind.SPLIT:
            _split(agent, run, outcome)
        case State.SUCCEEDED if outcome is not None and outcome.kind == OutcomeKind.BLOCKED:
            _block(agent, run, outcome.summary or "the agent asks for help without saying why")
        case State.SUCCEEDED:
            _finish(agent, run)
        case State.INTERRUPTED:
            _again(agent, run, reason="interrupted; goes on from its checkpoint", delay=0.0, attempts=agent.attempts)
        case State.LOST:
            _again(
                agent, run, reason=run.result.reason or "lost", delay=back_off(agent.crashes), attempts=agent.attempts
            )
        case State.QUARANTINED:
            _move(
                agent,
                run,
                AgentState.FAILED,
                f"quarantined: {agent.crashes + 1} crashes in a row",
                crashes=agent.crashes + 1,
            )
        case State.CANCELLED if agent.nudges.filter(is_open=True).exists():
            _again(agent, run, reason="its cancelled run has ended", delay=0.0, attempts=agent.attempts)
        case State.CANCELLED:
            _block(agent, run, "its execution was cancelled; nudge it to go on")
        case State.OVER_BUDGET:
            _out_of_money(agent, run)
        case _:
            _fail(agent, run, run.result.reason or str(run.state))


def back_off(failures: int) -> float:
    """Seconds before the next try: 10 · 2ⁿ with jitter, at most five minutes."""
    base: float = min(MAX_RETRY_SECONDS, conf().retry_seconds * 2**failures)
    return base * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing


def _fail(agent: Agent, run: ExecutionView, reason: str) -> None:
    attempts, policy = agent.attempts + 1, briefing.limits_of(agent)
    if attempts >= policy.attempts:
        _move(agent, run, AgentState.FAILED, f"attempt {attempts} failed: {reason}", attempts=attempts)
        return
    upgrades.by_policy(agent, run, failures=policy.upgrade_after_failures)
    _again(agent, run, reason=reason, delay=back_off(agent.attempts), attempts=attempts)


def _again(agent: Agent, run: ExecutionView, *, reason: str, delay: float, attempts: int) -> None:
    """Another run after a delay; the work of a checkpoint is where it starts."""
    now = timezone.now()
    due = now + timedelta(seconds=delay)
    goes_on = run.result.changed and (run.state in CHECKPOINTS or bool(run.result.checks))
    fields: dict[str, Any] = {
        "attempts": attempts,
        "crashes": agent.crashes + 1 if run.state == State.LOST else 0,
        "not_before": due if delay else None,
        "next_mode": "" if run.mode == "work" else run.mode,
    }
    if goes_on:
        fields["head"] = run.result.head
    with transaction.atomic():
        if not _move(agent, run, AgentState.QUEUED, reason, **fields):
            return
        dispatch.nudge(agent.pk, source=Source.RETRY, reason=reason[:300], not_before=due if delay else None)


def _split(agent: Agent, run: ExecutionView, outcome: Outcome) -> None:
    children = spawning.unasked(agent, outcome.children)
    why = spawning.complaint(agent, children)
    if why:
        _fail(agent, run, why)
        return
    try:
        reviewing.check(agent, run)
    except (ClosingWordsError, GridError) as error:
        _refuse(agent, run, error)
        return
    head = integration.keep(agent, run.result.head)
    with transaction.atomic():
        moved = _move(
            agent,
            run,
            AgentState.WAITING,
            f"split into {len(outcome.children)}",
            head=head,
            is_splitting=True,
            **_succeeded(outcome),
        )
        if moved:
            tree.write(agent, *proposals.writes(children, execution_id=run.id, parent_key=agent.issue.key))


def _finish(agent: Agent, run: ExecutionView) -> None:
    """Done: merge upwards or publish, close the issue, tell the parent."""
    # Read again: it may have asked for them in the last moment of its run, after our caller had looked.
    asked = len(spawning.pending(Agent.objects.get(pk=agent.pk)))
    children = tree.children_of(agent)
    if children.moving or asked:
        _wait(agent, run, f"{children.moving + asked} sub-issues are under way")
        return
    issue = agent.issue
    try:
        reviewing.check(agent, run)
        done = reviewing.bring_together(agent, run)
    except SourceUnavailableError as error:
        _later(agent, error)
        return
    except (ClosingWordsError, GridError) as error:
        _refuse(agent, run, error)
        return
    if done.conflict:
        _conflict(agent, run, done)
        return
    if agent.parent is not None and done.parent_head:
        integration.note_head(agent.parent)
    commits = reviewing.to_propose(agent, done.head)
    new = AgentState.DONE if commits is None else AgentState.REVIEW
    with transaction.atomic():
        if not _move(agent, run, new, run.result.reason or "done", head=done.head, **_succeeded(run.result.outcome)):
            return
        for child in children.all:
            if child.state in ATTENTION:
                endings.abandon(Agent.objects.get(pk=child.id), reason="its parent finished without it")
        if commits is not None:
            reviewing.offer(agent, run, commits)
            return
        tree.write(
            agent,
            *reports.ended(agent, run),
            endings.close_issue(agent, key=issue.key, reason=CloseReason.COMPLETED),
        )
        endings.tell_parent(agent, f"{agent.repository.scope}#{issue.key} is done")


def _wait(agent: Agent, run: ExecutionView, reason: str) -> None:
    """Its own part is done, its children's is not: keep the work, they are merged into it as they end."""
    try:
        head = integration.keep(agent, run.result.head)
    except MergeConflictError as error:
        against = grid_code.branch_head(repository=integration.key(agent), branch=agent.branch)
        _conflict(agent, run, integration.Integrated(head=run.result.head, conflict=error.paths, against=against))
        return
    except GridError as error:
        _block(agent, run, f"the work is safe as refs/executions/{run.id}, but could not be integrated: {error}")
        return
    _move(agent, run, AgentState.WAITING, reason, head=head, **_succeeded(run.result.outcome))


def _later(agent: Agent, error: Exception) -> None:
    """The source is away: the end stays unapplied, and the sweep applies it again a little later."""
    log.warning("not published yet", extra={"action": "publish", "agent": agent.pk, "error": str(error)[:300]})
    Agent.objects.filter(pk=agent.pk, is_applied=False).update(updated_at=timezone.now())


def _conflict(agent: Agent, run: ExecutionView, done: integration.Integrated) -> None:
    attempts = agent.attempts + 1
    reason = f"merge conflict in {', '.join(done.conflict[:5])}"
    if attempts >= briefing.max_attempts(agent):
        _block(agent, run, reason)
        return
    with transaction.atomic():
        moved = _move(
            agent,
            run,
            AgentState.QUEUED,
            reason,
            attempts=attempts,
            head=done.head,
            next_mode="resolve",
            conflict={"paths": list(done.conflict), "commit": done.against},
        )
        if moved:
            dispatch.nudge(agent.pk, source=Source.RETRY, reason=reason)


def _out_of_money(agent: Agent, run: ExecutionView) -> None:
    """A person raises the budget or not; what is committed is where the next run starts."""
    kept = {"head": run.result.head} if run.result.changed else {}
    reason = "its budget is used up; raise it with `manage.py budget raise`, then nudge"
    _move(agent, run, AgentState.BLOCKED, reason, next_mode="" if run.mode == "work" else run.mode, **kept)


def _refuse(agent: Agent, run: ExecutionView, error: ClosingWordsError | GridError) -> None:
    """The work cannot be taken. An agent that can put it right by itself is told so once, then a person is asked."""
    attempts = agent.attempts + 1
    is_told = "refused" in agent.conflict or attempts >= briefing.max_attempts(agent)
    if is_told or not isinstance(error, ClosingWordsError):
        _block(agent, run, f"the work is safe as refs/executions/{run.id}, but could not be integrated: {error}")
        return
    head = run.result.head
    advice = f"The work is commit {head}; `git merge --squash {head}`, then `git commit -m …`, takes it over without its messages"
    reason = f"the work was not taken, because {error}"
    with transaction.atomic():
        moved = _move(
            agent,
            run,
            AgentState.QUEUED,
            reason[:500],
            attempts=attempts,
            head=integration.branch_head(agent),
            next_mode="" if run.mode == "work" else run.mode,
            conflict={**agent.conflict, "refused": f"{reason}. {advice}"},
        )
        if moved:
            dispatch.nudge(agent.pk, source=Source.RETRY, reason=reason[:300])


def _block(agent: Agent, run: ExecutionView, reason: str) -> None:
    _move(agent, run, AgentState.BLOCKED, reason)


def _move(agent: Agent, run: ExecutionView, new: AgentState, reason: str, **fields: Any) -> bool:
    """Move the agent and mark the end as applied, in one transaction; False when somebody else has."""
    with transaction.atomic(savepoint=False):
        if new in ATTENTION:
            fields["blocked_reason"] = reason[:1000]
        if new == AgentState.WAITING:
            fields = {**_resume_check(agent), **fields}
        if run.result.outcome is not None and run.result.outcome.summary:
            fields.setdefault("summary", run.result.outcome.summary)
        fields["is_applied"] = True
        mine = {"execution_id": run.id, "is_applied": False}
        if not lifecycle.move(agent, old=_movable(new), new=new, reason=reason, fields=fields, only_if=mine):
            return False
        for name in ("blocked_reason", "summary", "head"):
            setattr(agent, name, fields.get(name, getattr(agent, name)))
        if new != AgentState.DONE:  # its issue is closed, which takes the label off
            tree.show_state(agent)
        if new in ATTENTION:
            issue = tracker.get_issue(agent.issue_id)
            tree.write(agent, *reports.ended(agent, run))
            endings.tell_parent(agent, f"{issue.ref} needs attention: {reason}"[:300])
        elif new in (AgentState.QUEUED, AgentState.WAITING):
            tree.write(agent, *reports.show(agent))
    return True


def _movable(new: AgentState) -> list[AgentState]:
    return [old for old in (AgentState.QUEUED, AgentState.RUNNING) if new in lifecycle.ARROWS[old]]


def _succeeded(outcome: Outcome | None) -> dict[str, Any]:
    return {"attempts": 0, "crashes": 0, "summary": outcome.summary if outcome else "", "conflict": {}, "next_mode": ""}


def _resume_check(agent: Agent) -> dict[str, Any]:
    return {
        "resume_due_at": timezone.now() + FIRST_RESUME_CHECK,
        "resume_backoff_seconds": round(FIRST_RESUME_CHECK.total_seconds()),
    }
