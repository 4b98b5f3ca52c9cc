"""Questions about executions that every run asks, built once."""

from __future__ import annotations

import functools
from uuid import UUID

from grid.models import Execution, Host
from grid.public_types import ON_HOST, State
from grid.statements.prepared import Prepared, given

_OTHERS = Prepared(
    lambda: (
        Execution.objects.filter(state=State.QUEUED, is_held=False)
        .exclude(pk=given("execution"))
        .order_by()
        .values_list("pk", flat=True)[:1]
    )
)
_ROW = Prepared(lambda: Execution.objects.filter(pk=given("execution")).order_by())
SLOTS = Prepared(lambda: Host.objects.filter(pk=given("host"), draining_at=None).values_list("slots", flat=True))
SLOTS_LOCKED = Prepared(
    lambda: Host.objects.select_for_update().filter(pk=given("host"), draining_at=None).values_list("slots", flat=True)
)
RUNNING_HERE = Prepared(
    lambda: (
        Execution.objects.filter(host=given("host"), state__in=sorted(ON_HOST)).order_by().values_list("pk", flat=True)
    )
)


def row(execution_id: UUID) -> Execution | None:
    """One execution; None when there is no such row."""
    return _ROW.one(execution=execution_id)


def next_queued(*, limit: int = 1) -> list[UUID]:
    """The rows a free slot should take: highest priority first, then oldest."""
    return _next_queued(limit).rows()


@functools.lru_cache(maxsize=32)
def _next_queued(limit: int) -> Prepared[UUID]:
    return Prepared(
        lambda: (
            Execution.objects.filter(state=State.QUEUED, is_held=False)
            .order_by("-priority", "created_at")
            .values_list("pk", flat=True)[:limit]
        )
    )


def others_wait(execution_id: UUID) -> bool:
    """Whether further rows may be claimed and are not."""
    return _OTHERS.exists(execution=execution_id)
