"""Who may say something to whom: one pure function over the tree, the edges that were opened, and the threads they share. Pure.

By default words go between a parent and its children. Edges open more within a tree. Between trees there are only bridges,
and only operators build them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from coordinator.public_types import ThreadKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An agent's place."""

    id: int
    parent: int | None
    tree: int
    """Id of the tree's root."""
    profile: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """What policy and profiles open within a tree; an edge leads both ways."""

    siblings: bool = False
    """Children of one parent may write to each other."""
    pairs: frozenset[tuple[str, str]] = frozenset()
    """Names of profiles whose agents may write to each other."""


NONE = Edges()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An open thread in which sender and receiver both are."""

    kind: ThreadKind
    is_spoken_in: bool = False
    """The words are said in this thread, not directly."""
    opener: Node | None = None
    """The agent that opened it, while it is still in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer, with the reason for either."""

    allowed: bool
    why: str


def may_send(sender: Node | None, receiver: Node, edges: Edges, threads: Collection[Link]) -> Verdict:
    """Whether words of a sender may reach an agent.

    Args:
        sender: None for a person or the grid itself, who always may.
        receiver: An agent.
        edges: Of the repository; they count within one tree only.
        threads: Those that the two share at this moment.
    """
    if sender is None:
        return _yes("people and the grid may always")
    if sender.id == receiver.id:
        return _no("nobody writes to itself")
    if any(link.kind == ThreadKind.BRIDGE for link in threads):
        return _yes("an operator's bridge joins them")
    if sender.tree != receiver.tree:
        return _no("it is in another tree; an operator can join two by `manage.py thread bridge`")
    direct = _direct(sender, receiver, edges)
    if direct:
        return _yes(direct)
    in_thread = next(filter(None, (_in_thread(sender, receiver, edges, link) for link in threads)), "")
    if in_thread:
        return _yes(in_thread)
    if sender.parent is not None and sender.parent == receiver.parent:
        return _no("siblings talk through their parent, unless the policy's `topology` opens an edge")
    return _no("it is neither the parent nor a child, and no edge leads there")


def _direct(one: Node, other: Node, edges: Edges) -> str:
    """Why two agents may write to each other without any thread; empty: they may not."""
    if one.tree != other.tree or one.id == other.id:
        return ""
    if other.id == one.parent or one.id == other.parent:
        return "parent and child"
    if edges.siblings and one.parent is not None and one.parent == other.parent:
        return "siblings, which the policy joins"
    if one.profile and other.profile and {(one.profile, other.profile), (other.profile, one.profile)} & edges.pairs:
        return f"an edge joins {one.profile} and {other.profile}"
    return ""


def _in_thread(sender: Node, receiver: Node, edges: Edges, link: Link) -> str:
    """Why words said in a thread reach another agent in it; empty: they do not because of the thread."""
    if not link.is_spoken_in:
        return ""
    if link.kind in (ThreadKind.CONFLICT, ThreadKind.UPGRADE):
        return "the grid put both into this thread"
    through = link.opener
    if through is not None and _direct(through, sender, edges) and _direct(through, receiver, edges):
        return "whoever opened this thread may write to both, and reads along"
    return ""


def _yes(why: str) -> Verdict:
    return Verdict(allowed=True, why=why)


def _no(why: str) -> Verdict:
    return Verdict(allowed=False, why=why)
