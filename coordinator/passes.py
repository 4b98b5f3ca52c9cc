"""The passes of the clock. Several ticks may come at once: whoever claims the slot does the work of all."""

from __future__ import annotations

from django.conf import settings

from coordinator import sweeps
from coordinator.issues import sync


def sweep() -> bool:
    """The pass of every few seconds, unless somebody did this slot's; returns whether it ran."""
    ours = _is_ours("sweep")
    if ours:
        sweeps.sweep()
    return ours


def resume_parents() -> bool:
    """The pass over waiting parents, unless somebody did this slot's; returns whether it ran."""
    ours = _is_ours("resume_parents")
    if ours:
        sweeps.resume_parents()
    return ours


def sync_trackers() -> bool:
    """The pass over trackers that live elsewhere, unless somebody did this slot's; returns whether it ran."""
    ours = _is_ours("sync")
    if ours:
        sync.sync_all()
    return ours


def housekeeping() -> bool:
    """The hourly pass, unless somebody did this slot's; returns whether it ran."""
    ours = _is_ours("housekeeping")
    if ours:
        sweeps.housekeeping()
    return ours


def _is_ours(name: str) -> bool:
    period = float(settings.CELERY_BEAT_SCHEDULE[f"coordinator.{name}"]["schedule"])
    return sweeps.claim_slot(name, every_seconds=period)
