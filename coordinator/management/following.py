"""`events follow`: the log as it grows, from any place, through outages of the database, and on again later."""

from __future__ import annotations

import re
import signal
import threading
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.management.base import CommandParser
from django.db import DatabaseError, connection

from coordinator import public_api
from coordinator.management import follow
from coordinator.management.base import OK, add_issue, text
from coordinator.management.follow import Follower, Seen
from coordinator.management.output import Output, cell
from grid.public_events import Position

LONGEST_PAUSE = 5.0
"""Seconds between attempts while the database is away."""
_CURSOR = re.compile(r"(\d{1,19})\.(\d{1,19})")


def add_arguments(parser: CommandParser) -> None:
    """What `events follow` takes."""
    add_issue(parser, optional=True, more="; left out: the whole grid")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--from-start", action="store_true", help="begin with the first event instead of now")
    start.add_argument(
        "--after", type=cursor, metavar="CURSOR", help="begin behind this place, as an earlier run told it"
    )
    parser.add_argument(
        "--kinds", type=text(1000), default="", metavar="KINDS", help="beginnings of kinds, with commas: lock.,thread."
    )
    parser.add_argument("--no-wait", action="store_true", help="stop at the end of the log")


def answer(out: Output, stderr: Any, options: dict[str, Any]) -> int:
    """Print events until Ctrl-C, then where to go on.

    Args:
        out: Gets the events: a line each for people, or an object each with its `cursor`.
        stderr: Gets what is no event: outages, and where to go on.
        options: As `add_arguments` made them.
    """
    root = path = ""
    if options["issue"]:
        agent = public_api.find_agent(options["issue"])
        root, path = follow.root_key(agent), agent.path if agent.parent_id else ""
    after = Position() if options["from_start"] else options["after"]
    follower = Follower(root=root, path=path, after=after)
    kinds = tuple(filter(None, options["kinds"].split(",")))
    reached = follower.position
    try:
        for seen in _events(follower, stderr, waits=not options["no_wait"]):
            with _whole():
                if not kinds or seen.event.kind.startswith(kinds):
                    _print(out, seen, with_issue=not root)
                reached = seen.position or reached
        reached = max(reached, follower.position)  # what is of others was read as well
    finally:
        stderr.write(f"go on with: --after {written(reached)}")
    return OK


def _events(follower: Follower, stderr: Any, *, waits: bool) -> Iterator[Seen]:
    """Everything from where the follower stands; a database that goes away meanwhile is waited for."""
    failures = 0
    while True:
        try:
            before = follower.position
            seen = follower.poll()
            if failures:
                stderr.write("the database is back")
            failures = 0
        except DatabaseError as error:
            # The follower has its place; what it read and could not name is read again.
            follower.position = before
            if not failures:
                stderr.write(f"the database is away, trying again: {str(error).strip()[:200]}")
            failures += 1
            connection.close()
            time.sleep(min(LONGEST_PAUSE, follow.POLL_SECONDS * 2**failures))
            continue
        yield from seen
        if not seen and follower.position == before:
            if not waits:
                return
            time.sleep(follow.POLL_SECONDS)


@contextmanager
def _whole() -> Iterator[None]:
    """Have Ctrl-C wait until an event is printed and its place noted: else the next run would print it again.

    A second Ctrl-C does not wait: whoever reads us may have stopped reading.
    """
    usual, asked = signal.getsignal(signal.SIGINT), False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.default_int_handler(number, frame)
        asked = True

    if usual is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if asked:
        raise KeyboardInterrupt


def _print(out: Output, seen: Seen, *, with_issue: bool) -> None:
    place = written(seen.position) if seen.position else ""
    out.record({"cursor": place, **follow.record(seen)})
    out.lines(follow.lines(seen, with_issue=with_issue) or [cell(seen.event.kind, "dim")])


def written(position: Position) -> str:
    """A place in the log as text."""
    return f"{position.xid}.{position.event_id}"


def cursor(value: str) -> Position:
    """The place that `written` wrote. Raises ArgumentTypeError."""
    found = _CURSOR.fullmatch(value)
    if found is None or max(int(found[1]), int(found[2])) >= 2**63:
        raise ArgumentTypeError(f"{value[:40]!r} is no cursor; `events follow` tells one when it ends, like 0.1234")
    return Position(int(found[1]), int(found[2]))
