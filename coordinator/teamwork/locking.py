"""Locks as agents and people see them: who holds what, what a run's work means for the locks of others, who is told.

The grid knows executions; here they are agents. What the locks of others mean for work that is about to be taken is decided
in `coordinator.rules.footprints`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from coordinator import auditing, lifecycle
from coordinator.agents import integration
from coordinator.care import repositories
from coordinator.contention import conflict_rows, neighbours
from coordinator.documents import untrusted
from coordinator.models import Agent
from coordinator.public_errors import CoordinatorError, PathsLockedError, StaleWriteError
from coordinator.rules import footprints
from coordinator.rules.footprints import LockMode, Standing, Verdict
from coordinator.talk import messages
from coordinator.teamwork import conflicts
from grid import public_api as grid
from grid import public_locks as locks
from grid.public_paths import LockView, escaped
from grid.public_types import EventView, ExecutionView
from tracker import public_api as tracker

HANDED_OVER, BROKEN = "lock.handed-over", "lock.broken"
MAX_PATHS = 20_000
"""Changed by one run, held against the locks of others one by one; of more, the folders that they are in."""
_NAMED = 5
_ASKED = 20
"""Locks of others that are made a conflict at once."""
_EARLIER = 50
"""Runs of an agent that are looked at for where its work comes from."""


def mode_of(agent: Agent) -> LockMode:
    """What locks mean in an agent's repository."""
    return LockMode(repositories.effective_policy(repositories.policy_of(agent.repository_id)).locks)


def holders(views: Iterable[LockView]) -> dict[UUID, Agent]:
    """The agents behind locks, by their executions."""
    ids = {view.execution_id for view in views}
    rows = Agent.objects.filter(execution_id__in=ids).select_related("issue")
    return {row.execution_id: row for row in rows if row.execution_id is not None}


def name_of(view: LockView, known: Mapping[UUID, Agent]) -> str:
    """Who holds or wants a lock, for people and models: `agent 12 (1.2 Add the parser)`."""
    agent = known.get(view.execution_id)
    if agent is None:
        return f"run {str(view.execution_id)[:8]}"
    return f"agent {agent.pk} ({agent.path} {untrusted.one_line(agent.issue.title, 60)})"


def are_held_by(blockers: Sequence[LockView], agents: Collection[int]) -> bool:
    """Whether what is held of these locks is held by some of these agents and by nobody else."""
    held = [view for view in blockers if view.state == "held"]
    known = holders(held)
    return bool(held) and all(
        (holder := known.get(view.execution_id)) is not None and holder.pk in agents for view in held
    )


def check(agent: Agent, run: ExecutionView) -> None:
    """Look at what a run changed beside the locks of others, before it is taken. Asks git; call it outside transactions.

    Raises:
        PathsLockedError: Others work on these files; apply the end again later.
        StaleWriteError: It lost a lock, and somebody else had it since.
    """
    mode = mode_of(agent)
    if mode == LockMode.OFF or not run.result.changed:
        return
    standing = _standing(agent, run)
    now = timezone.now()
    match footprints.judge(standing, mode=mode, waited=footprints.waited(run.ended_at, now)):
        case Verdict.REFUSE:
            raise StaleWriteError(_words_of_stale(standing))
        case Verdict.WAIT:
            raise PathsLockedError(_words(standing.locked))
        case Verdict.ASK:
            _ask(agent, standing.locked)
            raise PathsLockedError(_words(standing.locked))
        case Verdict.RECORD:
            seen = [*standing.stale, *standing.locked]
            with transaction.atomic():
                lifecycle.record(
                    agent, ("lock.passed-over", {"execution": str(run.id), "locks": _plain(seen), "mode": mode})
                )
        case Verdict.TAKE:
            pass


def _ask(agent: Agent, locked: Sequence[LockView]) -> None:
    """Have it decided, for each holder about what that one has; what stands already is not asked again."""
    known = holders(locked)
    for view in locked[:_ASKED]:
        holder = known.get(view.execution_id)
        if holder is not None and conflict_rows.between(agent.pk, [holder.pk], [view.pattern]) is None:
            conflicts.from_lock(agent, [view], path=view.pattern, reason=f"its finished work changes {view.pattern}")


def _standing(agent: Agent, run: ExecutionView) -> Standing:
    repository, runs = integration.key(agent), _untaken(agent, run)
    changed = [footprints.lockable(path) for path in integration.own_paths(agent, run.result.head, base=runs[-1].base)]
    lost = locks.stale_against([one.id for one in runs], changed)
    paths = footprints.at_most(changed, MAX_PATHS)
    found = locks.overlapping(repository, paths, but={run.id})
    if not lost and not found:
        return Standing(stale=[], locked=[])
    apart = conflict_rows.apart(agent.pk)
    stale = _not_agreed(lost, apart)
    if found:
        kept = locks.kept_to_the_end(run.id, paths)
        free = [path for path in paths if path not in kept]
        found = locks.overlapping(repository, free, but={run.id}) if len(free) < len(paths) else found
        known = holders(found)
        found = [view for view in found if _is_foreign(agent, view, known, free, apart)]
    return Standing(stale=stale, locked=found)


