"""Carry decisions about conflicts out, step by step, and take the default where nobody decides.

Each step is done in one transaction with the column that counts it, so that it is done once, whoever dies in between; two
workers take turns at the conflict's row. `advance` may be called at any time.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import transaction

from coordinator import lifecycle
from coordinator.contention import conflict_rows, conflict_situations, conflict_words
from coordinator.ending import outcomes
from coordinator.giving_way import done_again
from coordinator.launching import dispatch
from coordinator.models import Agent, Conflict
from coordinator.public_errors import CoordinatorError
from coordinator.public_types import ATTENTION, ENDED, AgentState, Source
from coordinator.rules import conflict_rules as rules
from coordinator.rules.conflict_rules import Kind
from coordinator.rules.conflict_steps import End, Overdue, Situation, Step, StepName, Wait, next_act
from coordinator.teamwork import conflict_talk, conflicts
from grid import public_api as grid
from grid import public_locks as grid_locks
from grid import public_paths as grid_paths
from grid.public_errors import GridError
from grid.public_types import LIVE, State

log = logging.getLogger(__name__)
MAX_ACTS = 10
AT_ONCE = 200
"""Conflicts that one pass looks at."""

type Later = Callable[[], object]
"""What is to follow outside the transaction; sweeps do it as well."""


def advance_all() -> int:
    """Do whatever is due about the conflicts that stand; returns how many acts. One bad row does not keep the others waiting."""
    done = conflicts.open_overlaps()
    for conflict_id in conflict_situations.movable(limit=AT_ONCE):
        try:
            done += advance(conflict_id)
        except DatabaseError:
            raise
        except Exception:
            log.exception("a conflict could not be advanced", extra={"action": "conflict", "conflict": conflict_id})
    return done


def advance(conflict_id: int) -> int:
    """Do what is due about one conflict; returns how many acts. Call it outside any transaction."""
    done = int(conflict_talk.announce(conflict_id))
    for _ in range(MAX_ACTS):
        later = _act(conflict_id)
        if later is None:
            break
        done += 1
        later()
    return done


@done_again
def _act(conflict_id: int) -> Later | None:
    """One act in one transaction; None when nothing is due."""
    with transaction.atomic():
        row = conflict_rows.locked(conflict_id)
        if row.state not in rules.STANDING:
            return None
        kind, sides = Kind(row.kind), conflict_rows.sides(row)
        situation = conflict_situations.of(row)
        act = next_act(kind, sides, conflict_rows.decision(row), done=row.step, situation=situation)
        match act:
            case Wait():
                return None
            case Overdue():
                _take_default(row)
            case End():
                conflicts.end(row, state=act.state, reason=act.reason)
            case Step():
                return _do(row, act, situation)
    return _nothing


def _take_default(row: Conflict) -> None:
    found = conflict_words.default_of(row)
    conflicts.decide(
        row.pk, choice=found.choice, actor=conflicts.DEFAULT, order=found.order, reason="nobody has decided in time"
    )


def _do(row: Conflict, step: Step, situation: Situation) -> Later:
    """Do one step and count it."""
    mine = {"step": row.step, "decisions": row.decisions, "state": row.state}
    body = {"step": str(step.name), "agent": step.agent, "choice": row.choice}
    fields = {"waiter_id": _next_waiter(row, step)} if step.name in (StepName.FREE, StepName.APPLY) else {}
    if not conflict_rows.change(row, "conflict.step", body, only_if=mine, step=row.step + 1, **fields):
        return _nothing
    agent = Agent.objects.select_related("execution", "parent").get(pk=step.agent)
    match step.name:
        case StepName.BREAK_LOCK:
            _break(row, agent)
        case StepName.STOP:
            _stop(row, agent, situation)
        case StepName.FREE:
            _free(row, agent)
        case StepName.HAND_OVER:
            _hand_over(row, agent)
        case StepName.APPLY:
            conflict_rows.take_merge_back(row, row.order)
            return _apply_again(agent)
    return _nothing


def _next_waiter(row: Conflict, freed: Step) -> int | None:
    """Who waits when this agent does not any more: of a sequence the second, while the first goes on."""
    is_first = row.choice == rules.Choice.SEQUENCE and freed.agent == row.order[0]
    return int(row.order[1]) if is_first else None


def _break(row: Conflict, holder: Agent) -> None:
    """Take the locks that the holder still has; what it writes there later is refused, as its tokens are old."""
    why = f"conflict {row.pk}: {row.choice} by {row.decided_by}"
    for lock in _locks_of(row, holder):
        if lock.state != "held":
            continue
        _stand_in_line(row, lock)
        try:
            with transaction.atomic():
                grid_locks.break_lock(lock.id, actor=row.decided_by, reason=why, to=row.requester.execution_id)
        except GridError:  # the requester does not run: whoever is first in line gets the lock, else nobody
            with contextlib.suppress(GridError), transaction.atomic():
                grid_locks.break_lock(lock.id, actor=row.decided_by, reason=why)


def _stand_in_line(row: Conflict, lock: grid_paths.LockView) -> None:
    """Have the requester's run wait for what it asked for: else the holder, which runs, would take it again at once."""
    run = row.requester.execution
    if run is None or run.state not in LIVE:
        return
    for pattern in row.patterns:
        with contextlib.suppress(GridError):
            if grid_paths.patterns_overlap([pattern], [lock.pattern]):
                why = f"conflict {row.pk} gives it to this run"
                grid_locks.acquire(run.pk, fence=run.token, path=pattern, wait=True, reason=why)


