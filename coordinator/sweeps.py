"""Periodic passes over the rows: whatever a lost message, a crash or a restart left behind is found here.

Each pass may run twice, at once, or not at all. A slot keeps k beats from doing the same pass k times; it saves work, it
guards nothing.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from uuid import UUID

from django.db import DataError, IntegrityError
from django.db import Error as DatabaseError
from django.db.models import Q
from django.utils import timezone

from coordinator import pruning, wake
from coordinator.care import repositories
from coordinator.ending import outbox, outcomes, resolutions
from coordinator.launching import dispatch, surroundings
from coordinator.models import Agent, Nudge, SweepSlot
from coordinator.money import budgets, spending
from coordinator.public_types import AgentState, Source
from coordinator.rules import breaker
from coordinator.talk import handing_back, messages
from coordinator.teamwork import asked, conflicts, locking, threads
from coordinator.trees import needs, plan_adopting
from grid import public_api as grid
from grid import public_bus as grid_bus
from grid import public_events as grid_events
from grid import public_locks as grid_locks
from grid.public_types import TERMINAL, State
from tracker import public_inbound
from tracker import public_writes as tracker_writes

log = logging.getLogger(__name__)
CONSUMER = "coordinator"
STARTED, ENDED, DEADLOCK = "task.started", "task.ended", "lock.deadlock"
NOTES = (messages.SEEN, messages.REFUSED)
LOCKS = (locking.HANDED_OVER, locking.BROKEN)
EVENTS_PER_BATCH = 20
"""Small, so that several processes share a burst; a batch is taken by moving the cursor past it first."""
UNAPPLIED_AFTER = timedelta(seconds=10)
DUE_LIMIT = 200
_events_wanted = threading.Event()
_events_taken = threading.Lock()
MAX_BACKOFF_SECONDS = 900


def claim_slot(name: str, *, every_seconds: float) -> bool:
    """Whether this call is the first one in the present slot of a periodic pass."""
    slot = int(timezone.now().timestamp() // every_seconds)
    SweepSlot.objects.get_or_create(name=name)
    # The next slot may be that of a worker whose clock is a little ahead. What is later comes from a clock that was wrong, and
    # would stop the pass for as long as it was wrong by.
    free = Q(slot__lt=slot) | Q(slot__gt=slot + 1)
    return bool(SweepSlot.objects.filter(free, name=name).update(slot=slot))


def apply_events() -> int:
    """Take up what the grid reported since the last call; returns how many events.

    One thread of a process does it for all: several would only wait for each other, for the interpreter and for rows.
    """
    handled = 0
    _events_wanted.set()
    while _events_wanted.is_set() and _events_taken.acquire(blocking=False):
        try:
            _events_wanted.clear()  # before looking: who asks from now on is heard by the next round
            handled += _apply_events()
        finally:
            _events_taken.release()
    return handled


def _apply_events() -> int:
    handled = 0
    while True:
        position = grid_events.cursor(CONSUMER)
        batch = grid_events.read_events(
            after=position, kinds=(STARTED, ENDED, DEADLOCK, *NOTES, *LOCKS), limit=EVENTS_PER_BATCH
        )
        if not batch:
            return handled
        # Moved first: another consumer goes on behind this batch. What a crash loses here, `start_missed` and `apply_missed` find.
        if not grid_events.advance_cursor(CONSUMER, old=position, new=batch[-1][0]):
            continue
        runs = [(event.kind, UUID(event.stream.removeprefix("execution:"))) for _, event in batch]
        for execution_id in outcomes.begun([run for kind, run in runs if kind == STARTED]):
            _guarded(outcomes.started, execution_id)
        # Before the ends: what a run has seen must not be told again by the one that its end starts.
        for note in [event for _, event in batch if event.kind in NOTES]:
            _guarded(messages.take_note, note)
        for execution_id in [run for kind, run in runs if kind == ENDED]:
            _guarded(functools.partial(outcomes.apply, drains=False), execution_id)
        for told in [event for _, event in batch if event.kind in LOCKS]:
            _guarded(locking.tell, told)
        for circle in [event for _, event in batch if event.kind == DEADLOCK]:
            _guarded(conflicts.from_deadlock, circle)
        resolutions.advance_all()
        handled += len(batch)
        drain_due()


def sweep() -> dict[str, int]:
    """The pass that runs every few seconds; returns what each of its parts found, for the log."""
    found = _each(
        {
            "reaped": lambda: len(grid.reap()),
            "locks": grid_locks.sweep,
            "events": apply_events,
            "starts": start_missed,
            "missed": apply_missed,
            "calls": lambda: spending.settle_orphans(timezone.now()),
            "breaker": check_breaker,
            "conflicts": resolutions.advance_all,
            "nudges": decide_due,
            "needs": lambda: sum(_guarded(needs.tell, need) for need in needs.untold()),
            "splits": adopt_missed,
            "plans": lambda: sum(_guarded(plan_adopting.finish, plan_id) for plan_id in plan_adopting.open_plans()),
            "deliveries": wake_deliveries,
            "threads": threads.expire,
            "messages": messages.expire,
            "warnings": handing_back.tell_due,
            "asked": asked.wake_waiting,
            "writes": drain_due,
            "queued": grid.wake_queued,
            "bus": grid_bus.wake_when_behind,
        }
    )
    if any(found.values()):
        log.info("swept", extra={"action": "sweep", **found})
    return found


def start_missed() -> int:
    """Show agents as running whose start no event led to, and hand over what waits for them."""
    began = {"execution__state": State.RUNNING, "execution__started_at__lt": timezone.now() - UNAPPLIED_AFTER}
    rows = Agent.objects.filter(state=AgentState.QUEUED, **began).order_by("pk")
    found = list(rows.values_list("execution_id", flat=True)[:DUE_LIMIT])
    for execution_id in found:
        _guarded(outcomes.started, execution_id)
    return len(found)


def apply_missed() -> int:
    """Apply ends that no event led to, or that failed half-way."""
    rows = Agent.objects.filter(
        is_applied=False,
        updated_at__lt=timezone.now() - UNAPPLIED_AFTER,
        execution__state__in=[str(state) for state in TERMINAL],
    )
    return sum(_guarded(outcomes.apply, pk) for pk in rows.values_list("execution_id", flat=True)[:DUE_LIMIT])


def check_breaker() -> int:
    """Let the fleet rest while everything fails; returns whether it rests."""
    last = grid.last_ended(limit=breaker.LOOKED_AT, besides=breaker.UNTOLD)
    until = breaker.open_until(last, now=timezone.now())
    budgets.rest(until)
    return until is not None


def decide_due() -> int:
    """Decide open nudges again whose time has come."""
    due = Nudge.objects.filter(is_open=True, not_before__lte=timezone.now()).order_by("-agent__priority", "not_before")
    return sum(_guarded(dispatch.decide_again, pk) for pk in due.values_list("agent_id", flat=True)[:DUE_LIMIT])


def adopt_missed() -> int:
    """Finish splits whose writer died between the tracker's answer and ours."""
    rows = Agent.objects.filter(is_splitting=True).order_by("updated_at")
    return sum(_guarded(outbox.adopt_children, pk) for pk in rows.values_list("pk", flat=True)[:DUE_LIMIT])


