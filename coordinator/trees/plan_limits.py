"""How far a plan may go: what the repository allows, and what an agent may do that changes the plan below it. Reads rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from coordinator.agents import tree
from coordinator.care import repositories
from coordinator.documents import plan_nodes
from coordinator.documents.plan_nodes import Place
from coordinator.documents.plan_schema import Draft
from coordinator.documents.strict_yaml import Problem
from coordinator.launching import briefing
from coordinator.models import Envelope
from coordinator.money import budgets, plan_budgets
from coordinator.public_errors import CoordinatorError, NotAllowedError
from coordinator.public_types import ENDED
from coordinator.rules import plan_origins
from coordinator.rules.plan_diff import Change, Kind
from coordinator.trees import spawning
from coordinator.trees.plan_tree import Tree

OVER = "your run is over: nothing can be changed in its name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What an agent that changes its own plan may do at most."""

    agent_id: int
    execution_id: UUID
    """Its run, which must be the present one and hold `fence`."""
    fence: int
    children: int
    """Children that one agent may have by its capability."""
    levels: int
    """Levels below it."""
    share: int
    """Percent of its budget that a child may get."""


def check_run(now: Tree, reach: Reach) -> None:
    """Whether an agent may change anything now. Raises NotAllowedError: its run is over, or what it is in is paused."""
    agent = now.top
    if agent.execution_id != reach.execution_id or agent.state in ENDED:
        raise NotAllowedError(OVER)
    path = [row.pk for row in budgets.path_of(agent.envelope)]
    # Locked from the fleet down, as every other taker does it: no pause is overtaken.
    paused = budgets.paused_scope(
        list(Envelope.objects.select_for_update(no_key=True).filter(pk__in=path).order_by("pk"))
    )
    if paused:
        raise NotAllowedError(f"the {paused} is paused: nothing new is begun in it; go on with your own work")


def beyond(now: Tree, draft: Draft, changes: Sequence[Change], reach: Reach | None) -> list[Problem]:
    """New and moved nodes past what the repository allows, and what an agent may not do at all."""
    found: list[Problem] = []
    arriving = [change for change in changes if change.kind in (Kind.ADD, Kind.MOVE)]
    new = [change for change in changes if change.kind == Kind.ADD]
    if arriving:
        found += _too_deep(now, draft, arriving, reach)
    if new:
        found += _too_many(now, draft, new, gone=sum(change.kind == Kind.CANCEL for change in changes))
    return found + (_beyond_reach(now, draft, changes, reach) if reach is not None else [])


def _too_many(now: Tree, draft: Draft, new: Sequence[Change], *, gone: int) -> list[Problem]:
    """New agents past what the tree may have open, and past what any level above them may take on."""
    want, tree_id = plan_nodes.by_id(draft.plan.root), now.top.tree_id
    limits, asked, found = briefing.limits_of(now.top), spawning.asked_in(tree_id), list[Problem]()
    after = tree.open_descendants(tree_id) + asked.total() + len(new) - gone
    if after > limits.open_descendants:
        message = f"the tree would have {after} open agents, and {limits.open_descendants} are allowed"
        found.append(draft.problem(new[0].id, "", message))
    under: dict[str, list[Change]] = {}
    for change in new:
        nearest = next(one for one in (change.parent, *reversed(want[change.parent].above)) if one in now.agents)
        under.setdefault(nearest, []).append(change)
    for nearest, changes in under.items():
        # One group after the other: what the earlier ones take is not there for the later ones.
        agent = now.agents[nearest]
        why = budgets.child_room(agent.envelope, len(changes), asked=spawning.by_level(asked))
        if why:
            found.append(draft.problem(changes[0].parent, "children", why))
        asked[agent.pk] += len(changes)
    return found


def _too_deep(now: Tree, draft: Draft, arriving: Sequence[Change], reach: Reach | None) -> list[Problem]:
    deepest = repositories.effective_policy(repositories.policy_of(now.top.repository_id)).depth
    if reach is not None:
        deepest = min(deepest, now.top.depth + reach.levels)
    found = []
    for place in plan_nodes.walk(draft.plan.root):
        is_arriving = any(change.id in (place.node.id, *place.above) for change in arriving)
        depth = now.top.depth + place.depth
        if is_arriving and depth > deepest:
            message = f"{place.node.id} would be at depth {depth}, and {deepest} is the deepest allowed"
            found.append(draft.problem(place.node.id, "", message))
    return found


