"""Wake workers by task name after commit. A broker that is down costs latency only: sweeps find the rows."""

from __future__ import annotations

import logging
from uuid import UUID

from celery import current_app
from django.db import transaction

from grid.conf import conf

log = logging.getLogger(__name__)


def launch(execution_id: UUID) -> None:
    """Tell the `executions` workers that a row is queued."""
    transaction.on_commit(lambda: _send("grid.launch", "executions", execution_id=str(execution_id)), robust=True)


def events() -> None:
    """Tell the consumer of ended executions that there is something to read."""
    transaction.on_commit(lambda: _send(conf().event_wake_task, "control"), robust=True)


def _send(name: str, queue: str, **kwargs: str) -> None:
    try:
        current_app.signature(name, kwargs=kwargs).apply_async(queue=queue)
    except Exception as error:  # every transport has errors of its own, and none may undo what was committed
        log.warning("broker not reached", extra={"action": "wake", "task": name, "error": str(error)[:200]})
