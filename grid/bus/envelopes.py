"""An event as others get it: CloudEvents 1.0 in JSON, small enough for a queue. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from grid.public_types import EventView

MAX_BYTES = 256 << 10
"""Of one message, unless the queue takes less. Amazon takes four times as much by now; queues and emulators with the older limit do not."""
TYPE_PREFIX = "agentgrid."
CONTENT_TYPE = "application/json"
_GROUP = re.compile(r"[\x21-\x7e]{1,128}")
"""What a queue takes as the name of a group: printable ASCII without spaces."""


def event_id(event: EventView) -> str:
    """What an event is known by, everywhere and for ever: `<stream>/<seq>`."""
    return f"{event.stream}/{event.seq}"


def group_of(event: EventView) -> str:
    """The group in which it keeps its place: its root tree, or a digest of a name that queues refuse."""
    if _GROUP.fullmatch(event.root):
        return event.root
    return f"sha256-{hashlib.sha256(event.root.encode('utf-8', 'replace')).hexdigest()}"


def envelope(event: EventView, *, source: str) -> dict[str, Any]:
    """The event as a CloudEvent whose data is its body.

    `sequence` and `partitionkey` are CloudEvents' own extensions of these names: the number on the stream, written so that
    text compares as numbers do, and the root tree.
    """
    return {
        "specversion": "1.0",
        "id": event_id(event),
        "source": source,
        "type": f"{TYPE_PREFIX}{event.kind}",
        "subject": event.stream,
        "time": event.at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": CONTENT_TYPE,
        "partitionkey": event.root,
        "sequence": f"{event.seq:010d}",
        "data": event.body,
    }


def encoded(event: EventView, *, source: str, limit: int = MAX_BYTES) -> str:
    """The envelope as ASCII JSON of at most `limit` bytes.

    A body that does not fit is left out: `data` then says so, and `dataref` names the event in the table.
    """
    whole = envelope(event, source=source)
    text = json.dumps(whole, separators=(",", ":"))
    if len(text) <= limit:
        return text
    size = len(json.dumps(whole["data"], separators=(",", ":")))
    whole |= {"data": {"left_out": "too large for the queue", "bytes": size}, "dataref": event_id(event)}
    return json.dumps(whole, separators=(",", ":"))
