"""Hang an agent and all below it under another agent of its tree: rows, places, envelopes, capabilities. Call it in a transaction."""

from __future__ import annotations

from coordinator import lifecycle
from coordinator.agents import roster
from coordinator.care import profiles
from coordinator.models import Agent, Envelope
from coordinator.money import budgets
from coordinator.public_errors import NotAllowedError

MOVED = "plan.agent-moved"


def rehang(agent: Agent, *, parent: Agent) -> bool:
    """Give an agent another parent.

    What it has used stays counted where it was used; what it has done comes along on its branch, and is merged into the new
    parent's. It holds no more than its new parent from now on.

    Args:
        agent: Idle, and so is everything below it.
        parent: Of the same tree.

    Returns:
        False when it is there already.

    Raises:
        NotAllowedError: There is no room for so many agents there, or the parent hangs below the agent by now.
    """
    if agent.parent_id == parent.pk:
        return False
    own, above = (Envelope.objects.get(pk=row.envelope_id) for row in (agent, parent))
    if own.pk in above.path_ids:
        raise NotAllowedError(f"a{agent.pk} cannot be moved below a{parent.pk}, which is a part of it")
    why = budgets.move_below(own, above)
    if why:
        raise NotAllowedError(f"a{agent.pk} cannot be moved below a{parent.pk}: {why}")
    _place(agent, parent, roster.path_below(parent, agent.issue.key))
    profiles.narrow_below(parent, profiles.capability_of(parent))
    return True


def _place(agent: Agent, parent: Agent, path: str) -> None:
    depth = parent.depth + 1
    lifecycle.change(agent, event=MOVED, body={"to": parent.pk}, parent_id=parent.pk, depth=depth, path=path[:100])
    for child in Agent.objects.filter(parent_id=agent.pk).order_by("pk"):
        _place(child, agent, f"{path}.{child.path.rpartition('.')[2]}")