def _beyond_reach(now: Tree, draft: Draft, changes: Sequence[Change], reach: Reach) -> list[Problem]:
    """An agent changes what is below it, not itself; its children get no more than it holds."""
    top, want = now.root.id, plan_nodes.by_id(draft.plan.root)
    found = _taken_from_people(now, draft, changes)
    found += [
        draft.problem(top, next(iter(change.fields), ""), "you cannot change your own node, only what is below it")
        for change in changes
        if change.id == top and change.kind != Kind.REORDER
    ]
    found += [
        # Whoever writes a text approves it whole: what a stranger wrote must not come along.
        draft.problem(change.id, "goal", "its text was changed by somebody who may not steer: a person must approve it")
        for change in changes
        if change.id in now.hidden and {"goal", "body"} & change.fields.keys()
    ]
    for change in changes:
        if change.kind in (Kind.ADD, Kind.MOVE):
            parent = want[change.parent]
            most = _most_children(now, change.parent, reach)
            have = len(parent.node.children) + now.present.closed_children.get(change.parent, 0)
            # Those that its run has asked for by `spawn_agents` and that no tracker shows yet.
            asked = spawning.pending(now.agents[change.parent]) if change.parent in now.agents else []
            have += sum(not request.issue and not request.error for request in asked)
            if have > most:
                message = f"{change.parent} would have {have} children, cancelled ones included, and {most} are allowed"
                found.append(draft.problem(change.id, "", message))
        node = want[change.id].node if change.id in want else None
        if (
            node is not None
            and change.kind in (Kind.ADD, Kind.CHANGE)
            and (node.priority or 0) > max(0, now.top.priority)
        ):
            message = f"its priority may be {max(0, now.top.priority)} at most, which is your own"
            found.append(draft.problem(change.id, "priority", message))
        if node is not None and change.kind in (Kind.ADD, Kind.BUDGET):
            try:
                plan_budgets.check_own(plan_nodes.budget(node), now.top.envelope, share=reach.share)
            except CoordinatorError as error:
                found.append(draft.problem(change.id, "budget", str(error)))
    return found


def _taken_from_people(now: Tree, draft: Draft, changes: Sequence[Change]) -> list[Problem]:
    """What an agent may not take out or weaken, because a person set it."""
    want, found = plan_nodes.by_id(draft.plan.root), list[Problem]()
    touched = dict.fromkeys(change.id for change in changes if change.kind in (Kind.CHANGE, Kind.BUDGET))
    paid = [now.agents[change.id].envelope.key for change in changes if change.kind == Kind.BUDGET]
    given = plan_budgets.given_by_hand(paid) if paid else {}
    for node_id in touched:
        agent, node = now.agents[node_id], want[node_id].node
        hand, held = given.get(agent.envelope.key), agent.spec.get(plan_origins.KEY, {})
        limit = _most_money(now, want[node_id]) if hand is not None else None
        for key, message in plan_origins.lost(held, node, given=hand, limit=limit):
            found.append(draft.problem(node_id, key, message))
    for change in changes:
        if change.kind == Kind.CANCEL:
            held = now.agents[change.id].spec.get(plan_origins.KEY, {})
            message = plan_origins.not_for_cancelling(change.id, held)
            if message:
                found.append(draft.problem(change.parent, "children", message))
    return found


def _most_money(now: Tree, place: Place) -> int | None:
    """Micro-dollars that a node's budget comes to at most, where it is now or under the parent that it gets."""
    above = [budgets.path_of(now.agents[place.node.id].envelope)[-2]]
    above += [now.agents[place.parent].envelope] if place.parent in now.agents else []
    found = (plan_budgets.limit_for(plan_nodes.budget(place.node), row) for row in above)
    return max((limit for limit in found if limit is not None), default=None)


def _most_children(now: Tree, parent: str, reach: Reach) -> int:
    agent = now.agents.get(parent)
    if agent is None:
        return min(reach.children, briefing.limits_of(now.top).children)
    return min(reach.children, briefing.limits_of(agent).children)
