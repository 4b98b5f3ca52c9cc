"""Readers of the whole log by cursor while others write, some of them slowly: what they miss, and what they see twice.

Writers append in transactions of their own; one in five stays open for some milliseconds, so that rows become visible in
another order than that of their ids. Beside our readers goes one that asks for `id > cursor`: what it misses shows that
there was something to miss (on SQLite nothing, as writers take turns there).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django.db import connection, transaction

from bench.perf.figures import Figure, PerfError
from grid import public_events as grid_events
from grid.public_events import Position

_SLOW_EVERY, _SLOW_SECONDS = 5, 0.015
_PAGE = 200


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """Figures missed, doubled and rate."""
    writers, readers, each = int(params["writers"]), int(params["readers"]), int(params["events"])
    expected = {f"{writer}-{number}" for writer in range(writers) for number in range(each)}
    over = threading.Event()
    seen: list[list[str]] = [[] for _ in range(readers)]
    naive: list[str] = []
    jobs = [*(partial(_read, kept, over) for kept in seen), partial(_read_by_id, naive, over)]
    began = time.perf_counter()
    watching = _start(jobs)
    writing = _start([partial(_write, writer, each) for writer in range(writers)])
    _join(writing, seconds=200)
    over.set()
    _join(watching, seconds=60)
    seconds = time.perf_counter() - began
    missed = sum(len(expected - set(kept)) for kept in seen)
    doubled = sum(len(kept) - len(set(kept)) for kept in seen)
    extra = {
        "events": len(expected),
        "writers": writers,
        "readers": readers,
        "missed_by_id": len(expected - set(naive)),
    }
    name = params["name"]
    return [
        Figure(name=f"{name}.missed", unit="events", value=missed, goal=0, met=missed == 0, extra=extra),
        Figure(name=f"{name}.doubled", unit="events", value=doubled, goal=0, met=doubled == 0, extra=extra),
        Figure(name=f"{name}.rate", unit="events/s", value=readers * len(expected) / seconds, extra=extra),
    ]


def _write(writer: int, count: int) -> None:
    try:
        for number in range(count):
            with transaction.atomic():
                events = [("perf.event", {"id": f"{writer}-{number}"})]
                grid_events.append_events(stream=f"perf:{writer}", root="perf", events=events)
                if number % _SLOW_EVERY == writer % _SLOW_EVERY:
                    time.sleep(_SLOW_SECONDS)
    finally:
        connection.close()


def _read(kept: list[str], over: threading.Event) -> None:
    """As every consumer of ours does, but for storing the cursor."""
    position, is_last = Position(), False
    try:
        while True:
            page = grid_events.read_events(after=position, limit=_PAGE)
            kept += [event.body["id"] for _, event in page]
            if page:
                position = page[-1][0]
            elif is_last:
                return
            else:
                is_last = over.is_set()
                time.sleep(0.002)
    finally:
        connection.close()


def _read_by_id(kept: list[str], over: threading.Event) -> None:
    after, is_last = 0, False
    try:
        while True:
            page = grid_events.read_root("perf", after_id=after, limit=_PAGE)
            kept += [event.body["id"] for event in page]
            if page:
                after = page[-1].id
            elif is_last:
                return
            else:
                is_last = over.is_set()
                time.sleep(0.002)
    finally:
        connection.close()


def _start(jobs: Sequence[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    return threads


def _join(threads: Sequence[threading.Thread], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            raise PerfError(f"readers and writers are not done after {seconds:.0f} s")
