"""Wake `control` workers by task name after commit. A broker that is down costs latency only: sweeps find the rows."""

from __future__ import annotations

import logging

from celery import current_app
from django.db import transaction

log = logging.getLogger(__name__)


def drain_outbox(repository_id: int) -> None:
    """There are writes for a repository's tracker."""
    _on_commit("coordinator.drain_outbox", repository_id=repository_id)


def decide(agent_id: int) -> None:
    """An open nudge of this agent may be decided otherwise now."""
    _on_commit("coordinator.decide", agent_id=agent_id)


def refresh_repository(repository_id: int) -> None:
    """The repository's default branch or policy may have moved."""
    _on_commit("coordinator.refresh_repository", repository_id=repository_id)


def _on_commit(name: str, **kwargs: int) -> None:
    transaction.on_commit(lambda: _send(name, **kwargs), robust=True)


def _send(name: str, **kwargs: int) -> None:
    try:
        current_app.signature(name, kwargs=kwargs).apply_async(queue="control")
    except Exception as error:  # every transport has errors of its own, and none may undo what was committed
        log.warning("broker not reached", extra={"action": "wake", "task": name, "error": str(error)[:200]})
