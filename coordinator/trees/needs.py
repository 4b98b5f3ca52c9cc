"""People on the tracker learn of runs that only one of them can let start: work that waits so is no state an agent's label shows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import wake
from coordinator.agents import tree
from coordinator.agents.integration import GITHUB
from coordinator.models import Agent, Nudge
from coordinator.rules import answers
from coordinator.trees import reports
from tracker import public_writes as tracker_writes

PATIENCE = timedelta(seconds=10)
"""Much passes by itself sooner: a run that ends gives back what it had reserved, the next fetch succeeds."""
LIMIT = 200
"""Nudges looked at in one pass, the oldest first."""
_CODES = sorted({*answers.NEEDS_A_PERSON, answers.FETCH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that only a person can do for an agent's next run."""

    agent_id: int
    token: str
    """Names it: the same need is told of once."""


def untold() -> list[Need]:
    """The needs of open nudges that nobody was told of yet."""
    due = Nudge.objects.filter(
        is_open=True,
        decision__code__in=_CODES,
        created_at__lt=timezone.now() - PATIENCE,
        agent__repository__tracker=GITHUB,
    )
    rows = due.order_by("pk").values_list("agent_id", "pk", "decision")[:LIMIT]
    found = {
        reports.waits_key(agent_id, token): Need(agent_id=agent_id, token=token)
        for agent_id, pk, stored in rows
        if _needs(stored) and (token := _token(pk, stored))
    }
    known = tracker_writes.results(found)
    return [need for key, need in found.items() if key not in known]


def tell(need: Need) -> bool:
    """Wish for the comments that tell people of it; False when it is over by now."""
    rows = Agent.objects.select_related("issue", "repository", "envelope")
    with transaction.atomic():
        agent = rows.select_for_update(of=("self",)).get(pk=need.agent_id)
        if not reports.needs(agent):
            return False
        tree.write(agent, *reports.waits(agent, token=need.token))
        wake.drain_outbox(agent.repository_id)
    return True


def _needs(stored: Any) -> bool:
    return answers.needs_a_person(answers.from_stored(stored))


def _token(nudge_id: int, stored: Any) -> str:
    """Names the need: figures of a budget may change while it stays the same."""
    said = "" if stored["code"] in ("budget", answers.FETCH, "no-progress") else str(stored["reason"])
    digest = hashlib.sha256(f"{stored['code']} {said}".encode()).hexdigest()
    return f"{nudge_id}-{digest[:12]}"
