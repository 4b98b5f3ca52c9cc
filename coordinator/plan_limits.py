"""How far a plan may go: what the repository allows, and what an agent may do that changes the plan below it. Reads rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from coordinator import briefing, budgets, plan_budgets, plan_nodes, repositories, spawning, tree
from coordinator.models import Envelope
from coordinator.plan_diff import Change, Kind
from coordinator.plan_schema import Draft
from coordinator.plan_tree import Tree
from coordinator.public_errors import CoordinatorError, NotAllowedError
from coordinator.public_types import ENDED
from coordinator.strict_yaml import Problem

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
    want = plan_nodes.by_id(draft.plan.root)
    arriving = [change for change in changes if change.kind in (Kind.ADD, Kind.MOVE)]
    new = [change for change in changes if change.kind == Kind.ADD]
    if arriving:
        found += _too_deep(now, draft, arriving, reach)
    if new:
        limits = briefing.limits_of(now.top)
        gone = sum(change.kind == Kind.CANCEL for change in changes)
        after = tree.open_descendants(now.top.tree_id) + spawning.pending_in(now.top.tree_id) + len(new) - gone
        if after > limits.open_descendants:
            message = f"the tree would have {after} open agents, and {limits.open_descendants} are allowed"
            found.append(draft.problem(new[0].id, "", message))
        for parent in {change.parent for change in new}:
            count = sum(change.parent == parent for change in new)
            nearest = next(one for one in (parent, *reversed(want[parent].above)) if one in now.agents)
            why = budgets.child_room(now.agents[nearest].envelope, count)
            if why:
                found.append(draft.problem(parent, "children", why))
    return found + (_beyond_reach(now, draft, changes, reach) if reach is not None else [])


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
    found = [
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


def _most_children(now: Tree, parent: str, reach: Reach) -> int:
    agent = now.agents.get(parent)
    if agent is None:
        return min(reach.children, briefing.limits_of(now.top).children)
    return min(reach.children, briefing.limits_of(agent).children)
