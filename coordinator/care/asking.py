"""Requests for upgrades, in words: for the parent that is to answer them, and for the agent that has its answer."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.care import profiles
from coordinator.models import Agent, UpgradeRequest
from coordinator.rules import capability as capabilities
from coordinator.rules.capability import NOTHING

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An open request, as whoever answers it sees it."""

    id: int
    path: str
    """Of the agent that asks, in its tree."""
    text: str


def of_children(parent: Agent) -> list[Asked]:
    """What the children of an agent ask for and nobody has answered, the oldest first."""
    rows = UpgradeRequest.objects.filter(agent__parent_id=parent.pk, state=UpgradeRequest.State.OPEN)
    return [in_words(row) for row in rows.select_related("agent__parent").order_by("pk")[:_SHOWN]]


def in_words(row: UpgradeRequest) -> Asked:
    """One request; the row comes with its agent."""
    wish = profiles.read(row.wish) or NOTHING
    more = capabilities.beyond(wish, profiles.capability_of(row.agent))
    words = "; ".join(capabilities.in_words(more, profiles.fleet_tiers())) or "nothing that it does not hold by now"
    text = (
        f"It asks for more (request {row.pk}): {words}.\nIts reason: {row.reason[:2_000]}\n"
        f"Answer with the tool answer_upgrade, request {row.pk}; you can give what you hold yourself."
    )
    return Asked(id=row.pk, path=row.agent.path, text=text)


def answer_in_words(row: UpgradeRequest) -> str:
    """One answered request, for the agent that has asked."""
    if row.state == UpgradeRequest.State.GRANTED:
        given = capabilities.in_words(profiles.read(row.granted) or NOTHING, profiles.fleet_tiers())
        text = f"Your request {row.pk} was granted by {row.answered_by}: {'; '.join(given) or 'what you hold by now'}."
    else:
        text = f"Your request {row.pk} for more was refused by {row.answered_by}: go on with what you hold."
    return f"{text}\n{row.answer}" if row.answer else text
