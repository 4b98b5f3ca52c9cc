"""The grid's own tables, as the log sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connections

from grid.events.tables import REGISTER, StateTable
from grid.public_types import ON_HOST

_BOOKMARK = "a bookmark of the host that runs it; another host starts without"
_SECRET = "a secret's hash, worth nothing to another database"  # noqa: S105 - no password


def _lease(row: dict[str, Any], _at: datetime | None) -> None:
    """A replayed execution is on no host of its database: its lease is over, and the next reaper ends it."""
    if row.get("state") in ON_HOST:
        row["lease_until"] = row.get("claimed_at") or row.get("created_at")


def _numbers(alias: str) -> None:
    """The last number of each execution's stream is in its row."""
    with connections[alias].cursor() as db:
        name = "'execution:' || e.id::text" if connections[alias].vendor == "postgresql" else _SQLITE_NAME
        db.execute(
            f"UPDATE grid_execution AS e SET seq = COALESCE((SELECT MAX(seq) FROM grid_event WHERE stream = {name}), 0)"  # noqa: S608
        )


_SQLITE_NAME = (
    "'execution:' || substr(e.id, 1, 8) || '-' || substr(e.id, 9, 4) || '-' || substr(e.id, 13, 4) || '-' || "
    "substr(e.id, 17, 4) || '-' || substr(e.id, 21)"
)

EXECUTION = StateTable(
    table="grid_execution",
    derived={"seq": "the last number on its stream"},
    derive=_numbers,
    fill=_lease,
    ignored={
        "lease_until": "renewed every few seconds by a living host; a replayed row is on no host",
        "phase": _BOOKMARK,
        "record": _BOOKMARK,
        "progress": _BOOKMARK,
        "bearer_sha256": _SECRET,
        "bearer_fence": _SECRET,
        "inbox_count": "counts rows of grid_inboxitem, which are messages in transit",
    },
)


def register() -> None:
    """Tell the log of them."""
    REGISTER.add(
        state=(EXECUTION, StateTable(table="grid_filelock"), StateTable(table="grid_lockspace")),
        not_state={
            "grid_event": "the log itself; a replay writes it, too",
            "grid_eventstream": "the last numbers of streams; a replay writes them from the log",
            "grid_eventcursor": "how far each reader has come; readers of another database are others",
            "grid_host": "machines, as they are at this moment",
            "grid_inboxitem": "messages in transit to a process; the coordinator's message is the state",
        },
    )
