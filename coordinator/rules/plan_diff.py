"""What has to be done so that a tree becomes the one that a plan asks for. Pure.

The changes come in the order in which they are carried out: what is added before what is moved under it, what is moved
away before what it was below is cancelled.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.documents import plan_nodes
from coordinator.documents.plan_nodes import FINISHED, PARTS, Node, Place
from coordinator.documents.untrusted import one_line

_WORDS = 80


class Kind(enum.StrEnum):
    """What is done to a node."""

    ADD = "add"
    MOVE = "move"
    CHANGE = "change"
    BUDGET = "budget"
    DEPEND = "depend"
    REORDER = "reorder"
    """Of a node's children."""
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step."""

    kind: Kind
    id: str
    goal: str
    """As it is now; of a new node as it will be."""
    parent: str = ""
    """Of a new or moved node: the one it comes under. Of a cancelled one: the one it was under."""
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Old and new value of what is changed, plain JSON."""
    order: tuple[str, ...] = ()
    """Of a reordered node: its children."""


def diff(now: Node, wanted: Node) -> list[Change]:
    """Every change that makes `wanted` of `now`, no more; both have the same root."""
    have, want = plan_nodes.by_id(now), plan_nodes.by_id(wanted)
    stays = [place for place in want.values() if place.node.id in have]
    changes: list[Change] = [
        Change(kind=Kind.ADD, id=place.node.id, goal=place.node.goal, parent=place.parent)
        for place in want.values()
        if place.node.id not in have
    ]
    for place in stays:
        old = have[place.node.id]
        if place.parent != old.parent:
            fields = {"parent": (old.parent, place.parent)}
            changes.append(
                Change(kind=Kind.MOVE, id=place.node.id, goal=old.node.goal, parent=place.parent, fields=fields)
            )
    for place in stays:
        changes += _of_node(have[place.node.id].node, place.node)
    changes += [change for place in want.values() if (change := _dependencies(have, place)) is not None]
    changes += _orders(have, want)
    changes += [
        Change(kind=Kind.CANCEL, id=place.node.id, goal=place.node.goal, parent=place.parent)
        for place in have.values()
        # What was finished below it goes with it: there is nothing to cancel.
        if place.node.id not in want and (place.parent in want or place.node.state not in FINISHED)
    ]
    return changes


def _of_node(old: Node, new: Node) -> Iterator[Change]:
    fields = {
        name: (_plain(plan_nodes.part(old, name)), _plain(plan_nodes.part(new, name)))
        for name in PARTS
        if plan_nodes.part(old, name) != plan_nodes.part(new, name)
    }
    if fields:
        yield Change(kind=Kind.CHANGE, id=old.id, goal=old.goal, fields=fields)
    before, after = plan_nodes.budget(old), plan_nodes.budget(new)
    if before != after:
        yield Change(kind=Kind.BUDGET, id=old.id, goal=old.goal, fields={"budget": (before, after)})


def _dependencies(have: Mapping[str, Place], place: Place) -> Change | None:
    node = place.node
    old = have[node.id].node if node.id in have else None
    before = old.depends_on if old is not None else frozenset()
    if before == node.depends_on:
        return None
    fields = {"depends_on": (sorted(before), sorted(node.depends_on))}
    return Change(kind=Kind.DEPEND, id=node.id, goal=old.goal if old is not None else node.goal, fields=fields)


def _orders(have: Mapping[str, Place], want: Mapping[str, Place]) -> Iterator[Change]:
    """Children whose order is another one once everything new and moved has been put at the end."""
    for place in want.values():
        wished = tuple(child.id for child in place.node.children)
        old = [child.id for child in have[place.node.id].node.children] if place.node.id in have else []
        stay = [one for one in old if one in wished]
        added = [one for one in wished if one not in have]
        moved = [one for one in wished if one in have and one not in stay]
        if wished != (*stay, *added, *moved):
            goal = have[place.node.id].node.goal if place.node.id in have else place.node.goal
            before = [*stay, *added, *moved]
            fields = {"children": (before, list(wished))}
            yield Change(kind=Kind.REORDER, id=place.node.id, goal=goal, fields=fields, order=wished)


def counts(changes: Sequence[Change]) -> dict[str, int]:
    """How many changes of each kind, those that do not occur left out."""
    return {kind.value: found for kind in Kind if (found := sum(change.kind == kind for change in changes))}


def summary(changes: Sequence[Change]) -> str:
    """`2 add, 1 cancel`."""
    return ", ".join(f"{count} {kind}" for kind, count in counts(changes).items()) or "nothing"


def in_words(change: Change) -> str:
    """A change on one line, for people."""
    name = f"{change.id} {one_line(change.goal, _WORDS)}"
    match change.kind:
        case Kind.ADD:
            return f"{name}, under {change.parent}"
        case Kind.CANCEL:
            return f"{name}, which was under {change.parent}"
        case Kind.MOVE:
            return f"{name}: from {change.fields['parent'][0]} to {change.parent}"
        case Kind.REORDER:
            return f"the children of {name}: {', '.join(change.order[:20])}{'…' if len(change.order) > 20 else ''}"
    parts = [f"{key} {_told(old)} -> {_told(new)}" for key, (old, new) in change.fields.items()]
    return f"{name}: {'; '.join(parts)}"


def as_json(change: Change) -> dict[str, Any]:
    """Plain JSON of a change; what is empty is left out."""
    value = {
        "kind": change.kind.value,
        "id": change.id,
        "goal": change.goal,
        "parent": change.parent,
        "fields": {key: {"old": old, "new": new} for key, (old, new) in change.fields.items()},
        "order": list(change.order),
    }
    return {key: item for key, item in value.items() if item}


def _told(value: Any) -> str:
    if isinstance(value, list):
        shown = ", ".join(str(item) for item in value)
    elif isinstance(value, dict):
        share = f"{value['share']} %" if "share" in value else ""
        usd = f"${value['usd_micros'] / 1_000_000:g}" if "usd_micros" in value else ""
        shown = " and ".join(filter(None, (share, usd)))
    else:
        shown = str(value)
    return repr(one_line(shown, _WORDS)) if shown else "nothing"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
