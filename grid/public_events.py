"""What the rest of agent-grid may ask of the grid about its event log. Thin."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from django.db.models import Model

from grid import (
    event_log,
    invariants,
)
from grid.event_log import Position
from grid.events import compare as event_compare
from grid.events import databases
from grid.events import export as event_export
from grid.events import replay as event_replay
from grid.events import rows as event_rows
from grid.events import verify as event_verify
from grid.events.catalogue import KINDS, Kind, Maybe, as_markdown
from grid.events.catalogue import register as register_kinds
from grid.events.compare import Difference
from grid.events.tables import REGISTER, BaseTable, StateTable
from grid.events.verify import Problem
from grid.public_types import (
    EventView,
)

__all__ = [
    "KINDS",
    "BaseTable",
    "Difference",
    "EventView",
    "Kind",
    "Maybe",
    "Position",
    "Problem",
    "StateTable",
    "as_markdown",
    "register_kinds",
]
register_tables = REGISTER.add
"""Tell the log of state tables: `state=…, base=…, not_state=…`; from an `apps.py`."""


def append_events(*, stream: str, root: str, events: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """Append to a stream of the caller's (`agent:12`) in the caller's transaction; returns the last number."""
    return event_log.append(stream=stream, root=root, events=events)


def append_first(*, stream: str, root: str, event: tuple[str, dict[str, Any]]) -> None:
    """Append the only event that its stream will ever have, without a row that counts the stream's numbers."""
    event_log.insert_numbered(stream=stream, root=root, first_seq=1, events=[event])


def row(instance: Model, *columns: str) -> dict[str, Any]:
    """What an event says of a row of a state table that it creates (all columns) or changes (name them).

    Put it into the body: `{"rows": [row(lock), row(waiter, "state")]}`. Write the row first, then the event, in one
    transaction: on PostgreSQL the order of two events on the same row is the order of their writes only then.

    Raises:
        TypeError: A value is an expression (`Now()`, `F(…)`): give `timezone.now()`, or read the row again.
    """
    return event_rows.row(instance, *columns)


def changed_row(table: str, pk: Any, **values: Any) -> dict[str, Any]:
    """The same without an instance, columns by their names in the table (`agent_id`). Raises TypeError."""
    return event_rows.made(table, pk, values)


def gone(instance: Model, pk: Any = None) -> dict[str, Any]:
    """What an event says of a row that it deletes; `pk` when the instance has lost its own by now."""
    return event_rows.gone(instance, pk)


def export(root: str = "", *, using: str = "default") -> Iterator[bytes]:
    """The lines of the log of a tree (`tree:12`), or of all: a file that `verify` and `replay` read."""
    return event_export.export(root, using=using)


def verify(file: IO[bytes]) -> Iterator[Problem]:
    """Everything that is wrong with an exported file, with its lines; nothing for a good one."""
    return event_verify.verify(file)


def verify_database(root: str = "") -> Iterator[Problem]:
    """The same for the events in our database, whose ids stand for lines."""
    return event_verify.database(event_export.events(root))


def opened(url: str, alias: str = "replay") -> AbstractContextManager[str]:
    """Another database under an alias, for as long as the block runs. Raises GridError for an URL that is none."""
    return databases.opened(url, alias)


def replay(files: Iterable[Path], *, into: str) -> dict[str, int]:
    """Build the state tables from exported logs in the empty database of this alias; returns how many rows each has.

    Raises:
        GridError: It is not empty, a file has something wrong (the message names the line), or rows do not fit.
    """
    return event_replay.replay(files, into=into)


def compare(theirs: str, *, ours: str = "default") -> Iterator[Difference]:
    """Every difference between the state tables of our database and those of another, by its alias."""
    return event_compare.compare(theirs, ours=ours)


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
