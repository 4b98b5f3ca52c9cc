"""Law 3: locks on files."""

from __future__ import annotations

from collections.abc import Iterator

from coordinator.invariants.terms import START
from coordinator.public_types import Violation
from grid import public_locks as grid_locks


def locks_have_one_writer() -> Iterator[Violation]:
    """Law 3: of overlapping locks of two running executions none is for writing; tokens only grow; the ended hold nothing."""
    for one, other in grid_locks.double_writers():
        yield Violation(
            law="3 a lock has one writer",
            subject=f"lock {one.id}",
            detail=f"{one.pattern} and {other.pattern} (lock {other.id}) are held at once, and one of them is for writing",
            remedy=f"take the later one away with `manage.py locks release {max(one.id, other.id)}`, and report it: it is a bug",
        )
    for repository, token in grid_locks.tokens_above_counter():
        yield Violation(
            law="3 fencing tokens only grow",
            subject=repository,
            detail=f"a lock has token {token}, and the repository's counter has not come that far",
            remedy="report it: it is a bug, or the row was changed by hand",
        )
    for view in grid_locks.left_behind():
        yield Violation(
            law="3 a run that has ended holds nothing",
            subject=f"lock {view.id}",
            detail=f"{view.pattern} is {view.state} by execution {str(view.execution_id)[:8]}, which has ended",
            remedy=f"the sweep ends it within seconds; if not, {START}",
        )
