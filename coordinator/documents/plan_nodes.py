"""A tree of agents as values: what `plan_schema` reads, `plan_text` writes and `plan_diff` compares. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

EXISTING = re.compile(r"a[1-9][0-9]{0,17}")
"""Ids of nodes that exist: the number of their agent."""
NEW = re.compile(r"[a-z][a-z0-9-]{0,39}")
"""Names of nodes that are to be made."""
BASE = re.compile(r"[0-9]{1,9}-[0-9a-f]{16}")
PARTS = ("goal", "body", "cwd", "acceptance", "files", "profile", "footprint", "priority")
"""What is changed in place, in the order in which it is shown; budget and dependencies are changes of their own."""

FINISHED = frozenset({"done", "abandoned"})
"""States in which nothing about a node can be changed any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One agent, or one that is to be."""

    id: str
    """`a12` for agent 12; of a new node the name that the document gives it."""
    is_new: bool = False
    goal: str
    """The issue's title."""
    body: str = ""
    """The issue's text."""
    cwd: str = ""
    """Folder of the repository to work in; empty: its top."""
    acceptance: tuple[str, ...] = ()
    """Shell commands that must exit 0 on its work, beside the repository's."""
    files: tuple[str, ...] = ()
    """Paths that must exist in its work."""
    profile: str = ""
    share: int | None = None
    """Percent of its parent's money."""
    usd_micros: int | None = None
    footprint: tuple[str, ...] = ()
    """Patterns of the files that it is going to change."""
    depends_on: frozenset[str] = frozenset()
    priority: int | None = None
    """None: its parent's, of a new node."""
    state: str = ""
    """For readers."""
    issue: str = ""
    """For readers."""
    children: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One document."""

    base: str
    """Fingerprint of the tree that it was made from."""
    root: Node
    seen: Mapping[str, str] = field(default_factory=dict)
    """By id: the digest of each node that was there, for naming what has changed since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node in its tree."""

    node: Node
    parent: str
    """Id; empty at the root."""
    depth: int
    """Levels below the document's root."""
    above: tuple[str, ...]
    """Ids from the root down to its parent."""


def walk(root: Node) -> Iterator[Place]:
    """Every node, parents before their children, siblings in their order."""
    todo = [Place(node=root, parent="", depth=0, above=())]
    while todo:
        place = todo.pop()
        yield place
        above = (*place.above, place.node.id)
        below = [
            Place(node=one, parent=place.node.id, depth=place.depth + 1, above=above) for one in place.node.children
        ]
        todo += reversed(below)


def by_id(root: Node) -> dict[str, Place]:
    """Every node by its id; of several with one id the first."""
    found: dict[str, Place] = {}
    for place in walk(root):
        found.setdefault(place.node.id, place)
    return found


def agent_number(node_id: str) -> int | None:
    """Number of the agent that an id stands for; None for new names."""
    return int(node_id[1:]) if EXISTING.fullmatch(node_id) else None


def same_text(text: str) -> str:
    """What of a text counts: trackers drop white space at its ends and at the ends of its lines."""
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


def part(node: Node, name: str) -> Any:
    """One of `PARTS` as it is compared."""
    if name == "body":
        return same_text(node.body)
    if name == "priority":
        return node.priority or 0
    return getattr(node, name)


def budget(node: Node) -> dict[str, int]:
    """What a node may use, as far as the plan says it."""
    wishes = {"share": node.share, "usd_micros": node.usd_micros}
    return {name: value for name, value in wishes.items() if value is not None}


def digest(place: Place) -> str:
    """Changes with whatever a plan may change of a node; not with its state, nor with the order of its children."""
    node = place.node
    facts = [place.parent, [part(node, name) for name in PARTS], budget(node), sorted(node.depends_on)]
    return _sha(facts)[:8]


def digests(root: Node) -> dict[str, str]:
    """By id, the digest of each node."""
    return {place.node.id: digest(place) for place in walk(root)}


def fingerprint(root: Node, *, revision: int) -> str:
    """Names one state of a tree: `3-0f1e2d3c4b5a6978`.

    Args:
        revision: How many plans have been applied to the tree, so that a state that comes back is another one.
    """
    return f"{revision}-{_sha([[place.node.id, digest(place)] for place in walk(root)])[:16]}"


def changed_since(plan: Plan, now: Node) -> list[str]:
    """What is otherwise than in the tree that a document was made from, in words."""
    present, names = digests(now), {place.node.id: place.node.goal for place in walk(now)}

    def told(ids: Iterable[str], word: str) -> list[str]:
        return [f"{one} {word}" + (f" ({names[one][:60]})" if one in names else "") for one in ids]

    if not plan.seen:
        return []
    return [
        *told((one for one in present if one not in plan.seen), "is new"),
        *told((one for one in plan.seen if one not in present), "is gone"),
        *told((one for one, was in plan.seen.items() if one in present and present[one] != was), "was changed"),
    ]


def _sha(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
