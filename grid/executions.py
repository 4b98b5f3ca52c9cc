"""Executions from the outside: queue, claim, lease, stop, end. Dates and leases are the database's time, not the worker's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.functions import Now
from django.utils import timezone

from grid import changing, event_log, execution_rows, lifecycle, phases, specs
from grid.conf import conf
from grid.events import rows
from grid.events.own_tables import EXECUTION
from grid.models import Execution, Host
from grid.public_types import LIVE, ON_HOST, ExecutionView, LaunchSpec, Mode, Result, State
from grid.statements import writing
from grid.statements.prepared import Prepared

MAX_CRASHES = 3
_MAX_LINKS = 20
"""Runs that went on with each other's conversation, looked back at."""
REAP_GRACE = timedelta(seconds=15)
"""A row is taken away from a host this long after its lease ended; by then its shim has killed the agent."""

_TRIES = 3

_COLUMNS = [
    one.attname for one in Execution._meta.concrete_fields if not one.primary_key and EXECUTION.counts(one.attname)
]

row, next_queued, others_wait = execution_rows.row, execution_rows.next_queued, execution_rows.others_wait


def in_seconds(seconds: float) -> ExpressionWrapper[Any]:
    """The database's time, plus some."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


def queue(spec: LaunchSpec, *, execution_id: UUID | None = None, is_held: bool = False) -> UUID | None:
    """Insert a queued row in the caller's transaction.

    Returns:
        None when the subject has a live execution already: the constraint decides, whoever asks at the same time.
    """
    row = Execution(
        pk=execution_id or uuid4(),
        subject=spec.subject,
        root=spec.root,
        mode=spec.mode,
        priority=spec.priority,
        attempt=spec.attempt,
        crashes=spec.crashes,
        is_held=is_held,
        spec=specs.dump_spec(spec),
        prompt=spec.prompt,
        agent=spec.agent.adapter,
        repository=spec.work.repository,
        branch=spec.work.branch,
        seq=1,
    )
    if not _insert(row):
        return None
    event_log.insert_numbered(
        stream=row.stream,
        root=row.root,
        first_seq=1,
        events=[
            (
                lifecycle.CHANGED,
                {
                    "to": "queued",
                    "reason": f"{spec.mode}, attempt {spec.attempt}",
                    "subject": spec.subject,
                    "rows": [rows.row(row, *_COLUMNS)],
                },
            )
        ],
    )
    return row.pk


def _insert(row: Execution) -> bool:
    """Store a new row; False when its subject has a live execution."""
    for tries in count(1):
        try:
            with transaction.atomic():
                writing.insert(row)
        except IntegrityError:
            if Execution.objects.filter(subject=row.subject, state__in=sorted(LIVE)).exists():
                return False
            if tries == _TRIES:
                raise
            continue  # what was in the way has ended since, so there is room now
        break
    return True


def claim(execution_id: UUID, *, host: str) -> Execution | None:
    """Take one queued row for a host that has a free slot; None when it was taken, held, or no slot is free."""
    with transaction.atomic():
        # Locked, so that two tasks of one host cannot both see the last free slot.
        if not _has_free_slot(execution_rows.SLOTS_LOCKED, host):
            return None
        moved = lifecycle.move(
            execution_id,
            old={State.QUEUED},
            new=State.CLAIMED,
            reason=f"claimed by {host}",
            where=Q(is_held=False),
            fields={
                "host": host,
                "token": F("token") + 1,
                "lease_until": in_seconds(conf().lease_seconds),
                "claimed_at": Now(),
            },
        )
        return row(execution_id) if moved else None


def has_free_slot(host: str) -> bool:
    """Whether a claim has a chance, seen without a lock: in a burst it has none as a rule."""
    return _has_free_slot(execution_rows.SLOTS, host)


def _has_free_slot(slots: Prepared[int], host: str) -> bool:
    has = slots.one(host=host)
    return has is not None and len(execution_rows.RUNNING_HERE.rows(host=host)) < has


def renew(*, host: str, tokens: Mapping[UUID, int], slots: int) -> set[UUID]:
    """Stamp the host's heartbeat and extend the leases it holds, in one statement each.

    Returns:
        The executions still ours; a missing one was fenced and its agent must die.
    """
    Host.objects.filter(pk=host).update(heartbeat_at=Now(), slots=slots)
    if not tokens:
        return set()
    mine = Execution.objects.filter(pk__in=tokens, host=host, state__in=sorted(ON_HOST))
    with transaction.atomic():
        # In the order in which everybody takes several of these rows (grid.locks.turns); SQLite has one writer anyway.
        list(mine.select_for_update().order_by("pk").values_list("pk"))
        mine.update(lease_until=in_seconds(conf().lease_seconds))
    return {pk for pk, token in mine.values_list("pk", "token") if tokens[pk] == token}


def request_stop(execution_ids: Collection[UUID], *, reason: str) -> int:
    """Ask executions to end: queued ones end at once, running ones when their host delivers it.

    Args:
        reason: State in which they are to end: `cancelled`, `over_budget`, `interrupted`. The first request stays, but that a
            cancel counts from when it comes: what another stop still lets happen (the checks of work that is done) must not.

    Returns:
        How many rows the request touched.
    """
    touched = 0
    first = ~Q(stop_reason=State.CANCELLED) if reason == State.CANCELLED else Q(stop_reason="")
    # In the order in which everybody takes several of these rows (grid.locks.turns), as the caller's transaction holds them all.
    for pk in sorted(execution_ids):
        with transaction.atomic():
            if lifecycle.move(pk, old={State.QUEUED}, new=State.CANCELLED, reason=reason):
                touched += 1
                continue
            live = Execution.objects.filter(first, pk=pk, state__in=sorted(ON_HOST))
            touched += len(
                changing.change(live, kind="task.stop-requested", body={"reason": reason}, stop_reason=reason)
            )
    return touched


def hold(*, is_held: bool, subjects: Collection[str] | None = None) -> int:
    """Keep queued rows from being claimed, or let them go; None means every subject. Returns how many that changed."""
    queued = Execution.objects.filter(state=State.QUEUED, is_held=not is_held)
    if subjects is not None:
        queued = queued.filter(subject__in=subjects)
    return len(changing.change(queued, kind="task.held" if is_held else "task.let-go", is_held=is_held))


def end(execution_id: UUID, *, token: int, state: State, reason: str, result: Result) -> bool:
    """Write the terminal state and what is left; False when the row is no longer ours."""
    return lifecycle.move(
        execution_id,
        old=_leading_to(state),
        new=state,
        reason=reason,
        token=token,
        fields={"result": specs.dump_result(result), "phase": "", "progress": {}},
    )


def left_work(execution_id: str) -> bool:
    """Whether an ended execution, or one that it went on with, left commits; False for an empty id."""
    for _ in range(_MAX_LINKS):
        row = Execution.objects.filter(pk=execution_id).only("result", "spec").first() if execution_id else None
        if row is None:
            return False
        if specs.load_result(row.result).changed:
            return True
        execution_id = row.spec.get("continues", "")
    return False


def crash_state(crashes_before: int) -> State:
    """Lost, or quarantined when this work has taken its runner with it too often."""
    return State.QUARANTINED if crashes_before + 1 >= MAX_CRASHES else State.LOST


def reap() -> list[UUID]:
    """End executions whose lease is over: nobody renews them, and their agents are dead by now.

    A row that was asked to stop ends as it was asked to, so that a cancel is never answered by a retry.
    """
    expired = Execution.objects.filter(
        state__in=sorted(ON_HOST), lease_until__lt=ExpressionWrapper(Now() - REAP_GRACE, output_field=DateTimeField())
    )
    reaped = []
    for row in expired.only("pk", "token", "crashes", "stop_reason", "host", "state"):
        state = _asked_end(row) if row.stop_reason else crash_state(row.crashes)
        why = f"host {row.host} stopped renewing the lease"
        if lifecycle.move(row.pk, old=_leading_to(state), new=state, reason=why, token=row.token):
            reaped.append(row.pk)
    return reaped


def _asked_end(row: Execution) -> State:
    asked = phases.interruption(phases.Ended(reason=row.stop_reason))
    return asked if asked is not None and asked in lifecycle.ARROWS[State(row.state)] else State.CANCELLED


def _leading_to(state: State) -> list[State]:
    return [old for old in ON_HOST if state in lifecycle.ARROWS[old]]


def find(*, ids: Iterable[UUID] | None = None, where: Q | None = None, limit: int = 1000) -> list[ExecutionView]:
    """Snapshots, newest first."""
    rows = Execution.objects.all() if ids is None else Execution.objects.filter(pk__in=list(ids))
    return [view(row) for row in rows.filter(where or Q())[:limit]]


def view(row: Execution, *, now: datetime | None = None) -> ExecutionView:
    """Freeze a row."""
    work: dict[str, Any] = row.spec["work"]
    until = row.ended_at or now or timezone.now()
    return ExecutionView(
        id=row.pk,
        subject=row.subject,
        root=row.root,
        mode=Mode(row.mode),
        state=State(row.state),
        attempt=row.attempt,
        token=row.token,
        phase=row.phase,
        host=row.host,
        branch=row.branch,
        base=work["base"],
        agent=row.agent,
        priority=row.priority,
        created_at=row.created_at,
        claimed_at=row.claimed_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        lease_until=row.lease_until,
        stop_requested=row.stop_reason,
        result=specs.load_result(row.result),
        wall_seconds=max(0.0, (until - row.claimed_at).total_seconds()) if row.claimed_at else 0.0,
        sandbox=row.sandbox,
        continues=row.spec.get("continues", ""),
    )
