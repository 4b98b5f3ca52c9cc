"""Celery tasks of the coordinator: parse, one call, done. Each may run twice, at once, or not at all."""

from __future__ import annotations

from celery import shared_task

from coordinator import passes, sweeps
from coordinator.care import repositories
from coordinator.ending import outbox, resolutions
from coordinator.issues import inbound
from coordinator.issues import sync as syncing
from coordinator.launching import dispatch


@shared_task(name="coordinator.apply_events")
def apply_events(**_: object) -> None:
    """Take up what the grid reported."""
    sweeps.apply_events()


@shared_task(name="coordinator.decide")
def decide(*, agent_id: int, **_: object) -> None:
    """Decide an agent's open nudge again."""
    dispatch.decide_again(agent_id)


@shared_task(name="coordinator.advance_conflict")
def advance_conflict(*, conflict_id: int, **_: object) -> None:
    """Announce a conflict, or carry its decision out."""
    resolutions.advance(conflict_id)


@shared_task(name="coordinator.drain_outbox")
def drain_outbox(*, repository_id: int, **_: object) -> None:
    """Carry out a repository's tracker writes."""
    outbox.drain(repository_id)


@shared_task(name="coordinator.refresh_repository")
def refresh_repository(*, repository_id: int, **_: object) -> None:
    """Fetch a repository and read its policy."""
    repositories.refresh(repository_id)


@shared_task(name="coordinator.take_up_delivery")
def take_up_delivery(*, delivery_id: int, **_: object) -> None:
    """Take up a webhook that was stored."""
    inbound.take_up(delivery_id)


@shared_task(name="coordinator.take_up_deliveries")
def take_up_deliveries(**_: object) -> None:
    """Take up every webhook that waits."""
    inbound.take_up_due()


@shared_task(name="coordinator.sweep")
def sweep(**_: object) -> None:
    """The pass that runs every few seconds."""
    passes.sweep()


@shared_task(name="coordinator.sync")
def sync(**_: object) -> None:
    """The pass over trackers that live elsewhere."""
    passes.sync_trackers()


@shared_task(name="coordinator.sync_repository")
def sync_repository(*, repository_id: int, **_: object) -> None:
    """Take up what changed in one of them."""
    syncing.sync_and_go_on(repository_id)


@shared_task(name="coordinator.resume_parents")
def resume_parents(**_: object) -> None:
    """Look at waiting parents."""
    passes.resume_parents()


@shared_task(name="coordinator.housekeeping")
def housekeeping(**_: object) -> None:
    """The hourly pass."""
    passes.housekeeping()
