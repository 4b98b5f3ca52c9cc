"""Telling agents that most of a budget is spent: the one whose budget it is, and its parent, who may plan for it.

What is to be told stands in the envelope's row; so it is told after any crash, and told again rather than not at all.
"""

from __future__ import annotations

import logging

from django.db import transaction
from django.utils import timezone

from coordinator.models import Agent, Envelope
from coordinator.money import scopes
from coordinator.public_errors import CoordinatorError
from coordinator.public_types import ScopeKind
from coordinator.talk import messages
from grid import public_events as grid_events

log = logging.getLogger(__name__)
SENDER = "grid"
_AT_ONCE = 50
_OWN = (
    "Budget: most of what you and your sub-issues may use is spent ({used}). Commit what is good, hand back what is not needed, "
    "begin nothing large, and say so when more is needed."
)
_TREE = (
    "Budget: most of what this whole tree may use is spent ({used}). Close what can be closed, give up what is not needed, and "
    "say so when more is needed."
)
_CHILD = (
    "Budget: your sub-issue {path} has spent most of its budget ({used}). Take work back from it, or plan without it."
)


def tell_due() -> int:
    """Tell every warning that nobody was told of; returns how many."""
    waiting = Envelope.objects.filter(warned_at__isnull=False, warning_told_at=None).order_by("pk")
    return sum(_tell(row) for row in waiting[:_AT_ONCE])


def _tell(row: Envelope) -> bool:
    agent_id, parent_id = scopes.agents_of(row)
    is_tree = row.kind == ScopeKind.TREE
    if agent_id is not None:
        _say(agent_id, (_TREE if is_tree else _OWN).format(used=row.warning))
    if agent_id is not None and parent_id is not None and not is_tree:
        path = Agent.objects.filter(pk=agent_id).values_list("path", flat=True).first()
        _say(parent_id, _CHILD.format(path=path, used=row.warning))
    told = Envelope.objects.filter(pk=row.pk, warned_at=row.warned_at, warning_told_at=None)
    row.warning_told_at = timezone.now()
    with transaction.atomic():
        if not told.update(warning_told_at=row.warning_told_at):
            return False
        scopes.record(row, "budget.told", {"scope": row.key}, rows=[grid_events.row(row, "warning_told_at")])
    return True


def _say(agent_id: int, words: str) -> None:
    try:
        messages.tell(agent_id, sender=SENDER, text=words)
    except CoordinatorError as error:  # too many wait for it; the warning stands in `budget show` all the same
        log.warning("not told", extra={"action": "budget", "agent": agent_id, "error": str(error)[:200]})
