"""Webhooks and what they were sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_KEPT = 20_000


@dataclass(slots=True, kw_only=True)
class Hook:
    """A webhook of a repository or of an App. How it delivers may be changed at any time."""

    id: int
    url: str
    secret: str = field(repr=False)
    """Signs what is sent from now on; assign another one to rotate it."""
    events: tuple[str, ...] = ("*",)
    active: bool = True
    repository_id: int | None = None
    app_id: int | None = None
    created_at: str = ""
    duplicate: bool = False
    """Send everything twice, under the same GUID."""
    shuffle: int | None = None
    """Seed of the order in which what is queued gets sent."""
    drop: bool = False
    """Send nothing; record a failure instead."""


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One attempt to deliver an event."""

    id: int
    guid: str
    """The same for every attempt."""
    event: str
    action: str | None
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    hook_id: int
    repository_id: int | None
    installation_id: int | None
    created_at: str
    status_code: int | None = None
    """None while queued; 0 when nobody answered."""
    delivered_at: str | None = None
    duration_seconds: float = 0.0
    redelivery: bool = False


@dataclass(slots=True, kw_only=True)
class Outbound:
    """Deliveries: all of them, and those still to be sent."""

    all: list[Delivery] = field(default_factory=list)
    queue: deque[Delivery] = field(default_factory=deque)

    def remember(self, delivery: Delivery) -> None:
        """Keep a delivery, and the last 20,000 of them."""
        self.all.append(delivery)
        del self.all[:-_KEPT]
