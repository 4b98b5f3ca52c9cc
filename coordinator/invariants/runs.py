"""Laws 1, 5, 6 and 7: executions, their leases, their events and their ends."""

from __future__ import annotations

from collections.abc import Iterator

from coordinator.invariants.terms import START
from coordinator.public_types import Violation
from grid import public_api as grid
from grid import public_events as grid_events


def one_live_execution() -> Iterator[Violation]:
    """Law 1: at most one live execution per issue."""
    for subject, count in grid.subjects_with_several_live():
        yield Violation(
            law="1 one live execution per issue",
            subject=subject,
            detail=f"{count} live executions",
            remedy="cancel all but the newest; the database lacks the constraint one_live_execution_per_subject: run migrate",
        )


def no_expired_lease() -> Iterator[Violation]:
    """Laws 5 and 12: a lease that ended is taken away from its host."""
    for run in grid.overdue_leases():
        yield Violation(
            law="5 no execution outlives its lease",
            subject=str(run.id),
            detail=f"{run.state} on {run.host}, lease ended {run.lease_until:%H:%M:%S}",
            remedy=f"the sweep ends it within seconds; if not, {START}",
        )


def events_have_no_gap() -> Iterator[Violation]:
    """Law 6: numbers 1..n on every stream."""
    for stream, count, last in grid_events.streams_with_gaps():
        yield Violation(
            law="6 events have no gap or duplicate",
            subject=stream,
            detail=f"{count} events, the last is number {last}",
            remedy="rows were deleted by hand or lost by the database; restore them from the export",
        )


def terminal_is_final() -> Iterator[Violation]:
    """Law 7: a terminal execution has an end and exactly one ending event."""
    for subject, detail in grid.broken_ends():
        yield Violation(
            law="7 terminal states never change", subject=subject, detail=detail, remedy="report this; it is a bug"
        )
