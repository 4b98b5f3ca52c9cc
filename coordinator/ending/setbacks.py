"""Ends that are no success: another attempt after a while, a person is asked, or the end is applied later."""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import lifecycle
from coordinator.agents import integration, raising
from coordinator.conf import conf
from coordinator.contention import conflict_rows
from coordinator.ending import applied
from coordinator.launching import briefing, dispatch
from coordinator.models import Agent
from coordinator.public_errors import ClosingWordsError, StaleWriteError
from coordinator.public_types import AgentState, Source
from coordinator.rules import budget_rules
from coordinator.teamwork import conflict_merges, upgrades
from grid import public_agents as grid_agents
from grid import public_events as grid_events
from grid.public_errors import GridError
from grid.public_types import ExecutionView, State

log = logging.getLogger(__name__)
MAX_RETRY_SECONDS = 300.0
WAITS = "agent.end-waits"
SET_ASIDE = "set_aside"
"""Key in `Agent.conflict`: id of the execution whose accepted work waits for a person."""
_WORDS = 300
CHECKPOINTS = frozenset({State.INTERRUPTED, State.TIMED_OUT})
"""Ends whose work the next run continues from; after an acceptance failure as well."""


def back_off(failures: int) -> float:
    """Seconds before the next try: 10 · 2ⁿ with jitter, at most five minutes."""
    base: float = min(MAX_RETRY_SECONDS, conf().retry_seconds * 2**failures)
    return base * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing


def fail(agent: Agent, run: ExecutionView, reason: str) -> None:
    """Another attempt, or the end of them; a person at once where another attempt would meet the same."""
    if run.result.is_permanent:
        block(agent, run, f"{reason[:800]}. Put that right, then retry it: no attempt was spent")
        return
    attempts, policy = agent.attempts + 1, briefing.limits_of(agent)
    if attempts >= policy.attempts:
        applied.move(agent, run, AgentState.FAILED, f"attempt {attempts} failed: {reason}", attempts=attempts)
        return
    upgrades.by_policy(agent, run, failures=policy.upgrade_after_failures)
    again(agent, run, reason=reason, delay=back_off(agent.attempts), attempts=attempts)


def again(agent: Agent, run: ExecutionView, *, reason: str, delay: float, attempts: int) -> None:
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
        if not applied.move(agent, run, AgentState.QUEUED, reason, **fields):
            return
        dispatch.nudge(agent.pk, source=Source.RETRY, reason=reason[:300], not_before=due if delay else None)


def later(agent: Agent, error: Exception) -> None:
    """What it takes is away for now: the end stays unapplied, and the sweep applies it again a little later.

    Why it waits is told once, and again when that has changed.
    """
    why = str(error)[:_WORDS]
    log.warning("not published yet", extra={"action": "publish", "agent": agent.pk, "error": why})
    with transaction.atomic():
        if not Agent.objects.filter(pk=agent.pk, is_applied=False).update(updated_at=timezone.now()):
            return
        body = {"execution": str(agent.execution_id), "why": why}
        said = grid_events.latest_events(stream=agent.stream, kinds=(WAITS,), limit=1)
        if not said or any(said[0].body.get(name) != value for name, value in body.items()):
            lifecycle.record(agent, (WAITS, body))


