"""Two breakers. The fleet's: when everything fails, something common is broken. A tree's: money goes and no work comes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from grid.public_types import ExecutionView, State

WINDOW = timedelta(minutes=10)
MIN_RUNS = 20
"""Fewer runs prove nothing: one broken issue spends its attempts and stops by itself."""
LOOKED_AT = 2 * MIN_RUNS
"""More than prove something, as those that could not start prove nothing."""
MIN_SUBJECTS = 5
REST = timedelta(minutes=5)
BAD = frozenset({State.FAILED, State.TIMED_OUT, State.LOST, State.QUARANTINED})
UNTOLD = frozenset({State.CANCELLED, State.INTERRUPTED, State.OVER_BUDGET})
"""Ends that we brought about ourselves: they say nothing about what agents stand on, for or against."""


def open_until(last: Sequence[ExecutionView], *, now: datetime) -> datetime | None:
    """Until when nothing should start, or None.

    What could not start for a reason that stays is left out: a person is asked at once, and no rest would help.

    Args:
        last: The executions that ended last, newest first, without those in UNTOLD; LOOKED_AT of them when there are so many.
        now: Aware time.

    Returns:
        REST after the last end when the newest MIN_RUNS ends all lie within WINDOW, all failed, and belong to at least
        MIN_SUBJECTS issues; one success closes the breaker.
    """
    judged = [run for run in last if run.state not in UNTOLD and not run.result.is_permanent]
    newest = [run for run in judged[:MIN_RUNS] if run.ended_at is not None and run.ended_at > now - WINDOW]
    if len(newest) < MIN_RUNS or any(run.state not in BAD for run in newest):
        return None
    if len({run.subject for run in newest}) < MIN_SUBJECTS:
        return None
    ends = [run.ended_at for run in newest if run.ended_at is not None]
    until = max(ends) + REST
    return until if until > now else None


def is_idle(*, spent: int, mark: int, limit: int) -> bool:
    """Whether a tree has spent too much without work that was accepted.

    Args:
        spent: So far, in millionths of a US dollar, as are the others.
        mark: What it had spent when work was accepted last.
        limit: What it may spend between two of those; never less than nothing.
    """
    return spent - mark >= limit
