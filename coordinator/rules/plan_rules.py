"""What must hold for a plan as a whole, by itself and beside the tree as it is now. Pure."""

from __future__ import annotations

import graphlib
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from coordinator.documents import plan_nodes
from coordinator.documents.plan_nodes import FINISHED, Node, Place
from coordinator.documents.plan_schema import Draft
from coordinator.documents.strict_yaml import Problem
from coordinator.documents.untrusted import one_line
from coordinator.rules.plan_diff import Change, Kind
from grid.public_toolkit import hint

MAX_LEVELS = 8
MAX_CHILDREN = 100
"""Of one node; what every tracker allows."""
MAX_NODES = 1_000
_GUESSES = 20
"""Of one document: each compares a name with all there are, and may list them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What is known of the nodes that exist, by id."""

    state: Mapping[str, str]
    held: Collection[str] = ()
    """Issues that a person holds."""
    busy: Collection[str] = ()
    """Agents that run, or whose last run is not taken up yet."""
    gone: Collection[str] = ()
    """Agents of this tree that were cancelled."""
    profiles: Collection[str] = ()
    """Names that there are."""
    levels_above: int = 0
    """Levels of the tree above the document's root."""
    closed_children: Mapping[str, int] = field(default_factory=dict)
    """Of a node: sub-issues that its tracker counts and the plan does not show."""
    closed_levels: Mapping[str, int] = field(default_factory=dict)
    """Of a node: levels of cancelled agents' issues below it, which its tracker counts as well."""


def alone(draft: Draft) -> list[Problem]:
    """What is wrong with a document whatever the tree is like."""
    places = list(plan_nodes.walk(draft.plan.root))
    known = {place.node.id: place for place in places}
    found = [problem for rule in (_sizes, _shares, _dependencies) for problem in rule(draft, places, known)]
    return found or list(_circle(draft, places))


def beside(draft: Draft, now: Node, present: Present) -> list[Problem]:
    """What a document says of nodes that cannot be said of this tree."""
    wanted, have = plan_nodes.by_id(draft.plan.root), plan_nodes.by_id(now)
    found: list[Problem] = []
    if draft.plan.root.id != now.id:
        found.append(
            draft.problem(draft.plan.root.id, "id", f"the root must stay {now.id}; its `id` is not for changing")
        )
    for place in wanted.values():
        node = place.node
        if not node.is_new and node.id not in have and node.id != draft.plan.root.id:
            found.append(draft.problem(node.id, "id", _stranger(node.id, present)))
        if (
            node.profile
            and node.profile not in present.profiles
            and (node.id not in have or have[node.id].node.profile != node.profile)
        ):
            message = f"there is no profile '{node.profile}'; {hint(node.profile, present.profiles)}"
            found.append(draft.problem(node.id, "profile", message))
        levels, hidden = present.levels_above + place.depth + 1, present.closed_levels.get(node.id, 0)
        if levels + hidden > MAX_LEVELS:
            beside = f" with {hidden} levels of cancelled ones below it" if hidden else ""
            message = f"{node.id} would be on level {levels}{beside}; at most {MAX_LEVELS} together. Put it higher"
            found.append(draft.problem(node.id, "", message))
        if len(node.children) + present.closed_children.get(node.id, 0) > MAX_CHILDREN:
            most = MAX_CHILDREN - present.closed_children.get(node.id, 0)
            message = (
                f"{node.id} has {len(node.children)} children; {most} are possible, cancelled ones count. Group them"
            )
            found.append(draft.problem(node.id, "children", message))
    return found


def refusals(draft: Draft, changes: Collection[Change], now: Node, present: Present) -> list[Problem]:
    """Changes that cannot be carried out on nodes as they are."""
    have, wanted = plan_nodes.by_id(now), plan_nodes.by_id(draft.plan.root)
    found: list[Problem] = []
    for change in changes:
        if change.kind == Kind.CANCEL:
            # The node itself stands nowhere in the document.
            above = next((one for one in reversed(have[change.id].above) if one in wanted), "")
            told = [(above, "children", _not_cancelled(change, present))]
        elif change.kind == Kind.MOVE:
            told = [(change.id, "", _nothing_below(change, present) or _not_moved(change, have, present))]
        elif change.kind == Kind.ADD:
            told = [(change.id, "", _nothing_below(change, present))]
        else:
            told = [(change.id, next(iter(change.fields), ""), _not_changed(change, present))]
        found += [draft.problem(node_id, key, message) for node_id, key, message in told if message]
    return found


def _not_cancelled(change: Change, present: Present) -> str:
    state = present.state.get(change.id, "")
    if state in FINISHED:
        return f"{change.id} ({one_line(change.goal, 60)}) is {state} and cannot be taken out: put it back"
    if change.id in present.held:
        return f"{change.id} is held by a person: take the hold off, or put it back"
    return ""