def conflict(agent: Agent, run: ExecutionView, done: integration.Integrated) -> None:
    """A run in mode `resolve`, or a person when attempts are spent."""
    attempts = agent.attempts + 1
    reason = f"merge conflict in {', '.join(done.conflict[:5])}"
    if attempts >= briefing.max_attempts(agent):
        block(agent, run, reason)
        return
    # Where somebody else is to merge, or to say who does, its next run is deferred by that conflict.
    conflict_merges.from_merge(agent, paths=done.conflict, ours=done.head, theirs=done.against)
    with transaction.atomic():
        moved = applied.move(
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


def park(agent: Agent, run: ExecutionView, *, for_merge: bool = False) -> bool:
    """Have an agent wait for a conflict instead of a person, or with a finished work for who is to end before it.

    Args:
        for_merge: Its work is done, and a plan may say that it merges last.

    Returns:
        False when no conflict has it wait; nothing was done then.
    """
    row = conflict_rows.merge_to_wait_for(agent.pk) if for_merge else None
    why = conflict_rows.wait_of(agent.pk) if not for_merge else ""
    if row is None and not why:
        return False
    with transaction.atomic():
        if row is not None:
            # Decided otherwise, or a step further by now: nothing would let it go any more.
            as_seen = {"state": row.state, "decisions": row.decisions, "step": row.step}
            told = {"agent": agent.pk}
            if not conflict_rows.change(row, "conflict.waits", told, only_if=as_seen, waiter_id=agent.pk):
                return False
            why = conflict_rows.wait_of(agent.pk)
        _queue_for_conflict(agent, run, why)
    return True


def ask_for_help(agent: Agent, run: ExecutionView, words: str) -> None:
    """It cannot go on: where that is because of a conflict it waits for its end, else a person is asked.

    A conflict that ended while the run did not look has nobody wait any more, and the run does not know: it goes on as well.
    """
    if park(agent, run):
        return
    over = conflict_rows.over_untold(agent.pk, since=run.created_at)
    if over is None:
        block(agent, run, words or "the agent asks for help without saying why")
        return
    _queue_for_conflict(agent, run, f"conflict {over.pk} keeps it no longer, which its run ended without being told")


def _queue_for_conflict(agent: Agent, run: ExecutionView, why: str) -> None:
    """Its next run starts from what this one committed, when its conflicts allow it; no attempt is spent."""
    kept = {"head": run.result.head} if run.result.changed else {}
    mode = {"next_mode": "" if run.mode == "work" else run.mode}
    with transaction.atomic():
        if applied.move(agent, run, AgentState.QUEUED, why[:500], attempts=agent.attempts, **mode, **kept):
            dispatch.nudge(agent.pk, source=Source.CONFLICT, reason=why[:300])


def out_of_money(agent: Agent, run: ExecutionView) -> None:
    """A person raises the budget or not, and a day's begins anew; what is committed is where the next run starts."""
    kept = {"head": run.result.head} if run.result.changed else {}
    until = budget_rules.day_end(raising.stopped_by(run))
    if until is not None:
        why = "the day's budget is used up; it goes on when the next day starts, in UTC"
        mode = "" if run.mode == "work" else run.mode
        with transaction.atomic():
            if applied.move(agent, run, AgentState.QUEUED, why, next_mode=mode, not_before=until, **kept):
                dispatch.nudge(agent.pk, source=Source.RETRY, reason=why, not_before=until)
        return
    reason = "its budget is used up; raise it with `manage.py budget raise`, then nudge"
    calls, most = grid_agents.tool_calls(run.id), grid_agents.tool_calls_allowed(run.id)
    if most is not None and calls > most:
        reason = (
            f"it called {calls} tools, and the run might call {most} (limits.tool_calls of its profile or repository, or what "
            "was left of its budget: `manage.py budget raise`); nudge it to go on from what it committed"
        )
    applied.move(agent, run, AgentState.BLOCKED, reason, next_mode="" if run.mode == "work" else run.mode, **kept)


def refuse(
    agent: Agent,
    run: ExecutionView,
    error: ClosingWordsError | StaleWriteError | GridError,
    *,
    is_accepted: bool = False,
) -> None:
    """The work cannot be taken. An agent that can put it right by itself is told so once, then a person is asked.

    Args:
        is_accepted: Nothing is wrong with the work itself, so a person's `retry` has it taken without another run.
    """
    attempts = agent.attempts + 1
    is_told = "refused" in agent.conflict or attempts >= briefing.max_attempts(agent)
    if is_told or not isinstance(error, ClosingWordsError | StaleWriteError):
        reason = f"the work is safe as refs/executions/{run.id}, but could not be integrated: {error}"
        _set_aside(agent, run, reason, is_accepted=is_accepted)
        return
    head = run.result.head
    advice = f"The work is commit {head}; `git merge --squash {head}`, then `git commit -m …`, takes it over without its messages"
    if isinstance(error, StaleWriteError):
        advice = f"The work is commit {head}. Take the locks again, look at what has changed since, then take over by hand what still fits"
    reason = f"the work was not taken, because {error}"
    with transaction.atomic():
        moved = applied.move(
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


def _set_aside(agent: Agent, run: ExecutionView, reason: str, *, is_accepted: bool) -> None:
    """A person is asked, and finished work is kept for the first `retry`; when that fails, too, the next one is a new run."""
    was_retried = is_set_aside(agent)
    known = {name: value for name, value in agent.conflict.items() if name != SET_ASIDE}
    if is_accepted and not was_retried:
        known[SET_ASIDE] = str(run.id)
        reason = f"{reason[:800]}. `retry` takes the work without another run, once that is put right"
    with transaction.atomic():
        if applied.move(agent, run, AgentState.BLOCKED, reason, conflict=known) and was_retried:
            lifecycle.close_nudge(agent)  # of that retry: nobody has asked for another run


def is_set_aside(agent: Agent) -> bool:
    """Whether the last run's work is finished, and only could not be integrated."""
    return agent.execution_id is not None and agent.conflict.get(SET_ASIDE) == str(agent.execution_id)


def block(agent: Agent, run: ExecutionView, reason: str) -> None:
    """A person is asked."""
    applied.move(agent, run, AgentState.BLOCKED, reason)