def _untaken(agent: Agent, run: ExecutionView) -> list[ExecutionView]:
    """A run, and those before it whose unfinished work it went on from: nobody has looked at that yet. The newest first."""
    runs = [run]
    settled = {integration.branch_head(agent), agent.base}
    if run.base in settled:
        return runs
    rows = grid.find_executions(subjects=[agent.subject], live=False, limit=_EARLIER)
    earlier = {one.result.head: one for one in reversed(rows) if one.result.changed and one.id != run.id}
    while runs[-1].base not in settled and (before := earlier.pop(runs[-1].base, None)) is not None:
        runs.append(before)
    return runs


def _is_foreign(
    agent: Agent,
    view: LockView,
    known: Mapping[UUID, Agent],
    paths: Sequence[str],
    apart: Mapping[int, Sequence[str]],
) -> bool:
    """Whether a lock on one of these paths is of somebody who has a say: none of its family, and nothing else was decided."""
    holder = known.get(view.execution_id)
    if holder is None:
        return True
    if neighbours.is_family(agent, holder):
        return False
    agreed = apart.get(holder.pk, ())
    left = [path for path in paths if not footprints.is_agreed(escaped(path), agreed)] if agreed else paths
    return not agreed or bool(locks.overlapping(view.repository, left, only=[view.execution_id]))


def _not_agreed(found: Sequence[tuple[str, LockView, LockView]], apart: Mapping[int, Sequence[str]]) -> list[LockView]:
    """Locks that were lost to others than those with whom it was decided that both change the path."""
    others = {row.subject: row.pk for row in Agent.objects.filter(pk__in=apart)} if found and apart else {}
    lost: dict[int, LockView] = {}
    for path, mine, later in found:
        agreed = apart.get(others.get(later.subject, 0), ())
        if not footprints.is_agreed(escaped(path), agreed):
            lost[mine.id] = mine
    return list(lost.values())


def release_by_hand(lock_id: int, *, actor: str, reason: str) -> LockView:
    """Take a lock away, or somebody out of the line; audited.

    Raises:
        LockNotFoundError: It is not open any more.
    """
    with transaction.atomic():
        broken = locks.break_lock(lock_id, actor=actor, reason=reason)
        told = {"path": broken.pattern, "execution": str(broken.execution_id), "reason": reason[:300]}
        auditing.record(actor, "release_lock", f"lock:{lock_id}", told)
    return broken


def tell(event: EventView) -> bool:
    """Tell a running agent what happened to its locks; returns whether there was somebody to tell."""
    execution_id = UUID(event.stream.removeprefix("execution:"))
    agent = Agent.objects.filter(execution_id=execution_id).first()
    path = untrusted.one_line(str(event.body.get("path", "")), 300)
    if agent is None or not path:
        return False
    if event.kind == HANDED_OVER:
        words = f"You hold the lock on {path} now: whoever had it has given it back. Look at the file again before you change it."
    else:
        why = untrusted.one_line(str(event.body.get("reason", "")), 200)
        words = f"Your lock on {path} was taken away by {untrusted.one_line(str(event.body.get('by', '')), 60)}: {why}. Ask again before you change it."
    try:
        messages.tell(agent.pk, sender="grid", text=words)
    except CoordinatorError:  # it has ended, or too much waits for it already
        return False
    return True


def _words(found: Sequence[LockView]) -> str:
    known = holders(found)
    named = ", ".join(f"{view.pattern} by {name_of(view, known)}" for view in found[:_NAMED])
    return f"its work changes what others have locked: {named}"


def _words_of_stale(standing: Standing) -> str:
    named = ", ".join(f"{view.pattern} (token {view.token}, {view.state})" for view in standing.stale[:_NAMED])
    return f"the run lost its lock before it ended, and somebody else has had it since: {named}"


def _plain(found: Sequence[LockView]) -> list[dict[str, Any]]:
    return [
        {"lock": view.id, "path": view.pattern, "token": view.token, "execution": str(view.execution_id)}
        for view in found[:20]
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRow:
    """A lock, or somebody who waits for one, as commands and pages show it."""

    id: int
    repository: str
    """Its scope, as people name it."""
    path: str
    mode: str
    state: str
    agent: int | None
    place: str
    """Of the agent in its tree: `1.2`."""
    title: str
    execution: UUID
    token: int
    since: datetime | None
    until: datetime | None
    reason: str
    waits_for: tuple[int, ...]
    """Locks and waits that it is behind."""


def find(*, repository_id: int | None = None) -> list[LockRow]:
    """Who holds what now, and who waits: of one repository or of all, oldest first."""
    wanted = integration.store_key(repository_id) if repository_id is not None else ""
    held, waiting = locks.held(repository=wanted), locks.waiting(repository=wanted)
    known = holders([*held, *waiting])
    scopes = {integration.store_key(row.id): row.scope for row in tracker.list_repositories()}
    found = []
    for view in [*held, *waiting]:
        agent = known.get(view.execution_id)
        found.append(
            LockRow(
                id=view.id,
                repository=scopes.get(view.repository, view.repository),
                path=view.pattern,
                mode=view.mode,
                state=view.state,
                agent=agent.pk if agent is not None else None,
                place=agent.path if agent is not None else "",
                title=untrusted.one_line(agent.issue.title, 200) if agent is not None else "",
                execution=view.execution_id,
                token=view.token,
                since=view.since,
                until=view.until,
                reason=view.reason,
                waits_for=tuple(other.id for other in locks.blockers_of(view.id)) if view.state == "waiting" else (),
            )
        )
    return found
