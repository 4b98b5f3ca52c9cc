"""Apply the ends of executions: agent moves, ledger, merges, sub-issues, retries. Every step may be repeated.

An execution's end is applied by whoever switches `Agent.is_applied` in the same transaction as the agent's move; a crash
before it leaves the row unapplied, and the sweep applies it again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from coordinator import lifecycle
from coordinator.agents import approvals, integration, tree
from coordinator.contention import neighbours
from coordinator.ending import applied, arbitration, faults, outbox, questions, reviewing, setbacks, taking
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.money import budgets, soft_limits
from coordinator.public_types import ATTENTION, ENDED, AgentState, Source
from coordinator.rules import proposals
from coordinator.talk import messages
from coordinator.trees import endings, plan_acts, plan_adopting, reports, spawning
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid.public_sql import Prepared, given, given_all
from grid.public_types import LIVE, ExecutionView, Outcome, OutcomeKind, State
from tracker import public_api as tracker
from tracker.public_types import CloseReason

_APPLIED = "agent.end-dropped"
_CHANGED = "its task was changed while it ran"
"""Event: a run's end was taken note of, and nothing else came of it."""
log = logging.getLogger(__name__)
# Parent and envelope are asked for where they are needed: that is cheaper than their columns for all others.
_UNAPPLIED = Prepared(
    lambda: Agent.objects.select_related("repository", "issue").filter(execution=given("execution"), is_applied=False)
)
_BEGUN = Prepared(lambda: _begun(execution=given("execution")).select_related("repository", "issue").order_by())
_BEGUN_IDS = Prepared(
    lambda: _begun(execution__in=given_all("executions")).order_by().values_list("execution_id", flat=True)
)
_NOW = Prepared(lambda: Agent.objects.filter(pk=given("agent")).order_by())


