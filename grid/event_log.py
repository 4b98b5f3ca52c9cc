"""Append to the event log and read it by a cursor that misses nothing.

On PostgreSQL an id becomes visible when its transaction commits, so a reader that asks for `id > cursor` skips rows of
slower transactions (4 % under load, see docs/decisions/0003-event-cursor.md). There the cursor is (xid, id), and rows
of transactions that may still be running are left for later. On SQLite writers take turns, so the id is enough.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now

from grid.events import catalogue, tokens
from grid.models import Event, EventCursor, EventStream
from grid.public_types import EventView
from grid.statements.plain import Statement, run
from grid.statements.prepared import Prepared, given, given_all

type Draft = tuple[str, dict[str, Any]]
"""Kind and body of an event to be written."""


_COLUMNS = "(stream, seq, root, kind, v, body, rows)"
_WIDTH = 7
_INSERT = f"INSERT INTO grid_event {_COLUMNS}"
_PLACES = f"({', '.join(['%s'] * _WIDTH)})"
_COPY = f"COPY grid_event {_COLUMNS} FROM STDIN"
_READ = "xid::text::bigint, id, stream, seq, root, kind, at, body"
_CURSOR = Prepared(lambda: EventCursor.objects.filter(name=given("name")).order_by())
_COPIED = 50
"""Fewer events are not worth the two messages more that a COPY takes."""
_AT_ONCE = 4000
"""Events of one INSERT: SQLite takes 32,766 values."""
_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the log, of one consumer."""

    xid: int = 0
    event_id: int = 0


def append(*, stream: str, root: str, events: Sequence[Draft]) -> int:
    """Add events to a stream that is not an execution's; call it in the transaction that made them true.

    Returns:
        The number of the last event.
    """
    with transaction.atomic(savepoint=False):
        last = _reserve(stream, len(events))
        if last is None:
            EventStream.objects.get_or_create(name=stream, defaults={"root": root})
            last = _reserve(stream, len(events)) or 0
        insert_numbered(stream=stream, root=root, first_seq=last - len(events) + 1, events=events)
    return last


def _reserve(stream: str, count: int) -> int | None:
    """Take the next numbers of a stream and return the last of them; None when there is no such stream yet."""
    # By hand: Django has no UPDATE … RETURNING, and reading the row again would be one more statement for every event.
    with connection.cursor() as db:
        db.execute("UPDATE grid_eventstream SET seq = seq + %s WHERE name = %s RETURNING seq", [count, stream])
        row = db.fetchone()
    return row[0] if row else None


def insert_numbered(*, stream: str, root: str, first_seq: int, events: Iterable[Draft]) -> None:
    """Write rows whose numbers the caller has reserved by a conditional UPDATE in this transaction."""
    insert((stream, first_seq + offset, root, kind, body) for offset, (kind, body) in enumerate(events))


def insert(events: Iterable[tuple[str, int, str, str, dict[str, Any]]]) -> None:
    """The same for events of several streams: stream, number, root, kind and body of each.

    What a body has under `rows` goes to a column of its own: readers of the log have no use for it. Bearer tokens of ours
    are blotted out, in both.
    """
    # By hand: nothing is written more often, and `bulk_create` takes six times as long.
    drafts = iter(events)
    while some := list(islice(drafts, _AT_ONCE)):
        _insert(some)


def statement(events: Iterable[tuple[str, int, str, str, dict[str, Any]]]) -> Statement:
    """The INSERT of a few such events, for a transaction that sends several statements together."""
    drafts = list(events)
    values = _values(drafts)
    return f"{_INSERT} VALUES " + ", ".join([_PLACES] * len(drafts)), values


def statement_from(table: str, *, stream: str, kind: str, body: dict[str, Any]) -> Statement:
    """The same for one event whose `seq` and `root` are columns of the only row, if any, of a table."""
    _, _, _, *of_event = _values([(stream, 0, "", kind, body)])
    return f"{_INSERT} SELECT %s, seq, root, %s, %s, %s::jsonb, %s::jsonb FROM {table}", [stream, *of_event]  # noqa: S608


