"""What the rest of agent-grid may ask of the event bus. Thin."""

from __future__ import annotations

from grid import wake
from grid.bus import lag, publisher
from grid.bus.lag import BusView
from grid.bus.publisher import Published

__all__ = ["BusView", "Published"]


def is_configured() -> bool:
    """Whether EVENT_BUS_URL names a queue."""
    return publisher.is_configured()


def view() -> BusView | None:
    """How far the queue is behind the log; None when there is no bus."""
    return lag.view()


def check() -> list[str]:
    """What is wrong with the bus, a sentence each: asks the queue as well."""
    return lag.problems()


def late() -> list[str]:
    """The same without asking the queue: that it is too far behind."""
    return lag.problems(asks_queue=False)


def work() -> Published:
    """One bounded run of the publisher, in a worker."""
    return publisher.work()


def publish(*, seconds: float) -> Published:
    """The same by hand, whatever failed before. Raises BusError when no bus is configured."""
    return publisher.publish(publisher.queue(), seconds=seconds)


def prepare() -> bool:
    """Create the queue unless it exists; whether that was needed. Raises BusError."""
    return publisher.queue().ensure()


def skip() -> int:
    """Send nothing of what is waiting, only what happens from now; returns how many events are left out (capped)."""
    return lag.skip()


def wake_when_behind() -> int:
    """Have a worker send what waits; returns 1 when something does."""
    found = lag.view()
    if found is None or not found.events_behind:
        return 0
    wake.bus(now=True)
    return 1
