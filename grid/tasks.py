"""Celery tasks of the grid: parse, one call, done."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from grid import public_api, public_bus


@shared_task(name="grid.launch", time_limit=110, soft_time_limit=100)
def launch(*, execution_id: str, **_: object) -> None:
    """Claim a queued execution for this machine and start it; does nothing when somebody else did."""
    public_api.launch_here(UUID(execution_id))


@shared_task(name="grid.publish_events")
def publish_events(**_: object) -> None:
    """Send events to the queue of EVENT_BUS_URL."""
    public_bus.work()
