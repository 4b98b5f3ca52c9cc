"""Agents of one tree that run at the same time, and the files that they mean to change. Reads rows; decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from django.db.models import Q

from coordinator.agents import integration
from coordinator.contention import conflict_rows
from coordinator.documents import untrusted
from coordinator.documents.policy import EffectivePolicy
from coordinator.models import Agent, Nudge
from coordinator.money import budgets
from coordinator.rules import footprints
from coordinator.rules.footprints import FootprintMode, Neighbour
from grid import public_locks as locks
from grid.public_types import LIVE
from tracker import public_api as tracker

CODE = "footprint"
"""Of the answer to a nudge that waits for a neighbour."""


def in_the_way(agent: Agent, policy: EffectivePolicy) -> str:
    """Whom an agent has to wait for because of its footprint, in words; empty where it need not, or is only told."""
    if FootprintMode(policy.footprints) == FootprintMode.TELL:
        return ""
    return footprints.in_words(overlapping(agent))


def to_tell(agent: Agent, policy: EffectivePolicy) -> str:
    """Who else works on what an agent declared, where it is told instead of waiting; empty: nobody."""
    if FootprintMode(policy.footprints) != FootprintMode.TELL:
        return ""
    return footprints.in_words(overlapping(agent))


def overlapping(agent: Agent) -> list[tuple[Neighbour, str]]:
    """Agents of its tree that run now, or whose end is being applied, and may change the same files.

    Its ancestors and descendants are none: they wait for each other in other ways already.
    """
    mine = footprints.of(agent.spec)
    if not mine:
        return []
    live = [str(state) for state in LIVE]
    busy = Agent.objects.filter(Q(execution__state__in=live) | Q(is_applied=False)).exclude(execution=None)
    tree_id = agent.tree_id
    busy = busy.filter(Q(pk=tree_id) | Q(root_id=tree_id)).exclude(pk=agent.pk).select_related("issue")
    tree = dict(Agent.objects.filter(Q(pk=tree_id) | Q(root_id=tree_id)).values_list("pk", "parent_id"))
    family = _above(agent.pk, tree)
    others = [row for row in busy.order_by("pk") if row.pk not in family and agent.pk not in _above(row.pk, tree)]
    if not others:
        return []
    found = footprints.in_the_way(mine, _neighbours(agent, others), conflict_rows.apart(agent.pk))
    return [(other, pattern) for other, pattern in found if not _is_kept(other.agent_id)]


def released(agent: Agent) -> list[int]:
    """Agents of its tree that waited for a neighbour; it may have been this one, whose end is applied now."""
    tree_id = agent.tree_id
    rows = Nudge.objects.filter(Q(agent_id=tree_id) | Q(agent__root_id=tree_id), is_open=True, decision__code=CODE)
    return list(rows.order_by("-agent__priority", "pk").values_list("agent_id", flat=True))


def is_family(one: Agent, other: Agent) -> bool:
    """Whether one is above the other, or they are the same."""
    return one.pk == other.pk or one.pk in _ancestors(other) or other.pk in _ancestors(one)


def _neighbours(agent: Agent, others: Sequence[Agent]) -> Iterable[Neighbour]:
    held: dict[object, list[str]] = {}
    if others:
        for lock in locks.held(repository=integration.key(agent)):
            if lock.mode == "write":
                held.setdefault(lock.execution_id, []).append(lock.pattern)
    for row in others:
        patterns = (*footprints.of(row.spec), *held.get(row.execution_id, ()))
        if patterns:
            name = f"{row.path} {untrusted.one_line(row.issue.title, 60)}"
            yield Neighbour(agent_id=row.pk, name=name, patterns=patterns)


def _is_kept(agent_id: int) -> bool:
    """Whether an agent does not run, and a person keeps its end from being applied by a hold or a pause: nobody waits for that."""
    live = [str(state) for state in LIVE]
    rows = Agent.objects.filter(pk=agent_id).exclude(execution=None).exclude(execution__state__in=live)
    found = rows.values_list("issue_id", "execution_id").first()
    return found is not None and (tracker.is_held(found[0]) or budgets.is_paused(found[1]))


def _above(agent_id: int, tree: Mapping[int, int | None]) -> set[int]:
    """Ids of all above an agent, by the parents of its tree."""
    found: set[int] = set()
    above = tree.get(agent_id)
    while above is not None and above not in found:
        found.add(above)
        above = tree.get(above)
    return found


def _ancestors(agent: Agent) -> set[int]:
    """Ids of all above an agent."""
    found: set[int] = set()
    above = agent.parent_id
    while above is not None and above not in found:
        found.add(above)
        above = Agent.objects.filter(pk=above).values_list("parent_id", flat=True).first()
    return found