def _nothing_below(change: Change, present: Present) -> str:
    stands = present.state.get(change.parent, "")
    if stands in FINISHED:
        return f"{change.parent} is {stands}: nothing can be put under it any more"
    if stands == "review":
        return f"{change.parent} waits for its pull request to be reviewed; say there what is missing"
    return ""


def _not_moved(change: Change, have: Mapping[str, Place], present: Present) -> str:
    state, node_id = present.state.get(change.id, ""), change.id
    if state in FINISHED:
        return f"{node_id} is {state}: it stays where it is"
    if node_id in present.held:
        return f"{node_id} is held by a person: take the hold off first, or leave it where it is"
    below = [place.node.id for place in plan_nodes.walk(have[node_id].node)]
    busy = next((one for one in below if one in present.busy), None)
    if busy is None:
        return ""
    who = "it" if busy == node_id else f"{busy} below it"
    return f"{node_id} cannot be moved while {who} is at work: move it when that run has ended, or leave it where it is"


def _not_changed(change: Change, present: Present) -> str:
    state, touches_issue = present.state.get(change.id, ""), {"goal", "body", "depends_on"} & change.fields.keys()
    if change.kind == Kind.REORDER:
        return ""
    if state in FINISHED:
        return f"{change.id} is {state}: nothing of it can be changed any more"
    if change.id in present.held and touches_issue:
        return f"{change.id} is held by a person: take the hold off first, or leave its issue as it is"
    return ""


def _sizes(draft: Draft, places: list[Place], known: Mapping[str, Place]) -> Iterator[Problem]:
    if len(places) > MAX_NODES:
        yield draft.problem(places[0].node.id, "", f"the plan has {len(places)} nodes; at most {MAX_NODES}")
    for place in places:
        if place.depth >= MAX_LEVELS:
            yield draft.problem(
                place.node.id, "", f"{place.node.id} is on level {place.depth + 1}; at most {MAX_LEVELS}. Put it higher"
            )
        if len(place.node.children) > MAX_CHILDREN:
            yield draft.problem(
                place.node.id,
                "children",
                f"{place.node.id} has {len(place.node.children)} children; at most {MAX_CHILDREN}. Group them",
            )


def _shares(draft: Draft, places: list[Place], known: Mapping[str, Place]) -> Iterator[Problem]:
    for place in places:
        total = sum(child.share or 0 for child in place.node.children)
        if total > 100:
            named = [f"{child.id} {child.share}" for child in place.node.children if child.share][:10]
            yield draft.problem(
                place.node.id,
                "children",
                f"the budget shares below {place.node.id} are {total} % together ({', '.join(named)}); at most 100",
            )


def _dependencies(draft: Draft, places: list[Place], known: Mapping[str, Place]) -> Iterator[Problem]:
    guesses = itertools.count()
    for place in places:
        node = place.node
        for other in sorted(node.depends_on):
            if other == node.id:
                yield draft.problem(node.id, "depends_on", f"{node.id} cannot wait for itself")
            elif other not in known:
                guess = f"; {hint(other, known)[:300]}" if next(guesses) < _GUESSES else ""
                yield draft.problem(node.id, "depends_on", f"depends_on names {other}, which is not in the plan{guess}")
            elif other in place.above:
                message = f"{node.id} cannot depend on {other}, of which it is a part: that waits for its parts"
                yield draft.problem(node.id, "depends_on", message)
            elif node.id in known[other].above:
                message = f"{node.id} cannot depend on {other}, which is a part of it; it waits for its parts anyway"
                yield draft.problem(node.id, "depends_on", message)


def _circle(draft: Draft, places: list[Place]) -> Iterator[Problem]:
    """Who waits for whom to be done: a node for what it depends on, and for its parts."""
    waits = {place.node.id: place.node.depends_on | {child.id for child in place.node.children} for place in places}
    try:
        graphlib.TopologicalSorter(waits).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1][::-1]
        starts = {place.node.id: place.node for place in places}
        first = next(one for one, other in itertools.pairwise(circle) if other in starts[one].depends_on)
        shown = " -> ".join(circle[:12])
        message = (
            f"these wait for each other for ever: {shown}; take a depends_on out (a node waits for its children, too)"
        )
        yield draft.problem(first, "depends_on", message)


def _stranger(node_id: str, present: Present) -> str:
    if node_id in present.gone:
        return f"{node_id} was cancelled; take it out of the plan, or `manage.py retry` it first"
    return f"{node_id} is no node of this tree; a new one has `new: some-name` in place of `id`"