def _insert(events: Sequence[tuple[str, int, str, str, dict[str, Any]]]) -> None:
    if connection.vendor == "postgresql" and len(events) >= _COPIED:
        _copy(_values(events))
    else:
        run(*statement(events))


def _values(events: Sequence[tuple[str, int, str, str, dict[str, Any]]]) -> list[Any]:
    values, is_checked = list[Any](), settings.EVENTS_ARE_CHECKED
    for stream, seq, root, kind, body in events:
        rows = body.get("rows")
        if rows is not None:
            body = {name: value for name, value in body.items() if name != "rows"}
        known = catalogue.KINDS.get(kind)
        v = known.v if known is not None else 1
        if is_checked and (why := catalogue.complaint(stream=stream, kind=kind, body=body, rows=rows, v=v)):
            raise ValueError(why)
        said, changed = tokens.blotted(_json(body)), tokens.blotted(_json(rows)) if rows else None
        values += (stream, seq, root, kind, v, said, changed)
    return values


def _copy(values: Sequence[Any]) -> None:
    """Write many rows by PostgreSQL's COPY: half our work of an INSERT, and the server begins before we are done."""
    # Django translates errors of its own statements only, and everybody waits for its own kind.
    with connection.wrap_database_errors, connection.cursor() as db, db.copy(_COPY) as copy:
        for start in range(0, len(values), _WIDTH):
            copy.write_row(values[start : start + _WIDTH])


def cursor(consumer: str) -> Position:
    """Where `consumer` has got to; the beginning for a new one."""
    row = _CURSOR.one(name=consumer)
    return Position(row.xid, row.event_id) if row else Position()


def advance(consumer: str, *, old: Position, new: Position) -> bool:
    """Store how far `consumer` has read; False when another process of it was faster."""
    if old == Position():
        EventCursor.objects.get_or_create(name=consumer)
    moved = EventCursor.objects.filter(name=consumer, xid=old.xid, event_id=old.event_id).update(
        xid=new.xid, event_id=new.event_id, updated_at=Now()
    )
    return bool(moved)


def read(
    *, after: Position, kinds: Collection[str] = (), root: str = "", limit: int = 500
) -> list[tuple[Position, EventView]]:
    """Return the next committed events after a position, oldest first, of these kinds and this tree (all when empty)."""
    if connection.vendor == "postgresql":
        return _read_postgresql(after, list(kinds), root, limit)
    rows = _following(bool(kinds), bool(root), limit).rows(after=after.event_id, kinds=kinds, root=root)
    return [(Position(0, row.id), view(row)) for row in rows]


@functools.lru_cache(maxsize=32)
def _following(has_kinds: bool, has_root: bool, limit: int) -> Prepared[Event]:  # noqa: FBT001 - a key
    wanted = ({"kind__in": given_all("kinds")} if has_kinds else {}) | ({"root": given("root")} if has_root else {})
    return Prepared(lambda: _shown().filter(id__gt=given("after"), **wanted).order_by("id")[:limit])


def overtaken(page: Sequence[tuple[Position, EventView]]) -> list[EventView]:
    """Events behind a page of `read` that are followed on their streams by events in it, in the order of their ids.

    A transaction that began early and wrote late comes in front of those whose numbers it follows. Numbers of a stream are
    given in turn, so those are committed by then, whatever else still runs. None on SQLite.
    """
    if connection.vendor != "postgresql" or not page:
        return []
    numbers: dict[str, set[int]] = {}
    for _, event in page:
        numbers.setdefault(event.stream, set()).add(event.seq)
    first = {stream: min(seqs) for stream, seqs in numbers.items()}
    wanted = [
        (name, seq) for name, seqs in numbers.items() for seq in range(first[name] - 1, max(seqs)) if seq not in seqs
    ]
    found: list[EventView] = []
    while wanted:  # as a rule once: the number in front of a page's first one was read before
        behind = _behind(page[-1][0], wanted)
        found += behind
        wanted = [(event.stream, event.seq - 1) for event in behind if event.seq < first[event.stream]]
    return sorted(found, key=lambda event: event.id)


