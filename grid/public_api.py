"""What the rest of agent-grid may ask of the grid. Thin: each function is one call or one query."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db.models import Count, Q
from django.utils import timezone

from grid import (
    bearers,
    cli_checks,
    cli_install,
    delivery,
    event_log,
    executions,
    invariants,
    launching,
    objects,
    probes,
    processes,
    store,
    wake,
    wiring,
    workspaces,
)
from grid.agents import bounds, outcome, registry
from grid.agents.pins import PINS
from grid.conf import conf
from grid.event_log import Position
from grid.host import identity
from grid.models import Execution, Host
from grid.public_errors import ExecutionNotFoundError, GridError, WorkspaceError
from grid.public_types import (
    LIVE,
    ON_HOST,
    AgentSpec,
    Caller,
    ChildProposal,
    CliCheck,
    Credential,
    EventView,
    ExecutionView,
    HostView,
    LaunchSpec,
    OutcomeKind,
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
    return row is not None and launching.start(row, lease_at=lease_at)


def agent_names() -> tuple[str, ...]:
    """Names of all adapters."""
    return registry.names()


def check_cli(name: str, *, dry_run: bool = True) -> CliCheck:
    """Whether this machine can run an agent; a dry run takes up to a minute. Raises GridError for an unknown name."""
    registry.get(name)
    return cli_checks.check(name, dry_run=dry_run)


def install_clis(names: Collection[str]) -> dict[str, Path]:
    """Install coding CLIs at their pinned versions. Returns each one's program. Raises GridError that names the fix."""
    return cli_install.install(names)


def installable_clis() -> tuple[str, ...]:
    """Names of the coding CLIs that `install_clis` knows."""
    return tuple(PINS)


def check_agent(spec: AgentSpec, *, profile: Mapping[str, Any] | None = None) -> None:
    """Raise a GridError that names the fix when this agent cannot be run as asked under a frozen profile."""
    adapter, settings = registry.get(spec.adapter), conf()
    # Only the processes that start agents need to know the address; here any will do.
    offers = wiring.wiring_for(profile or {}, replace(settings, agent_url=settings.agent_url or "http://127.0.0.1"))
    adapter.validate(adapter.wired(options=spec.options, wiring=offers).options)


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
    try:
        return executions.view(Execution.objects.get(pk=execution_id))
    except Execution.DoesNotExist as error:
        raise ExecutionNotFoundError(str(execution_id)) from error


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


def last_ended(*, limit: int) -> list[ExecutionView]:
    """The executions that ended last, newest first."""
    rows = Execution.objects.filter(ended_at__isnull=False).order_by("-ended_at")[:limit]
    return [executions.view(row) for row in rows]


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


def deliver(execution_id: UUID, *, key: str, sender: str, text: str) -> bool:
    """Have a message written to a running agent; False when it does not run, or its program takes nothing while it works.

    Events tell how far it came: `message.taken`, `message.refused`, `agent.inbox`, each with the key as `id`.
    """
    return delivery.deliver(execution_id, key=key, sender=sender, text=text)


def caller_of(bearer: str) -> Caller | None:
    """Whose bearer token it is; None for a wrong, an old or an ended one."""
    return bearers.caller(bearer)


