"""Which messages go into one request to the queue. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

UNFIT = "unfit"
"""How the reason begins when a queue refuses a message for what it is; every other one may be taken a little later."""
MAX_ENTRIES = 10
"""A queue takes no more in one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message to be sent."""

    place: int
    """Its place among those that were read together."""
    id: str
    group: str
    text: str
    short: str = ""
    """The same without the event's body, for a queue that refuses it."""


def next_batch(waiting: Iterable[Entry], *, stopped: Collection[str], keeps_order: bool, max_bytes: int) -> list[Entry]:
    """The next request's messages, oldest first; none when nothing may be sent any more.

    Args:
        waiting: Not sent yet, in order.
        stopped: Groups in which a message failed: what comes after it there has to wait for it.
        keeps_order: The queue keeps the order of a group. Then a request holds one message of each group at most: a
            queue may take the later of two and refuse the earlier one.
        max_bytes: Of all messages of one request together; each of them alone is smaller.
    """
    batch: list[Entry] = []
    size, passed = 0, set(stopped)
    for entry in waiting:
        if entry.group in passed:
            continue
        size += len(entry.text)
        if size > max_bytes:
            break
        batch.append(entry)
        if len(batch) == MAX_ENTRIES:
            break
        if keeps_order:
            passed.add(entry.group)
    return batch
