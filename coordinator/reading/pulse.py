"""Whether anybody sweeps: the pass of every few seconds that finds whatever no message led to.

Hosts run agents by themselves, so without this a dead `control` or `beat` looks like a grid that is merely busy.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from coordinator.models import Agent, SweepSlot
from coordinator.public_types import ATTENTION, ENDED

LATE_SECONDS = 30.0
"""Without a sweep for so long, or for three periods where those are longer, somebody is missing."""
REMEDY = "start `control` and `beat`; `manage.py up` runs both"


def age_seconds(now: datetime) -> float | None:
    """Seconds since the slot of the last sweep began; None when there never was one."""
    slot = SweepSlot.objects.filter(name="sweep", slot__gte=0).values_list("slot", flat=True).first()
    return None if slot is None else max(0.0, now.timestamp() - slot * _period())


def problem(*, now: datetime, without_work: bool = False) -> str:
    """That nobody sweeps, in one sentence; empty while somebody does, or nothing is under way that needs it.

    Args:
        without_work: Tell of sweeps that have stopped though nothing is under way: for whoever watches processes.
    """
    age = age_seconds(now)
    if age is not None and age <= max(LATE_SECONDS, 3 * _period()):
        return ""
    is_wanted = without_work and age is not None
    if not is_wanted and not Agent.objects.exclude(state__in=sorted(ENDED | ATTENTION)).exists():
        return ""
    since = "yet" if age is None else f"for {age:.0f} s"
    return f"nobody has swept {since}: runs that end, retries and writes to trackers wait"


def _period() -> float:
    return float(settings.CELERY_BEAT_SCHEDULE["coordinator.sweep"]["schedule"])