def drain_due() -> int:
    """Carry out the tracker writes that are due; returns in how many repositories there were any."""
    return sum(
        _guarded(outbox.drain, repository_id) for repository_id in tracker_writes.due_repositories(timezone.now())
    )


def wake_deliveries() -> int:
    """Have webhooks taken up that no message led to; returns whether there are any.

    By a task of its own: that asks the tracker, which may take longer than everything else here may wait.
    """
    if not public_inbound.is_overdue(timezone.now()):
        return 0
    wake.take_up_deliveries()
    return 1


def resume_parents() -> int:
    """Look at waiting parents that are due, less often while nothing changes; returns how many."""
    now = timezone.now()
    due = due_parents(limit=DUE_LIMIT)
    for pk, backoff in due:
        seconds = min(MAX_BACKOFF_SECONDS, max(30, backoff * 2))
        later = {"resume_due_at": now + timedelta(seconds=seconds), "resume_backoff_seconds": seconds}
        # Not an event: when the sweep looks is no state, see `coordinator.state_tables`.
        if Agent.objects.filter(pk=pk, state=AgentState.WAITING, resume_due_at__lte=now).update(**later):
            dispatch.nudge(pk, source=Source.SWEEP, reason="periodic look at a waiting parent")
    return len(due)


def due_parents(*, limit: int) -> list[tuple[int, int]]:
    """Ids and back-offs in seconds of waiting parents that are due; an index makes it quick however many agents exist."""
    rows = Agent.objects.filter(state=AgentState.WAITING, resume_due_at__lte=timezone.now()).order_by("resume_due_at")
    return list(rows.values_list("pk", "resume_backoff_seconds")[:limit])


def housekeeping() -> dict[str, int]:
    """The hourly pass: what is old and needed by nobody goes, repositories are fetched."""
    now = timezone.now()
    found = _each(
        {
            "sessions": pruning.sessions,
            "runs": grid.prune_runs,
            "deliveries": lambda: public_inbound.prune(now),
            "locks": lambda: pruning.locks(now),
            "inbox": lambda: pruning.inbox(now),
            "gateways": spending.forget_gateways,
            "repositories": lambda: repositories.refresh_stale(surroundings.POLICY_MAX_AGE),
        }
    )
    log.info("housekeeping", extra={"action": "housekeeping", **found})
    return found


def _each(parts: Mapping[str, Callable[[], object]]) -> dict[str, int]:
    """Do all parts of a pass in their order: one that fails is logged by its name, and the others are done all the same."""
    return {name: _attempt(part, said="a part of a pass failed", part=name) for name, part in parts.items()}


def _guarded[T](act: Callable[[T], object], argument: T) -> int:
    """One bad row must not keep the others waiting; the sweep comes back to it."""
    return bool(_attempt(lambda: act(argument), said="a row could not be handled", row=str(argument)))


def _attempt(act: Callable[[], object], *, said: str, **facts: str) -> int:
    """What an act has found, as a number; 0 when it failed, which is logged. A database that is away ends the whole pass."""
    try:
        found = act()
    except DatabaseError as error:
        if not isinstance(error, DataError | IntegrityError):  # these two are about values, and the next row has others
            raise
        log.exception(said, extra={"action": "sweep", **facts})
    except Exception:
        log.exception(said, extra={"action": "sweep", **facts})
    else:
        return int(found if isinstance(found, int) else bool(found))
    return 0
