"""Write the log of one tree, or of all, as JSON lines, in constant memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections, transaction
from django.utils import timezone

from grid.events import lines, rows
from grid.events.tables import REGISTER
from grid.models import Event

_COLUMNS = ("id", "stream", "seq", "root", "kind", "v", "at", "body", "rows")
_AT_ONCE = 500


def export(root: str = "", *, using: str = "default") -> Iterator[bytes]:
    """The lines of a log, oldest event first.

    Only committed events are in it, and of every stream those before them as well: they are read by one statement, which
    sees the database as it is at one moment.

    Args:
        root: `tree:12`; empty for the events of all.
        using: Alias of the database.
    """
    chain, count, base = lines.Chain(), 0, 0
    yield lines.written(lines.header(root, timezone.now().isoformat()), chain)
    for event in events(root, using=using):
        yield lines.written(event, chain)
        count += 1
    # After the events: whatever they lean on is there by now, and what is newer does no harm.
    for row in base_rows(root, using=using):
        yield lines.written({"base": row}, chain)
        base += 1
    yield lines.written(lines.trailer(events=count, base=base, chain=chain), chain)


def events(root: str = "", *, using: str = "default") -> Iterator[dict[str, Any]]:
    """The same as values."""
    chosen = Event.objects.using(using).order_by("id")
    if root:
        chosen = chosen.filter(root=root)
    # In a transaction PostgreSQL keeps the rest of the answer to itself; one of SQLite would keep writers out, and none is needed.
    held = transaction.atomic(using=using) if connections[using].vendor == "postgresql" else contextlib.nullcontext()
    with held:
        for row in chosen.values_list(*_COLUMNS).iterator(chunk_size=_AT_ONCE):
            event = dict(zip(_COLUMNS, row, strict=True))
            event["at"] = event["at"].isoformat()
            if event["rows"] is None:
                del event["rows"]
            yield event


def base_rows(root: str = "", *, using: str = "default") -> Iterator[rows.Row]:
    """Rows whose truth is elsewhere, and to which those in the events refer."""
    for table in REGISTER.base.values():
        state = REGISTER.state.get(table.table)
        for row in table.rows(root).using(using).iterator(chunk_size=_AT_ONCE):
            told = rows.row(row)
            told["set"] = {
                name: value
                for name, value in told["set"].items()
                if name not in table.ignored and (state is None or state.counts(name))
            }
            yield told