def _behind(position: Position, numbers: Sequence[tuple[str, int]]) -> list[EventView]:
    sql = f"""
        SELECT {_READ} FROM grid_event JOIN unnest(%s::text[], %s::int[]) AS wanted (name, number)
          ON stream = name AND seq = number
        WHERE (xid, id) > (%s::text::xid8, %s)
    """  # noqa: S608 - names of columns
    with connection.cursor() as db:
        db.execute(sql, [*map(list, zip(*numbers, strict=True)), str(position.xid), position.event_id])
        return [event for _, event in map(_placed, db.fetchall())]


def latest(*, root: str = "", stream: str = "", kinds: Collection[str] = (), limit: int) -> list[EventView]:
    """Return the last events of a tree, of a stream or of all, oldest first; for showing."""
    chosen = {"root": root, "stream": stream, "kind__in": list(kinds)}
    rows = _shown().filter(**{name: value for name, value in chosen.items() if value})
    return [view(row) for row in rows.order_by("-id")[:limit]][::-1]


def last_of_streams(streams: Collection[str], *, kind: str) -> dict[str, EventView]:
    """Return the last event of a kind on each of these streams; those without one are left out."""
    rows = Event.objects.filter(stream__in=list(streams), kind=kind).order_by()
    last = rows.values("stream").annotate(last=Max("id")).values_list("last", flat=True)
    return {row.stream: view(row) for row in _shown().filter(pk__in=list(last))}


def count(stream: str, *, kind: str, door: str) -> int:
    """Return how many events of a kind came to a stream through a door of ours (`door` in their bodies)."""
    return Event.objects.filter(stream=stream, kind=kind, body__door=door).count()


def end() -> Position:
    """Return the position behind every event that a reader may see by now."""
    if connection.vendor != "postgresql":
        return Position(0, Event.objects.aggregate(last=Max("id"))["last"] or 0)
    with connection.cursor() as db:
        db.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1")
        return Position(db.fetchone()[0], 2**62)


def read_stream(stream: str, *, after_seq: int = 0, limit: int = 1000) -> list[EventView]:
    """Return a stream's events after a number, in order."""
    return [view(row) for row in _shown().filter(stream=stream, seq__gt=after_seq).order_by("seq")[:limit]]


def read_root(root: str, *, after_id: int = 0, limit: int = 1000) -> list[EventView]:
    """Return the events of a root tree after an id; for showing, as a slow transaction's rows may be skipped."""
    return [view(row) for row in _shown().filter(root=root, id__gt=after_id).order_by("id")[:limit]]


def _shown() -> QuerySet[Event]:
    return Event.objects.defer("rows")


def view(row: Event) -> EventView:
    """Freeze a row."""
    return EventView(id=row.id, stream=row.stream, seq=row.seq, root=row.root, kind=row.kind, at=row.at, body=row.body)


def _read_postgresql(after: Position, kinds: list[str], root: str, limit: int) -> list[tuple[Position, EventView]]:
    # xid8 is 64 bits wide and never wraps; rows of transactions at or above xmin may have unfinished neighbours.
    sql = f"""
        SELECT {_READ} FROM grid_event
        WHERE (xid, id) > (%s::text::xid8, %s) AND xid < pg_snapshot_xmin(pg_current_snapshot())
          AND (%s::text[] IS NULL OR kind = ANY(%s::text[])) AND (%s = '' OR root = %s)
        ORDER BY xid, id LIMIT %s
    """  # noqa: S608 - names of columns
    wanted = kinds or None
    with connection.cursor() as db:
        db.execute(sql, [str(after.xid), after.event_id, wanted, wanted, root, root, limit])
        return [_placed(row) for row in db.fetchall()]


def _placed(row: Sequence[Any]) -> tuple[Position, EventView]:
    """An event and its place, from the columns of `_READ`."""
    xid, event_id, stream, seq, root, kind, at, body = row
    body = json.loads(body) if isinstance(body, str) else body
    event = EventView(id=event_id, stream=stream, seq=seq, root=root, kind=kind, at=at, body=body)
    return Position(xid, event_id), event
