"""Ends whose application fails by a fault that nobody foresaw: tried again for a while, then a person is asked, with its words."""

from __future__ import annotations

import logging

from django.db import DataError, IntegrityError, transaction
from django.db import Error as DatabaseError
from django.utils import timezone

from coordinator import lifecycle
from coordinator.ending import applied, setbacks
from coordinator.models import Agent
from coordinator.public_types import AgentState
from grid import public_events as grid_events
from grid.public_types import ExecutionView

FAILED = "agent.end-failed"
MAX_FAULTS = 8
"""Ten seconds apart at least: what passes by itself, such as a full disk, has more than a minute for it."""
_WORDS = 300
log = logging.getLogger(__name__)


def is_away(error: Exception) -> bool:
    """Whether the database is to blame, which takes the same a little later; values that it refuses it never takes."""
    return isinstance(error, DatabaseError) and not isinstance(error, DataError | IntegrityError)


def note(agent: Agent, run: ExecutionView, error: Exception) -> bool:
    """Count a fault of an end that is still unapplied; at the last one the agent is handed to a person.

    Returns:
        Whether a person was asked, so that the end is applied now.
    """
    words = f"{type(error).__name__}: {error}"[:_WORDS]
    with transaction.atomic():
        waiting = Agent.objects.filter(pk=agent.pk, execution_id=run.id, is_applied=False)
        if not waiting.update(updated_at=timezone.now()):  # the sweep leaves it alone for a moment
            return False
        lifecycle.record(agent, (FAILED, {"execution": str(run.id), "error": words}))
    told = grid_events.latest_events(stream=agent.stream, kinds=(FAILED,), limit=MAX_FAULTS)
    if sum(event.body.get("execution") == str(run.id) for event in told) < MAX_FAULTS:
        return False
    reason = f"its end could not be applied {MAX_FAULTS} times ({words}); its work is kept as refs/executions/{run.id}"
    try:
        setbacks.block(agent, run, reason)
    except Exception as another:
        if is_away(another):
            raise
        # The words to people may be what fails. The agent must not hang for that.
        log.exception("nobody could be told", extra={"action": "apply", "agent": agent.pk})
        applied.stop(agent, run, AgentState.BLOCKED, reason)
    return True
