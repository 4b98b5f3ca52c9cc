"""Running executions for tests of locks: rows with a lease, without a process."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from grid import executions, lifecycle
from grid import public_locks as locks
from grid.locks.types import Answer
from grid.models import Execution, Host
from grid.public_types import State, Work
from tests.factories import make_execution

HOST = "h"


def run(subject: str, *, repository: str = "r1", **changes: Any) -> Execution:
    """A running execution whose lease has just been renewed; its fencing token is 1."""
    work = Work(repository=repository, source="/nowhere", branch="agent/1-x", base="0" * 40)
    row = make_execution(subject, work=work, **changes)
    Host.objects.get_or_create(pk=HOST, defaults={"slots": 1_000})
    Host.objects.filter(pk=HOST).update(slots=1_000)
    claimed = executions.claim(row.pk, host=HOST)
    assert claimed is not None
    assert lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started", token=claimed.token)
    return Execution.objects.get(pk=row.pk)


def take(row: Execution, path: str, **how: Any) -> Answer:
    """Ask for a lock in its name."""
    return locks.acquire(row.pk, fence=row.token, path=path, **how)


def lapse(row: Execution) -> None:
    """Let its lease be over, as when its host sleeps."""
    Execution.objects.filter(pk=row.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
