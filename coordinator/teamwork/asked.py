"""Agents that are asked something while they do not run are looked at, once for each message."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q

from coordinator import lifecycle
from coordinator.launching import dispatch
from coordinator.models import Agent, Message
from coordinator.public_types import ENDED, Source
from grid import public_events as grid_events
from grid.public_types import LIVE

log = logging.getLogger(__name__)
_AT_ONCE = 100
UNTOLD = Q(state=Message.State.QUEUED) | Q(state=Message.State.DELIVERED, agent__is_applied=True)
"""Of messages to agents that do not run: no model has seen them. A program that took one in may still have said that it was
seen; once its run's end is applied, it has not."""


def wake(agent_ids: Iterable[int]) -> int:
    """Nudge those of some agents that do not run and have been asked something; returns how many. Outside a transaction.

    What was said is stored by now: whoever said it need not learn that somebody cannot be woken, and would say it again.
    One that runs is told by its run; what it was not told when that ends is found by `wake_waiting`.
    """
    return sum(_guarded(agent_id) for agent_id in dict.fromkeys(agent_ids))


def wake_waiting() -> int:
    """The same for whoever was missed: a crash after the message was stored, or a run that ended without having been told."""
    live = [str(state) for state in LIVE]
    rows = Message.objects.filter(UNTOLD, wakes=True).exclude(agent__execution__state__in=live)
    rows = rows.exclude(agent__state__in=[str(state) for state in ENDED]).order_by("pk")
    return wake(rows.values_list("agent_id", flat=True)[:_AT_ONCE])


def _guarded(agent_id: int) -> bool:
    try:
        return _wake(agent_id)
    except Exception:  # of whatever kind: the sweep comes back to it
        log.exception("not woken", extra={"action": "wake", "agent": agent_id})
        return False


def _wake(agent_id: int) -> bool:
    with transaction.atomic():
        agent = dispatch.locked(agent_id)
        if agent.state in ENDED or (agent.execution is not None and agent.execution.state in LIVE):
            return False
        rows = list(Message.objects.filter(UNTOLD, agent_id=agent_id, wakes=True).select_related("post"))
        if not Message.objects.filter(pk__in=[row.pk for row in rows], wakes=True).update(wakes=False):
            return False
        for row in rows:
            row.wakes = False
        changes = [grid_events.row(row, "wakes") for row in rows]
        lifecycle.record(agent, ("message.woke", {"messages": [row.pk for row in rows], "rows": changes}))
        post = rows[-1].post
        dispatch.nudge(agent, source=_source(agent, post.sender), reason=f"{post.kind} by {post.sender}"[:300])
    return True


def _source(agent: Agent, sender: str) -> Source:
    """What an agent says never counts as a person's word."""
    return Source.PARENT if sender == f"agent:{agent.parent_id}" else Source.CHILD
