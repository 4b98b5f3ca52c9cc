"""Wake workers by task name after commit. A broker that is down costs latency only: sweeps find the rows."""

from __future__ import annotations

import logging
import time
from uuid import UUID

from celery import current_app
from django.db import transaction

from grid.conf import conf

log = logging.getLogger(__name__)
BUS_SECONDS = 0.5
"""A process asks for the publisher at most this often: one run sends whatever there is."""
_bus_asked = [-BUS_SECONDS]


def launch(execution_id: UUID) -> None:
    """Tell the `executions` workers that a row is queued."""
    transaction.on_commit(lambda: _send("grid.launch", "executions", execution_id=str(execution_id)), robust=True)


def events() -> None:
    """Tell the consumer of ended executions that there is something to read."""
    transaction.on_commit(lambda: _send(conf().event_wake_task, "control"), robust=True)
    if conf().bus_url:
        transaction.on_commit(bus, robust=True)


def bus(*, now: bool = False) -> None:
    """Have a `control` worker send what is committed to the queue of EVENT_BUS_URL.

    Args:
        now: Also when this process has asked for it a moment ago.
    """
    if now or time.monotonic() - _bus_asked[0] >= BUS_SECONDS:
        _bus_asked[0] = time.monotonic()
        _send("grid.publish_events", "control")


def _send(name: str, queue: str, **kwargs: str) -> None:
    try:
        current_app.signature(name, kwargs=kwargs).apply_async(queue=queue)
    except Exception as error:  # every transport has errors of its own, and none may undo what was committed
        log.warning("broker not reached", extra={"action": "wake", "task": name, "error": str(error)[:200]})
