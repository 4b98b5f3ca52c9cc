"""What the rest of agent-grid may ask of the grid about its event log. Thin."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from grid import (
    event_log,
    invariants,
)
from grid.event_log import Position
from grid.public_types import (
    EventView,
)


def append_events(*, stream: str, root: str, events: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """Append to a stream of the caller's (`agent:12`) in the caller's transaction; returns the last number."""
    return event_log.append(stream=stream, root=root, events=events)


def cursor(consumer: str) -> Position:
    """How far a consumer has read."""
    return event_log.cursor(consumer)


def advance_cursor(consumer: str, *, old: Position, new: Position) -> bool:
    """Store how far a consumer has read; False when another process was faster."""
    return event_log.advance(consumer, old=old, new=new)


def read_events(
    *, after: Position, kinds: Collection[str] = (), root: str = "", limit: int = 500
) -> list[tuple[Position, EventView]]:
    """The next committed events after a position; none is skipped, whatever the order of commits."""
    return event_log.read(after=after, kinds=kinds, root=root, limit=limit)


def end_of_events() -> Position:
    """Where a reader starts who wants to see what happens from now on."""
    return event_log.end()


def latest_events(*, root: str = "", stream: str = "", kinds: Collection[str] = (), limit: int) -> list[EventView]:
    """The last events of a tree, of a stream or of all, oldest first; for showing."""
    return event_log.latest(root=root, stream=stream, kinds=kinds, limit=limit)


def last_of_streams(streams: Collection[str], *, kind: str) -> dict[str, EventView]:
    """The last event of a kind on each of these streams; those without one are left out."""
    return event_log.last_of_streams(streams, kind=kind)


def count_events(stream: str, *, kind: str, door: str) -> int:
    """How many events of a kind on a stream say in their bodies that they came through a `door`."""
    return event_log.count(stream, kind=kind, door=door)


def read_stream(stream: str, *, after_seq: int = 0, limit: int = 1000) -> list[EventView]:
    """One stream's events, in order."""
    return event_log.read_stream(stream, after_seq=after_seq, limit=limit)


def read_root(root: str, *, after_id: int = 0, limit: int = 1000) -> list[EventView]:
    """The events of one root tree, for showing."""
    return event_log.read_root(root, after_id=after_id, limit=limit)


def streams_with_gaps() -> list[tuple[str, int, int]]:
    """Event streams whose numbers are not 1..n: name, rows, last number."""
    return invariants.streams_with_gaps()
