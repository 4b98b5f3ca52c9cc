"""Who says something, in words for the agent that hears it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from coordinator.models import Agent, Message
from coordinator.public_types import MessageKind
from coordinator.rules.inbox_rules import Item

_LONGEST_NUMBER = 18


def items(rows: Sequence[Message], agent: Agent) -> list[Item]:
    """Messages as their receiver sees them, in at most one query; the rows come with their posts and threads."""
    known = named({row.post.sender for row in rows}, agent)
    return [
        Item(
            id=row.pk,
            sender=row.post.sender,
            named=known[row.post.sender],
            kind=MessageKind(row.post.kind),
            text=row.post.text,
            data=row.post.data,
            thread=row.post.thread_id,
            subject=row.post.thread.subject if row.post.thread is not None else "",
            at=row.created_at,
        )
        for row in rows
    ]


def named(senders: Collection[str], agent: Agent) -> dict[str, str]:
    """What an agent calls those who write to it: `your parent`, `ann (an operator)`, by sender."""
    parent = f"agent:{agent.parent_id}"
    numbers = {
        int(name)
        for door, _, name in (sender.partition(":") for sender in senders if sender != parent)
        if door == "agent" and name.isdecimal() and len(name) <= _LONGEST_NUMBER
    }
    parents = dict(Agent.objects.filter(pk__in=numbers).values_list("pk", "parent_id")) if numbers else {}
    return {sender: _name(sender, agent, parents) for sender in senders}


def _name(sender: str, agent: Agent, parents: Mapping[int, int | None]) -> str:
    door, _, name = sender.partition(":")
    if door == "grid":
        return "agent-grid itself"
    if door != "agent":
        return f"{name or door} ({'GitHub' if door == 'github' else 'an operator'})"
    if name == str(agent.parent_id):
        return "your parent"
    above = parents.get(int(name)) if name.isdecimal() and len(name) <= _LONGEST_NUMBER else None
    if above == agent.pk:
        return f"agent {name}, one of your children"
    if above is not None and above == agent.parent_id:
        return f"agent {name}, your sibling"
    return f"agent {name}"
