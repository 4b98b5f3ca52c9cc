"""How far the queue is behind the log, and letting it catch up at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.utils import timezone

from grid import event_log
from grid.bus import publisher
from grid.conf import conf
from grid.event_log import Position
from grid.models import Event

COUNTED = 10_000
"""More is "at least so many": counting must not become a load."""
LATE_SECONDS = 120.0
"""A bus that is further behind is reported as trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusView:
    """The event bus, for people."""

    queue: str
    events_behind: int
    """Committed and not sent; at most COUNTED. Kinds that are not wanted count until they are passed."""
    oldest_at: datetime | None
    """When the first of them happened."""
    seconds_behind: float


def view() -> BusView | None:
    """Where the bus stands; None when none is configured. Asks the database only."""
    settings = conf()
    if not publisher.is_configured(settings):
        return None
    position = event_log.cursor(publisher.CONSUMER)
    first = event_log.read(after=position, limit=1)
    oldest = first[0][1].at if first else None
    return BusView(
        queue=settings.bus_url.rpartition("/")[2],
        events_behind=_count(position) if first else 0,
        oldest_at=oldest,
        seconds_behind=max(0.0, (timezone.now() - oldest).total_seconds()) if oldest else 0.0,
    )


def problems(*, asks_queue: bool = True) -> list[str]:
    """What is wrong with the bus, a sentence with its remedy each; none without a bus."""
    found = view()
    if found is None:
        return []
    trouble = publisher.trouble() if asks_queue else ""
    told = [f"Event bus: {trouble}"] if trouble else []
    if found.seconds_behind > LATE_SECONDS:
        told.append(
            f"Event bus: {found.events_behind} events wait for {found.queue}, the oldest for {found.seconds_behind:.0f} s: "
            "see that a control worker runs, and `manage.py bus publish` for what the queue answers"
        )
    return told


def skip() -> int:
    """Leave out everything that is not sent yet, and go on with what happens from now; returns how many events (capped)."""
    while True:
        position = event_log.cursor(publisher.CONSUMER)
        left_out, end = _count(position), event_log.end()
        if end <= position or event_log.advance(publisher.CONSUMER, old=position, new=end):
            return left_out


def _count(after: Position) -> int:
    if connection.vendor != "postgresql":
        return Event.objects.filter(id__gt=after.event_id).order_by()[:COUNTED].count()
    sql = "SELECT count(*) FROM (SELECT 1 FROM grid_event WHERE (xid, id) > (%s::text::xid8, %s) LIMIT %s) AS waiting"
    with connection.cursor() as db:
        db.execute(sql, [str(after.xid), after.event_id, COUNTED])
        return int(db.fetchone()[0])
