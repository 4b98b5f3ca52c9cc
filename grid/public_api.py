"""What the rest of agent-grid may ask of the grid. Thin: each function is one call or one query."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Q
from django.utils import timezone

from grid import (
    delivery,
    executions,
    invariants,
    launching,
    probes,
    processes,
    wake,
    workspaces,
)
from grid.conf import conf
from grid.event_log import Position
from grid.host import identity
from grid.models import Execution, Host
from grid.public_errors import ExecutionNotFoundError, GridError
from grid.public_types import (
    LIVE,
    ON_HOST,
    ExecutionView,
    HostView,
    LaunchSpec,
    State,
)
from grid.sandboxes import choosing
from grid.store import CommitInfo, FileChange, MergeResult

__all__ = ["CommitInfo", "FileChange", "MergeResult", "Position"]
TASK_ENDED = "task.ended"


# --- executions ------------------------------------------------------------------------------------------------


def launch(spec: LaunchSpec, *, execution_id: UUID | None = None, is_held: bool = False) -> UUID | None:
    """Queue one execution in the caller's transaction and wake a worker when it commits, unless others wait already.

    Args:
        is_held: Queue it, but let nobody claim it yet (its scope is paused).

    Returns:
        None when the subject has a live execution already. Nothing is written then.
    """
    queued = executions.queue(spec, execution_id=execution_id, is_held=is_held)
    # Where others wait, no slot is free: hosts go on with the next row by themselves, and a message would find nothing to do.
    if queued is not None and not is_held and not executions.others_wait(queued):
        wake.launch(queued)
    return queued


def launch_here(execution_id: UUID) -> bool:
    """Claim a queued execution for this machine and start its agent; False when there is nothing to do."""
    host = identity.host_name(conf())
    if not executions.has_free_slot(host):
        return False
    lease_at = processes.boottime()
    row = executions.claim(execution_id, host=host)
    return row is not None and launching.start_patiently(row, lease_at=lease_at)


def request_stop(execution_ids: Collection[UUID], *, reason: str = "cancelled") -> int:
    """Ask executions to end; a queued one ends in this transaction, a running one within seconds."""
    return executions.request_stop(execution_ids, reason=reason)


def hold(*, is_held: bool, subjects: Collection[str] | None = None) -> int:
    """Keep queued executions from being claimed, or let them go; None means all. Returns how many rows changed."""
    changed = executions.hold(is_held=is_held, subjects=subjects)
    if not is_held:
        for execution_id in executions.next_queued(limit=20):
            wake.launch(execution_id)
    return changed


def reap() -> list[UUID]:
    """End executions whose lease is over."""
    return executions.reap()


def wake_queued(*, older_than_seconds: float = 5.0, limit: int = 20) -> int:
    """Wake workers again for rows that wait although a message was sent; returns how many."""
    due = Execution.objects.filter(
        state=State.QUEUED, is_held=False, created_at__lt=timezone.now() - timedelta(seconds=older_than_seconds)
    ).order_by("-priority", "created_at")
    waiting = list(due.values_list("pk", flat=True)[:limit])
    for execution_id in waiting:
        wake.launch(execution_id)
    return len(waiting)


def get_execution(execution_id: UUID) -> ExecutionView:
    """One execution.

    Raises:
        ExecutionNotFoundError: No such row.
    """
    row = executions.row(execution_id)
    if row is None:
        raise ExecutionNotFoundError(str(execution_id))
    return executions.view(row)


def find_executions(
    *,
    ids: Iterable[UUID] | None = None,
    subjects: Collection[str] | None = None,
    live: bool | None = None,
    limit: int = 1000,
) -> list[ExecutionView]:
    """Snapshots, newest first."""
    where = Q()
    if subjects is not None:
        where &= Q(subject__in=subjects)
    if live is not None:
        where &= Q(state__in=sorted(LIVE)) if live else ~Q(state__in=sorted(LIVE))
    return executions.find(ids=ids, where=where, limit=limit)


def last_ended(*, limit: int, besides: Collection[State] = ()) -> list[ExecutionView]:
    """The executions that ended last, newest first, without those that ended in a state of `besides`."""
    # NOT IN on purpose: for IN, SQLite takes an index by state and sorts all there ever was.
    rows = Execution.objects.filter(ended_at__isnull=False).exclude(state__in=sorted(besides))
    return [executions.view(row) for row in rows.order_by("-ended_at")[:limit]]


def find_by_prefix(prefix: str) -> ExecutionView | None:
    """The one execution whose id starts with `prefix` (at least 4 hex digits); None when none or several do."""
    if len(prefix) < 4:
        return None
    rows = [
        pk
        for pk in Execution.objects.order_by("-created_at").values_list("pk", flat=True)[:5000]
        if str(pk).startswith(prefix)
    ]
    return get_execution(rows[0]) if len(rows) == 1 else None


def prompt_of(execution_id: UUID) -> str:
    """The exact text the agent was given."""
    return Execution.objects.values_list("prompt", flat=True).get(pk=execution_id)


def profile_of(execution_id: UUID) -> Mapping[str, Any]:
    """The frozen profile that an execution was queued with; empty: none."""
    spec = Execution.objects.values_list("spec", flat=True).get(pk=execution_id)
    profile: Mapping[str, Any] = spec.get("profile") or {}
    return profile


def state_counts() -> dict[str, int]:
    """How many executions are in each state."""
    return dict(Execution.objects.values_list("state").annotate(n=Count("pk")).order_by())


def hosts() -> list[HostView]:
    """Every host that ever reported, with the executions it runs."""
    live = dict(
        Execution.objects.filter(state__in=sorted(ON_HOST)).values_list("host").annotate(n=Count("pk")).order_by()
    )
    now = timezone.now()
    return [
        HostView(
            name=row.name,
            slots=row.slots,
            running=live.get(row.name, 0),
            pid=row.pid,
            heartbeat_age_seconds=(now - row.heartbeat_at).total_seconds(),
            is_draining=row.draining_at is not None,
            note=row.note,
        )
        for row in Host.objects.all()
    ]


# --- events ----------------------------------------------------------------------------------------------------


# --- laws ------------------------------------------------------------------------------------------------------


def subjects_with_several_live() -> list[tuple[str, int]]:
    """Subjects that more than one live execution holds, and how many do."""
    return invariants.subjects_with_several_live()


def overdue_leases() -> list[ExecutionView]:
    """Executions on a host whose lease ended long ago."""
    return invariants.overdue_leases()


def broken_ends() -> list[tuple[str, str]]:
    """Executions whose end and events disagree: what, and how."""
    return invariants.broken_ends()


# --- work ------------------------------------------------------------------------------------------------------


def prune_runs() -> int:
    """Delete run directories of executions that ended long ago; returns how many."""
    settings = conf()
    old = timezone.now() - timedelta(days=settings.keep_runs_days)
    pruned = 0
    runs = settings.state_dir / "runs"
    names = {path.name: path for path in runs.iterdir()} if runs.is_dir() else {}
    ended = Execution.objects.filter(ended_at__lt=old, pk__in=[name for name in names if _is_uuid(name)])
    for execution_id in ended.values_list("pk", flat=True):
        workspaces.remove(names[str(execution_id)])
        pruned += 1
    return pruned


def prune_inbox(*, before: datetime) -> int:
    """Remove what was for the programs of executions that ended before a time; returns how many."""
    return delivery.prune(before=before)


def sandbox() -> str:
    """Name of the sandbox that agents on this host get; empty when none can be had."""
    settings = conf()
    try:
        return choosing.default(settings).name
    except GridError:
        return ""


def sandbox_warning() -> str:
    """What is wrong with how agents are kept in on this host; empty when they are in a sandbox."""
    return choosing.warning(conf())


def free_disk_bytes() -> int:
    """Room left where executions work."""
    state_dir = conf().state_dir
    state_dir.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(state_dir).free


def git_version() -> tuple[int, ...]:
    """Of the git that the grid uses, `(2, 43, 0)`. Raises WorkspaceError when there is none."""
    return probes.git_version()


def workspace_seconds() -> float:
    """How long this machine takes to make a small workspace. Raises WorkspaceError."""
    return probes.workspace_seconds()


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True