def begun(execution_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these have an agent that is not shown as running yet; short runs have ended by now."""
    return _BEGUN_IDS.rows(executions=execution_ids) if execution_ids else []


def _begun(**of: Any) -> QuerySet[Agent]:
    return Agent.objects.filter(**of, state=AgentState.QUEUED, execution__state__in=[str(state) for state in LIVE])


def started(execution_id: UUID) -> None:
    """The agent's process exists."""
    agent = _BEGUN.one(execution=execution_id)
    if agent is None:
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
        False when there is nothing to apply, or not yet: its scope is paused, its issue held, or the issue's text
        not approved, and nothing may happen there.
    """
    agent = _UNAPPLIED.one(execution=execution_id)
    if agent is None:
        return False
    run = grid.get_execution(execution_id)
    if run.is_live:
        return False
    spent = 0 if run.state in (State.INTERRUPTED, State.CANCELLED) and not run.started_at else 1
    budgets.settle(
        execution_id=execution_id,
        executions=0 if run.state == State.INTERRUPTED else spent,
        wall_seconds=round(run.wall_seconds),
        tool_calls=grid_agents.tool_calls(execution_id),
        agent=agent,
    )
    is_taken_back = run.state == State.CANCELLED or not approvals.is_asked(agent)
    if agent.state in ENDED or (agent.state == AgentState.BLOCKED and is_taken_back):
        # Nothing waits for it: what such a run left stays on its own ref.
        lifecycle.change(agent, event=_APPLIED, only_if={"execution_id": execution_id}, is_applied=True)
        dispatch.decide_again(agent.pk)
        return True
    if budgets.is_paused(execution_id) or tracker.is_held(agent.issue_id) or not _is_approved(agent):
        return False
    _try(agent, run)
    if drains:
        outbox.drain(agent.repository_id)
    dispatch.decide_again(agent.pk)
    for waiting in neighbours.released(agent) if agent.parent_id is not None else ():
        dispatch.decide_again(waiting)
    return True


def _is_approved(agent: Agent) -> bool:
    """Whether the issue's text is approved, and nothing waits for that any more."""
    if agent.state == AgentState.BLOCKED and not questions.answered(agent.pk):
        return False
    # As it was read together with the agent: what becomes of the end shows these words. The tracker may say so before anybody
    # has judged the new text.
    return approvals.is_issue_approved(agent)


def _try(agent: Agent, run: ExecutionView) -> None:
    """Apply an end; what fails each time is handed to a person, so that no agent hangs for ever on a fault of ours."""
    try:
        if not arbitration.take(agent, run):
            _apply(agent, run)
    except Exception as error:
        if faults.is_away(error) or not faults.note(agent, run, error):
            raise
        log.exception("a person has to look at an end", extra={"action": "apply", "agent": agent.pk})


def _apply(agent: Agent, run: ExecutionView) -> None:
    outcome = run.result.outcome
    match run.state:
        case State.SUCCEEDED if outcome is not None and outcome.kind == OutcomeKind.SPLIT:
            _split(agent, run, outcome)
        case State.SUCCEEDED if outcome is not None and outcome.kind == OutcomeKind.BLOCKED:
            setbacks.ask_for_help(agent, run, outcome.summary)
        case State.SUCCEEDED:
            _finish(agent, run)
        case State.INTERRUPTED:
            setbacks.again(
                agent, run, reason="interrupted; goes on from its checkpoint", delay=0.0, attempts=agent.attempts
            )
        case State.LOST:
            setbacks.again(
                agent,
                run,
                reason=run.result.reason or "lost",
                delay=setbacks.back_off(agent.crashes),
                attempts=agent.attempts,
            )
        case State.QUARANTINED:
            applied.move(
                agent,
                run,
                AgentState.FAILED,
                f"quarantined: {agent.crashes + 1} crashes in a row",
                crashes=agent.crashes + 1,
            )
        case State.CANCELLED if agent.nudges.filter(is_open=True).exists():
            setbacks.again(agent, run, reason="its cancelled run has ended", delay=0.0, attempts=agent.attempts)
        case State.CANCELLED:
            setbacks.block(agent, run, "its execution was cancelled; nudge it to go on")
        case State.OVER_BUDGET:
            setbacks.out_of_money(agent, run)
        case _:
            setbacks.fail(agent, run, run.result.reason or str(run.state))


def _split(agent: Agent, run: ExecutionView, outcome: Outcome) -> None:
    children = spawning.unasked(agent, outcome.children)
    why = spawning.complaint(agent, children)
    if why:
        setbacks.fail(agent, run, why)
        return
    head = taking.kept(agent, run)
    if head is None:
        return
    with transaction.atomic():
        moved = applied.move(
            agent,
            run,
            AgentState.WAITING,
            f"split into {len(outcome.children)}",
            head=head,
            is_splitting=True,
            **applied.succeeded(outcome),
        )
        if moved:
            tree.write(agent, *proposals.writes(children, execution_id=run.id, parent_key=agent.issue.key))


def _finish(agent: Agent, run: ExecutionView) -> None:
    """Done: merge upwards or publish, close the issue, tell the parent."""
    # Read again: it may have asked for them in the last moment of its run, after our caller had looked.
    now = _NOW.get(agent=agent.pk)
    if plan_acts.was_changed_during(now, run.id):
        _go_on(agent, run, _CHANGED)
        return
    asked = len(spawning.pending(now)) + plan_adopting.unmade(now)
    children = tree.children_of(agent)
    if children.moving or asked:
        _wait(agent, run, f"{children.moving + asked} sub-issues are under way")
        return
    done = taking.brought_together(agent, run)
    if done is None:
        return
    if agent.parent is not None and done.parent_head:
        integration.note_head(agent.parent)
    if not _close(agent, run, done, children):
        _go_on(agent, run, _CHANGED)


def _close(agent: Agent, run: ExecutionView, done: integration.Integrated, children: tree.Children) -> bool:
    """End the agent, or offer its work; False when a plan has changed its task while its work was brought together."""
    commits = reviewing.to_propose(agent, done.head)
    new = AgentState.DONE if commits is None else AgentState.REVIEW
    with transaction.atomic():
        now = dispatch.locked(agent.pk)
        if plan_acts.was_changed_during(now, run.id):
            return False
        if not applied.move(
            agent, run, new, run.result.reason or "done", head=done.head, **applied.succeeded(run.result.outcome)
        ):
            return True  # somebody else has
        # Agents before envelopes, as every launch takes them.
        parent = dispatch.locked(agent.parent_id) if agent.parent_id is not None else None
        _progress(now, run)
        for child in children.all:
            if child.state in ATTENTION:
                endings.abandon(Agent.objects.get(pk=child.id), reason="its parent finished without it")
        if commits is not None:
            reviewing.offer(agent, run, commits)
            return True
        key = agent.issue.key
        close = endings.close_issue(agent, key=key, reason=CloseReason.COMPLETED)
        tree.write(agent, *reports.ended(agent, run), close)
        if parent is not None:
            dispatch.nudge(parent, source=Source.CHILD, reason=f"{agent.repository.scope}#{key} is done")
    return True


def _progress(agent: Agent, run: ExecutionView) -> None:
    """Work was accepted: what its tree spends counts from here."""
    if run.result.changed:
        soft_limits.note_progress(agent.envelope, why=f"work of {agent.path} was accepted")


def _wait(agent: Agent, run: ExecutionView, reason: str) -> None:
    """Its own part is done, its children's is not: keep the work, they are merged into it as they end."""
    head = taking.kept(agent, run)
    if head is None:
        return
    with transaction.atomic():
        if applied.move(agent, run, AgentState.WAITING, reason, head=head, **applied.succeeded(run.result.outcome)):
            _progress(agent, run)


def _go_on(agent: Agent, run: ExecutionView, reason: str) -> None:
    """It has done what was asked when it began, and another thing is asked by now: the next run starts from its work."""
    head = taking.kept(agent, run)
    if head is None:
        return
    with transaction.atomic():
        if applied.move(agent, run, AgentState.QUEUED, reason, head=head, **applied.succeeded(run.result.outcome)):
            dispatch.nudge(agent.pk, source=Source.PARENT, reason=reason)