def _stop(row: Conflict, second: Agent, situation: Situation) -> None:
    """Interrupt who goes second; it was asked to end before. Its work is kept, and it spends no attempt."""
    first = row.order[0]
    run = second.execution
    if run is None or run.state not in LIVE or not situation.agents[first].is_moving:
        return
    # The nudge first: the end of a run that never started is an end like any other only where a nudge waits.
    dispatch.nudge(second.pk, source=Source.CONFLICT, reason=f"conflict {row.pk}: it goes on after agent {first}")
    grid.request_stop([run.pk], reason="interrupted")


def _free(row: Conflict, agent: Agent) -> None:
    """Let an agent go on that waited."""
    if agent.state in ENDED:
        return
    if row.choice == rules.Choice.SEQUENCE and agent.pk == row.order[0]:
        conflict_talk.say(row, f"Agent {agent.pk}: go on; agent {row.order[1]} has stopped and waits for you.")
    elif row.choice == rules.Choice.SEQUENCE:
        first = Agent.objects.get(pk=row.order[0])
        where = f"its work is commit {first.head}; merge it before you change {conflict_words.paths(row)}"
        conflict_talk.say(
            row, f"Agent {agent.pk}: go on. Agent {first.pk} is {first.state}" + (f", {where}." if first.head else ".")
        )
    elif row.choice == rules.Choice.RELEASE:
        conflict_talk.say(row, f"Agent {agent.pk}: {conflict_words.paths(row)} is free; take the lock and go on.")
    _look_at(agent, f"conflict {row.pk}: it may go on")


def _hand_over(row: Conflict, merger: Agent) -> None:
    """Give the merge of the requester's work to the arbiter, in a run of its own in the mode `resolve`."""
    if merger.state in ENDED or merger.state in ATTENTION or "paths" in merger.conflict:
        return  # the next step gives it back to the requester
    task = {"paths": list(row.patterns), "commit": str(row.detail.get("ours", ""))}
    lifecycle.change(merger, conflict=task, next_mode="resolve")
    dispatch.nudge(
        merger.pk, source=Source.CONFLICT, reason=f"conflict {row.pk}: it merges the work of {row.requester_id}"
    )


def _apply_again(agent: Agent) -> Later:
    """Have the end of an agent's last run applied once more: what stood in its way has moved."""
    run = agent.execution
    if run is None or run.state != State.SUCCEEDED or agent.state != AgentState.QUEUED or not agent.is_applied:
        _look_at(agent, "a conflict of it was dealt with")
        return _nothing
    lifecycle.change(agent, only_if={"is_applied": True}, is_applied=False, next_mode="", conflict={})
    pk = run.pk
    return lambda: _guarded_apply(pk)


def _guarded_apply(execution_id: UUID) -> None:
    """The sweep comes back to an end that could not be applied."""
    with contextlib.suppress(CoordinatorError, GridError):
        outcomes.apply(execution_id)


def _look_at(agent: Agent, reason: str) -> None:
    """Have an agent looked at that waits for its next run."""
    if agent.state in (AgentState.NEW, AgentState.QUEUED):
        dispatch.nudge(agent.pk, source=Source.CONFLICT, reason=reason)


def _locks_of(row: Conflict, holder: Agent) -> list[grid_paths.LockView]:
    """What the holder's run has, or stands in line for, of the paths of a conflict."""
    if holder.execution_id is None:
        return []
    found = conflict_situations.open_locks([holder.execution_id])
    return conflict_situations.on_paths(row, found.get(holder.execution_id, []))


def _nothing() -> None:
    """Nothing follows."""
