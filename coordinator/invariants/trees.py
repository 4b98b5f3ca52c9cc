"""Laws 4 and 8: parents and children, and the one nudge of each."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, F

from coordinator.care import profiles
from coordinator.models import Agent, Nudge
from coordinator.public_types import Violation
from coordinator.rules import capability as capabilities
from coordinator.rules.capability import NOTHING, CapabilityError


def tree_is_sound() -> Iterator[Violation]:
    """Depth, root and parent of every agent agree."""
    wrong = Agent.objects.filter(parent__isnull=False).exclude(depth=F("parent__depth") + 1)
    for agent in wrong[:100]:
        yield Violation(
            law="4 a child is one level below its parent",
            subject=f"agent {agent.pk}",
            detail=f"depth {agent.depth}",
            remedy="report this; it is a bug",
        )
    several = Nudge.objects.filter(is_open=True).values("agent_id").annotate(n=Count("pk")).filter(n__gt=1)
    for row in several:
        yield Violation(
            law="8 one open nudge per agent",
            subject=f"agent {row['agent_id']}",
            detail=f"{row['n']} open nudges",
            remedy="run migrate: the constraint one_open_nudge_per_agent is missing",
        )


def capabilities_only_shrink() -> Iterator[Violation]:
    """Law 4: no agent holds what its parent does not."""
    rows = Agent.objects.exclude(capability={}).exclude(parent=None).exclude(parent__capability={})
    for pk, path, own, above in rows.values_list("pk", "path", "capability", "parent__capability").iterator():
        try:
            more = capabilities.beyond(capabilities.from_json(own), capabilities.from_json(above))
        except CapabilityError as error:
            yield _wider(pk, path, f"it or its parent's cannot be read: {error}")
            continue
        if more != NOTHING:
            yield _wider(pk, path, "; ".join(capabilities.in_words(more, profiles.fleet_tiers())))


def _wider(agent_id: int, path: str, detail: str) -> Violation:
    return Violation(
        law="4 a child holds no more than its parent",
        subject=f"agent {agent_id}",
        detail=detail[:500],
        remedy=f"pause it with `manage.py pause {path}` and report this; it is a bug, or the row was changed by hand",
    )
