"""What an act by hand touches: the agents of a scope, or below others, and what of them runs. Reads rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from coordinator.agents import tree
from coordinator.models import Agent, Envelope
from coordinator.money import budgets
from coordinator.public_errors import AgentNotFoundError
from coordinator.public_types import ENDED, ScopeKind
from grid import public_api as grid
from grid.public_types import ON_HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What an act touches, or would."""

    agents: tuple[int, ...]
    queued: int
    """Executions that wait."""
    running: int
    """Agent processes that run."""


def preview(agent_ids: Sequence[int]) -> Touched:
    """What acting on these agents and everything below them would touch; who has ended is not touched any more."""
    agents = [agent for agent in subtrees(agent_ids) if agent.state not in ENDED]
    live = grid.find_executions(subjects=[agent.subject for agent in agents], live=True)
    running = sum(run.state in ON_HOST for run in live)
    return Touched(agents=tuple(agent.pk for agent in agents), queued=len(live) - running, running=running)


def tops_in(scope: str) -> list[int]:
    """The topmost agents of a scope that have not ended, oldest first. Raises AgentNotFoundError."""
    agents = agents_in(budgets.get(scope))
    inside = {agent.pk for agent in agents}
    return sorted(agent.pk for agent in agents if agent.parent_id not in inside)


def subtrees(agent_ids: Sequence[int], *, lock: bool = False) -> list[Agent]:
    """These agents and all below them, from the top down. Raises AgentNotFoundError.

    Args:
        lock: Hold their rows until the transaction ends.
    """
    found: dict[int, Agent] = {}
    for agent_id in agent_ids:
        top = Agent.objects.filter(pk=agent_id).first()
        if top is None:
            raise AgentNotFoundError(f"no agent {agent_id}")
        rows = Agent.objects.filter(pk__in=tree.subtree_ids(top))
        if lock:  # children first, as whoever applies the end of a run locks them
            held = rows.select_for_update(of=("self",), no_key=True).order_by("-depth", "pk")
            list(held.values_list("pk", flat=True))
        for agent in rows.order_by("depth", "pk"):
            found[agent.pk] = agent
    return list(found.values())


def agents_in(envelope: Envelope) -> list[Agent]:
    """The agents of a scope that have not ended, with their envelopes."""
    top = envelope
    if envelope.kind == ScopeKind.DAY and envelope.parent is not None:
        top = envelope.parent  # what waits for a day's limit is in the scope whose day it is
    rows = Agent.objects.filter(Q(envelope=top) | Q(envelope__ancestors__startswith=top.lineage))
    return list(rows.exclude(state__in=sorted(ENDED)).select_related("envelope"))


def subjects(envelope: Envelope) -> list[str] | None:
    """Keys under which the grid runs the agents of a scope; None: of all there are."""
    if envelope.kind == ScopeKind.FLEET:
        return None
    return [agent.subject for agent in agents_in(envelope)]