def record_call(execution_id: UUID, *, fence: int, events: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    """Add events, kind and body each, to a running execution's stream; False when the claim is over.

    Bodies are cut down to what an event may hold.
    """
    cut = [(kind, bounds.bounded(body)) for kind, body in events]
    return bearers.record(execution_id, fence=fence, events=cut)


def note_connection(execution_id: UUID, *, fence: int) -> None:
    """Remember that the agent reached our tools."""
    bearers.note_connection(execution_id, fence=fence)


def report_outcome(execution_id: UUID, *, fence: int, report: dict[str, Any]) -> bool:
    """Store what the agent reported by the tool `finish`; False when the claim is over.

    Args:
        report: In the shape of `.agentgrid/outcome.json`.

    Raises:
        GridError: The report breaks a rule; the message names the place, so that the agent can correct itself.
    """
    checked = outcome.report_of(outcome.parse_outcome(outcome.encode_outcome(report)))
    return bearers.report(execution_id, fence=fence, outcome=checked)


def read_children(children: Sequence[Mapping[str, Any]]) -> tuple[ChildProposal, ...]:
    """Sub-issues that an agent asks for, in the shape of a report's `children`, checked.

    Raises:
        GridError: One of them breaks a rule; the message names the place, so that the agent can correct itself.
    """
    report = {"outcome": OutcomeKind.SPLIT, "children": [dict(child) for child in children]}
    return outcome.parse_outcome(outcome.encode_outcome(report)).children


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


def append_events(*, stream: str, root: str, events: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """Append to a stream of the caller's (`agent:12`) in the caller's transaction; returns the last number."""
    return event_log.append(stream=stream, root=root, events=events)


def cursor(consumer: str) -> Position:
    """How far a consumer has read."""
    return event_log.cursor(consumer)


def advance_cursor(consumer: str, *, old: Position, new: Position) -> bool:
    """Store how far a consumer has read; False when another process was faster."""
    return event_log.advance(consumer, old=old, new=new)


def read_events(
    *, after: Position, kinds: Collection[str] = (), root: str = "", limit: int = 500
) -> list[tuple[Position, EventView]]:
    """The next committed events after a position; none is skipped, whatever the order of commits."""
    return event_log.read(after=after, kinds=kinds, root=root, limit=limit)


def end_of_events() -> Position:
    """Where a reader starts who wants to see what happens from now on."""
    return event_log.end()


def latest_events(*, root: str = "", stream: str = "", kinds: Collection[str] = (), limit: int) -> list[EventView]:
    """The last events of a tree, of a stream or of all, oldest first; for showing."""
    return event_log.latest(root=root, stream=stream, kinds=kinds, limit=limit)


def last_of_streams(streams: Collection[str], *, kind: str) -> dict[str, EventView]:
    """The last event of a kind on each of these streams; those without one are left out."""
    return event_log.last_of_streams(streams, kind=kind)


def count_events(stream: str, *, kind: str, door: str) -> int:
    """How many events of a kind on a stream say in their bodies that they came through a `door`."""
    return event_log.count(stream, kind=kind, door=door)


def read_stream(stream: str, *, after_seq: int = 0, limit: int = 1000) -> list[EventView]:
    """One stream's events, in order."""
    return event_log.read_stream(stream, after_seq=after_seq, limit=limit)


def read_root(root: str, *, after_id: int = 0, limit: int = 1000) -> list[EventView]:
    """The events of one root tree, for showing."""
    return event_log.read_root(root, after_id=after_id, limit=limit)


# --- laws ------------------------------------------------------------------------------------------------------


def subjects_with_several_live() -> list[tuple[str, int]]:
    """Subjects that more than one live execution holds, and how many do."""
    return invariants.subjects_with_several_live()


def overdue_leases() -> list[ExecutionView]:
    """Executions on a host whose lease ended long ago."""
    return invariants.overdue_leases()


def streams_with_gaps() -> list[tuple[str, int, int]]:
    """Event streams whose numbers are not 1..n: name, rows, last number."""
    return invariants.streams_with_gaps()


def broken_ends() -> list[tuple[str, str]]:
    """Executions whose end and events disagree: what, and how."""
    return invariants.broken_ends()


# --- work ------------------------------------------------------------------------------------------------------


def fetch_repository(*, repository: str, source: str, credential: Credential | None = None) -> None:
    """Bring the store of a repository up to date with its source. Raises WorkspaceError."""
    bare = conf().store_dir(repository)
    store.ensure(bare, source)
    store.fetch(bare, source, credential=credential)


def default_branch(source: str, *, credential: Credential | None = None) -> str:
    """The branch the source's HEAD names. Raises WorkspaceError when the source is not a git repository."""
    return store.default_branch(source, credential=credential)


def remote_head(*, repository: str, source: str, branch: str, credential: Credential | None = None) -> str:
    """Commit of an agent's branch at the source, brought into the store; empty when there is none. Raises WorkspaceError."""
    bare = conf().store_dir(repository)
    store.ensure(bare, source)
    return store.remote_head(bare, source, branch, credential=credential)


def merge_base(*, repository: str, one: str, other: str) -> str:
    """A youngest commit that both commits grew from; empty when they have none in common."""
    return store.merge_base(conf().store_dir(repository), one, other)


def upstream_head(*, repository: str, branch: str) -> str:
    """Commit of a fetched branch of the source; empty when there is none."""
    return store.head(conf().store_dir(repository), f"refs/upstream/{branch}")


def branch_head(*, repository: str, branch: str) -> str:
    """Commit of an agent's branch in the store; empty when there is none."""
    return store.head(conf().store_dir(repository), f"refs/heads/{branch}")


def set_branch(*, repository: str, branch: str, commit: str, expected: str) -> bool:
    """Move an agent's branch from a known commit (empty: create it); False when it stood elsewhere."""
    return store.set_branch(conf().store_dir(repository), branch, commit, expected)


def read_file(*, repository: str, commit: str, path: str) -> bytes | None:
    """A file of a commit, at most 256 KiB; None when there is none."""
    return store.read_file(conf().store_dir(repository), commit, path)


def merge(*, repository: str, into: str, commit: str, message: str) -> MergeResult:
    """Merge a commit into an agent's branch in the store. Raises MergeConflictError with the paths."""
    return store.merge(conf().store_dir(repository), into=into, commit=commit, message=message)


def publish(
    *,
    repository: str,
    source: str,
    branch: str,
    commit: str,
    expected_old: str = "",
    credential: Credential | None = None,
) -> None:
    """Push an agent's finished branch to the source.

    Args:
        expected_old: Replace the branch if it stands exactly there; else it is created or moved forward only.

    Raises:
        BranchMovedError: It stands elsewhere.
        WorkspaceError: Git or the source refuses.
    """
    store.publish(
        conf().store_dir(repository),
        source,
        branch=branch,
        commit=commit,
        expected_old=expected_old,
        credential=credential,
    )


def changes(*, repository: str, base: str, head: str) -> list[FileChange]:
    """Files that differ between two commits."""
    return store.diff_stat(conf().store_dir(repository), base, head)


def note_published(*, repository: str, branch: str, commit: str) -> None:
    """Remember where an agent's branch stood at the source when we last pushed it or took it in."""
    store.set_ref(conf().store_dir(repository), store.published_ref(branch), commit, None)


def published_head(*, repository: str, branch: str) -> str:
    """What `note_published` was told last; empty before the first."""
    return store.head(conf().store_dir(repository), store.published_ref(branch))


def commits(*, repository: str, base: str, head: str, limit: int = 100) -> list[CommitInfo]:
    """Commits of `head` that `base` does not have, newest first."""
    return store.commits_between(conf().store_dir(repository), base, head, limit)


def messages(*, repository: str, head: str, known: Sequence[str]) -> dict[str, str]:
    """Whole messages of the commits of `head` that none of the known ones has, by commit. Raises WorkspaceError."""
    try:
        return objects.messages(conf().store_dir(repository), tip=head, known=known)
    except objects.UnusualError as error:
        raise WorkspaceError(f"the commits of {head[:12]} cannot be read: {error}") from error


def branch_name(key: str, title: str) -> str:
    """`agent/<key>-<slug>`, valid for git whatever the title."""
    return store.branch_name(key, title)


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
