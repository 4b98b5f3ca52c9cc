"""Wake `control` workers by task name after commit. A broker that is down costs latency only: sweeps find the rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import current_app
from django.db import transaction

log = logging.getLogger(__name__)
ONE_BY_ONE = 4
"""Of the webhooks that came at once, so many are taken up side by side."""


def drain_outbox(repository_id: int) -> None:
    """There are writes for a repository's tracker."""
    _on_commit("coordinator.drain_outbox", repository_id=repository_id)


def decide(agent_id: int) -> None:
    """An open nudge of this agent may be decided otherwise now."""
    _on_commit("coordinator.decide", agent_id=agent_id)


def conflict(conflict_id: int) -> None:
    """A conflict is new, or was decided."""
    _on_commit("coordinator.advance_conflict", conflict_id=conflict_id)


def sync_repository(repository_id: int) -> None:
    """Something may have changed in a repository's tracker that no webhook told."""
    _on_commit("coordinator.sync_repository", repository_id=repository_id)


def refresh_repository(repository_id: int) -> None:
    """The repository's default branch or policy may have moved."""
    _on_commit("coordinator.refresh_repository", repository_id=repository_id)


def take_up_delivery(delivery_id: int) -> None:
    """A webhook is stored."""
    _on_commit("coordinator.take_up_delivery", delivery_id=delivery_id)


def take_up_deliveries() -> None:
    """Webhooks wait."""
    _on_commit("coordinator.take_up_deliveries")


def publish_deliveries(delivery_ids: Sequence[int]) -> None:
    """Webhooks are stored and committed: a message each for the first few, and one for all others together."""
    for delivery_id in delivery_ids[:ONE_BY_ONE]:
        _send("coordinator.take_up_delivery", delivery_id=delivery_id)
    if len(delivery_ids) > ONE_BY_ONE:
        _send("coordinator.take_up_deliveries")


def _on_commit(name: str, **kwargs: int) -> None:
    transaction.on_commit(lambda: _send(name, **kwargs), robust=True)


def _send(name: str, **kwargs: int) -> None:
    try:
        current_app.signature(name, kwargs=kwargs).apply_async(queue="control")
    except Exception as error:  # every transport has errors of its own, and none may undo what was committed
        log.warning("broker not reached", extra={"action": "wake", "task": name, "error": str(error)[:200]})
