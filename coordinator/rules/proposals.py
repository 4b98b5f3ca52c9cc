"""Sub-issues that an agent asks for: checked against the caps, then wished for in an order the tracker can follow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from grid.public_types import ChildProposal
from tracker.public_types import Write, WriteKind


def complaint(
    children: Sequence[ChildProposal],
    *,
    have: int,
    max_children: int,
    depth: int,
    max_depth: int,
    open_descendants: int,
    max_open: int,
) -> str:
    """Why these sub-issues may not be created, or empty.

    Args:
        have: Children the agent has already, closed ones too.
        depth: Depth of the agent that asks; its children would be one deeper.
        open_descendants: Agents of the whole tree that have not ended, the root left out.
    """
    if depth + 1 > max_depth:
        return f"asked for sub-issues at depth {depth + 1}, and {max_depth} is the deepest allowed"
    if have + len(children) > max_children:
        return f"asked for {len(children)} sub-issues beside {have}, and {max_children} are allowed"
    if open_descendants + len(children) > max_open:
        return (
            f"asked for {len(children)} sub-issues, and with {open_descendants} open ones the tree may have {max_open}"
        )
    return ""


def in_order(children: Sequence[ChildProposal], *, made: Collection[str] = ()) -> list[ChildProposal]:
    """Blockers before what they block, otherwise as given; those `made` before count as placed.

    Cycles were refused when the outcome was read.
    """
    placed: dict[str, ChildProposal] = {}
    waiting = list(children)
    while waiting:
        ready = next(
            (child for child in waiting if all(key in placed or key in made for key in child.blocked_by)), waiting[0]
        )
        waiting.remove(ready)
        placed[ready.key] = ready
    return list(placed.values())


def write_key(execution_id: UUID, child_key: str) -> str:
    """Operation key of one sub-issue: it is created once for the execution, however often the outcome is applied."""
    return f"split:{execution_id}:{child_key}"


def writes(
    children: Sequence[ChildProposal], *, execution_id: UUID, parent_key: str, made: Mapping[str, str] | None = None
) -> list[Write]:
    """The creates, each linked to its parent and blockers by the tracker.

    Args:
        children: What is asked for.
        execution_id: The run that asks.
        parent_key: Key of the issue they are parts of.
        made: Operation keys of siblings that were asked for before, by their own keys.
    """
    known = made or {}
    return [
        Write(
            key=write_key(execution_id, child.key),
            kind=WriteKind.CREATE_ISSUE,
            payload={
                "title": child.title,
                "body": child.body,
                "labels": [],
                "parent": parent_key,
                "blockers": [{"from": known.get(key) or write_key(execution_id, key)} for key in child.blocked_by],
            },
        )
        for child in in_order(children, made=known)
    ]
