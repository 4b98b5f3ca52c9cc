"""What is removed when it is old and nobody can need it any more; docs/operations.md lists what is kept.

Called once an hour, in bounded portions: what is left over, the next hour takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import batched

from django.core.management import call_command

from coordinator.models import Agent
from coordinator.public_types import ENDED
from grid import public_api as grid
from grid import public_locks as grid_locks

KEEP = timedelta(days=30)
"""After the end of the run, or of the agent, that it belongs to; people look back that far."""
_FORGOTTEN = KEEP - timedelta(days=1)
"""Earlier than anything is removed: who is retried a moment before that finds what it leans on still there."""
_ISSUE = "issue:"
_AT_ONCE = 500


def locks(now: datetime) -> int:
    """Remove locks of runs whose work was taken long ago, or never will be; returns how many."""
    before = now - KEEP
    subjects = grid_locks.old_subjects(before=before)
    return grid_locks.prune(before=before, settled=subjects - _unsettled(subjects, before=before))


def inbox(now: datetime) -> int:
    """Remove what was handed to the programs of runs that ended long ago; the messages themselves are kept."""
    return grid.prune_inbox(before=now - KEEP)


def sessions() -> None:
    """Remove sessions of people that are over."""
    call_command("clearsessions")


def is_forgotten(ended_at: datetime | None, now: datetime) -> bool:
    """Whether an agent ended so long ago that what its unfinished work was held against may be gone."""
    return ended_at is not None and ended_at < now - _FORGOTTEN


def _unsettled(subjects: Iterable[str], *, before: datetime) -> set[str]:
    """Subjects whose agents have not ended, or not long ago. What no agent stands behind is taken by nobody."""
    found = set[str]()
    issues = sorted(int(name.removeprefix(_ISSUE)) for name in subjects if name.removeprefix(_ISSUE).isdecimal())
    for some in batched(issues, _AT_ONCE):
        rows = Agent.objects.filter(issue_id__in=some).only("issue_id", "state", "ended_at")
        found |= {
            row.subject for row in rows if row.state not in ENDED or row.ended_at is None or row.ended_at >= before
        }
    return found
