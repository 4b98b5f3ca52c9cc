"""Questions about locks, for showing, for publication and for the doctor. Nothing here waits for anybody."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from grid.locks import patterns, rows, rules
from grid.locks.patterns import Pattern
from grid.locks.rows import Row
from grid.locks.types import LockView
from grid.models import FileLock
from grid.public_errors import LockPatternError
from grid.public_types import ON_HOST

_SHOWN = ("id", "repository", "pattern", "mode", "state", "execution_id", "token", "since", "until", "reason")


def held(*, repository: str = "", execution_id: UUID | None = None) -> list[LockView]:
    """Locks that count now, oldest first: of a repository, of an execution, or all."""
    found = rows.open_rows(repository, execution_id=execution_id)
    return [row.view() for row in found if row.is_held and row.counts]


def waiting(*, repository: str = "", execution_id: UUID | None = None) -> list[LockView]:
    """Who waits for a lock, in line."""
    found = rows.open_rows(repository, execution_id=execution_id)
    return [row.view() for row in found if not row.is_held and row.counts]


def open_of(execution_ids: Collection[UUID]) -> list[LockView]:
    """What these executions hold and wait for, by one statement."""
    counts = Q(until=None) | Q(until__gt=Now())
    found = FileLock.objects.filter(counts, execution_id__in=execution_ids, state__in=FileLock.OPEN)
    found = found.filter(execution__state__in=sorted(ON_HOST), execution__lease_until__gt=Now()).order_by("pk")
    of_run = ("execution__subject", "execution__lease_until")
    return [
        LockView(**{**row, "subject": subject, "since": row["since"] or asked_at, "until": row["until"] or lease_until})
        for *values, asked_at, subject, lease_until in found.values_list(*_SHOWN, "asked_at", *of_run)
        if (row := dict(zip(_SHOWN, values, strict=True)))
    ]


def blockers_of(lock_id: int) -> list[LockView]:
    """What a waiting one waits for; empty when it does not wait."""
    row = rows.by_id(lock_id)
    if row is None or row.state != FileLock.State.WAITING:
        return []
    everything = rows.open_rows(row.repository)
    by_id = {other.id: other for other in everything}
    others = [other.wish() for other in everything if other.id != lock_id]
    return [by_id[wish.id].view() for wish in rules.blockers(row.wish(), others)]


def overlapping(
    repository: str, paths: Iterable[str], *, but: Collection[UUID] = (), only: Collection[UUID] | None = None
) -> list[LockView]:
    """Write locks of running executions on any of these paths, as git names them, oldest first.

    Args:
        but: Executions that are left out.
        only: Only those of these executions; None: of all.
    """
    wanted = _literals(paths)
    found = [row for row in rows.open_rows(repository) if row.is_held and row.counts and row.mode == "write"]
    found = [row for row in found if row.execution_id not in but and (only is None or row.execution_id in only)]
    return [row.view() for row in found if _on_any(row.pattern, wanted)]


def overlapping_patterns(repository: str, texts: Iterable[str], *, but: Collection[UUID] = ()) -> list[LockView]:
    """The same for patterns, such as a footprint. Raises LockPatternError."""
    wanted = [patterns.parse(text) for text in texts]
    found = [row for row in rows.open_rows(repository) if row.is_held and row.counts and row.mode == "write"]
    return [row.view() for row in found if row.execution_id not in but and _on_any(row.pattern, wanted)]


def stale_writes(execution_id: UUID, paths: Iterable[str]) -> list[LockView]:
    """Locks that a run lost and somebody else got after it, on paths that it changed: its fencing token there is stale."""
    return list({lost.id: lost for _, lost, _ in stale_against([execution_id], paths)}.values())


def stale_against(execution_ids: Collection[UUID], paths: Iterable[str]) -> list[tuple[str, LockView, LockView]]:
    """Of paths that runs changed, one after the other: the path, the lock that they lost, and one that somebody got after it.

    What they took again later, or gave back themselves, does not count. A path that no lock can name is left out.
    """
    mine = rows.granted_ones(execution_ids)
    if not any(row.state in FileLock.LOST for row in mine):
        return []
    later = rows.later_writers(mine[0].repository, token=mine[0].token, but=execution_ids)
    stale: list[tuple[str, LockView, LockView]] = []
    for path in paths:
        wanted = _literal(path)
        on_it = [row for row in mine if wanted is not None and patterns.overlap(row.pattern, wanted)]
        last = on_it[-1] if on_it else None
        if wanted is None or last is None or last.state not in FileLock.LOST:
            continue
        stale += [
            (path, last.view(), other.view())
            for other in later
            if other.token > last.token and patterns.overlap(other.pattern, wanted)
        ]
    return stale


def kept_to_the_end(execution_id: UUID, paths: Iterable[str]) -> set[str]:
    """Which of these paths an ended run held a write lock on until its end."""
    ended_with = [
        row
        for row in rows.granted_ones([execution_id])
        if row.mode == "write" and (row.state == FileLock.State.HELD or row.was_kept)
    ]
    return {
        path
        for path in paths
        if (wanted := _literal(path)) is not None
        and any(patterns.covers_file(row.pattern, wanted) for row in ended_with)
    }


def deadlocks(repository: str) -> list[list[UUID]]:
    """Circles of executions that wait for each other now; each once."""
    graph = rules.wait_graph([row.wish() for row in rows.open_rows(repository)])
    found: dict[frozenset[UUID], list[UUID]] = {}
    for start in graph:
        if circle := rules.circle(start, graph):
            found.setdefault(frozenset(circle), circle)
    return list(found.values())


def double_writers() -> list[tuple[LockView, LockView]]:
    """Pairs of locks on one file, of different running executions, that cannot be held at once."""
    by_repository: dict[str, list[Row]] = {}
    for row in rows.open_rows():
        if row.is_held and row.counts:
            by_repository.setdefault(row.repository, []).append(row)
    return [
        (one.view(), other.view())
        for some in by_repository.values()
        for place, one in enumerate(some)
        for other in some[place + 1 :]
        if rules.clash(one.wish(), other.wish())
    ]


def left_behind() -> list[LockView]:
    """Open locks and waits of executions that have ended: the end should have taken them along."""
    return [row.view() for row in rows.open_rows() if row.run_state not in ON_HOST]


def tokens_above_counter() -> list[tuple[str, int]]:
    """Repositories with a lock whose token is above what its counter has given, and that token."""
    return rows.tokens_above_counter()


def _literal(path: str) -> Pattern | None:
    try:
        return patterns.literal(path)
    except LockPatternError:  # a name that nobody can lock, so nobody holds it by that name
        return None


def _literals(paths: Iterable[str]) -> list[Pattern]:
    return [wanted for path in paths if (wanted := _literal(path)) is not None]


def _on_any(pattern: Pattern, wanted: Sequence[Pattern]) -> bool:
    return any(patterns.overlap(pattern, other) for other in wanted)
