"""Sends committed events to the queue of EVENT_BUS_URL, each at least once and in the order of its tree.

It is one more reader of the event table with a stored cursor. The cursor moves after the queue has taken the events, and
only as far as all before are taken: a crash in between sends some again. Several publishers at once do the same work twice
at worst, as each moves the cursor only from where it read. Nothing waits for any of this.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from django.utils.module_loading import import_string

from grid import event_log, wake
from grid.bus import batches, envelopes
from grid.bus.batches import Entry
from grid.conf import GridConf, conf
from grid.event_log import Position
from grid.public_errors import BusError
from grid.public_types import EventView

log = logging.getLogger(__name__)
CONSUMER = "bus"
PAGE = 200
"""Events read at once; at most so many are sent a second time after a crash."""
RUN_SECONDS = 10.0
"""Of one run in a worker that has other things to do."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 120.0
"""Seconds of this process between attempts at a queue that fails."""
_QUEUES = {"sqs": "grid.bus.sqs.SqsQueue"}
"""By name: what it takes to speak to one is loaded only where a bus is configured."""
_busy = threading.Lock()


class Queue(Protocol):
    """Where events go."""

    name: str
    keeps_order: bool
    """Messages of one group are handed out in the order in which they came."""

    @property
    def max_bytes(self) -> int:
        """The most that one message may have. Raises BusError."""
        ...

    def send(self, batch: Sequence[Entry]) -> dict[str, str]:
        """Send; returns id and reason of those not taken. Raises BusError when it cannot be reached.

        The reason begins with `batches.UNFIT` when the message will never be taken as it is.
        """
        ...

    def problem(self) -> str:
        """Why it cannot be used, or empty."""
        ...

    def ensure(self) -> bool:
        """Create it unless it exists. Raises BusError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one run did."""

    sent: int = 0
    problem: str = ""
    """Why it stopped before the end of the log, or empty."""
    is_behind: bool = False
    """There may be more to send."""


class _Pauses:
    """How long this process leaves a failing queue alone: doubled from attempt to attempt."""

    def __init__(self) -> None:
        self.until = self.seconds = 0.0

    def failed(self) -> None:
        self.seconds = min(LONGEST_PAUSE, self.seconds * 2 or FIRST_PAUSE)
        self.until = time.monotonic() + self.seconds

    def went_well(self) -> None:
        self.until = self.seconds = 0.0


_pauses = _Pauses()


def is_configured(settings: GridConf | None = None) -> bool:
    """Whether there is a queue to send to."""
    return bool((settings or conf()).bus_url)


def queue(settings: GridConf | None = None) -> Queue:
    """The configured queue. Raises BusError without one."""
    settings = settings or conf()
    kind = settings.bus_url.partition("://")[0]
    if kind not in _QUEUES:
        raise BusError("no event bus is configured: set EVENT_BUS_URL, e.g. sqs:///agentgrid-events.fifo")
    made: Queue = import_string(_QUEUES[kind])(settings)
    return made


def trouble() -> str:
    """Why the configured queue cannot be used, or empty."""
    try:
        return queue().problem()
    except BusError as error:
        return str(error)


def work() -> Published:
    """A worker's run: bounded, nothing while another thread is at it or a failing queue is left alone."""
    if not is_configured() or time.monotonic() < _pauses.until or not _busy.acquire(blocking=False):
        return Published()
    try:
        done = publish(queue(), seconds=RUN_SECONDS)
    except BusError as error:  # the address is none
        done = Published(problem=str(error), is_behind=True)
    finally:
        _busy.release()
    if done.problem:
        _pauses.failed()
        log.warning("events not sent", extra={"action": "bus", "error": done.problem[:300], "sent": done.sent})
        return done
    _pauses.went_well()
    if done.is_behind:
        wake.bus(now=True)
    return done


def publish(to: Queue, *, seconds: float) -> Published:
    """Send what is committed and not sent yet, for at most about so long.

    Raises:
        DatabaseError: What was sent by then and not noted is sent again.
    """
    deadline, sent, settings = time.monotonic() + seconds, 0, conf()
    while True:
        position = event_log.cursor(CONSUMER)
        page = event_log.read(after=position, limit=PAGE)
        if not page:
            return Published(sent=sent)
        try:
            entries = _entries(page, settings, limit=min(envelopes.MAX_BYTES, to.max_bytes))
        except BusError as error:
            return Published(sent=sent, problem=str(error), is_behind=True)
        unsent, problem = _send(to, entries, deadline=deadline)
        sent += len(entries) - len(unsent)
        reached = _before(page, min(entry.place for entry in unsent)) if unsent else page[-1][0]
        if reached is not None and not event_log.advance(CONSUMER, old=position, new=reached):
            return Published(sent=sent)  # somebody else is at it, from the same place
        if unsent or time.monotonic() > deadline:
            return Published(sent=sent, problem=problem, is_behind=True)


def _entries(page: Sequence[tuple[Position, EventView]], settings: GridConf, *, limit: int) -> list[Entry]:
    """Messages in the order in which they are sent: of ids, which is that of the numbers of every stream."""
    placed = [(place, event) for place, (_, event) in enumerate(page)]
    for event in event_log.overtaken(page):  # sent with what follows them, and once more when their own place comes
        place = min(at for at, after in placed if after.stream == event.stream and after.seq > event.seq)
        placed.append((place, event))
    return [
        Entry(
            place=place,
            id=envelopes.event_id(event),
            group=envelopes.group_of(event),
            text=envelopes.encoded(event, source=settings.bus_source, limit=limit),
            short=envelopes.encoded(event, source=settings.bus_source, limit=0),
        )
        for place, event in sorted(placed, key=lambda one: one[1].id)
        if not settings.bus_kinds or event.kind.startswith(settings.bus_kinds)
    ]


def _send(to: Queue, entries: Sequence[Entry], *, deadline: float) -> tuple[list[Entry], str]:
    """Send all that may be sent; returns what was not, in order, and why."""
    waiting, stopped, problem = list(entries), set[str](), ""
    while time.monotonic() < deadline:
        batch = batches.next_batch(waiting, stopped=stopped, keeps_order=to.keeps_order, max_bytes=envelopes.MAX_BYTES)
        if not batch:
            break
        try:
            refused = to.send(batch)
        except BusError as error:
            return waiting, str(error)
        named = set[str]()
        for entry in batch:
            reason = refused.get(entry.id, "")
            if reason.startswith(batches.UNFIT) and entry.text != entry.short:
                named.add(entry.id)  # for ever: better without its body than nothing any more of its tree
            elif reason:
                stopped.add(entry.group)
                problem = f"the queue {to.name} does not take {entry.id}: {reason}"
        taken = {entry.id for entry in batch if entry.id not in refused}
        waiting = [
            replace(entry, text=entry.short) if entry.id in named else entry
            for entry in waiting
            if entry.id not in taken
        ]
    return waiting, problem


def _before(page: Sequence[tuple[Position, EventView]], place: int) -> Position | None:
    return page[place - 1][0] if place else None
