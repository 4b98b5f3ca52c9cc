"""Whom an agent may write to: `coordinator.rules.topology` decides, here are the rows that it decides from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.models import Q
from django.utils import timezone

from coordinator.care import profiles, repositories
from coordinator.documents.policy import EffectivePolicy
from coordinator.models import Agent, Thread, ThreadMember
from coordinator.public_types import ThreadKind
from coordinator.rules import topology
from coordinator.rules.topology import Edges, Link, Node, Verdict
from grid.public_toolkit import FrozenProfile

STRANGER = (
    "there is no such agent that you may write to; get_children lists your children, and 'parent' names your parent"
)
"""Said of agents that do not exist and of those that the topology keeps apart, alike."""


def verdicts(sender: Agent | None, receivers: Sequence[Agent], *, thread: Thread | None = None) -> list[Verdict]:
    """Whether words of a sender may reach each of some agents.

    Args:
        sender: None for a person or the grid itself.
        receivers: Agents.
        thread: The open thread in which the words are said; None: directly.
    """
    if sender is None:
        nobody = Node(id=0, parent=None, tree=0)
        return [topology.may_send(None, nobody, topology.NONE, ()) for _ in receivers]
    policy = repositories.effective_policy(repositories.policy_of(sender.repository_id))
    opener = _opener(thread) if thread is not None else None
    profile = {one.pk: profiles.profile_of(one, policy) for one in (sender, *receivers, *([opener] if opener else ()))}
    edges = _edges(policy, profile.values())
    bridged = _bridged(sender, receivers)
    own, through = _node(sender, profile), _node(opener, profile) if opener is not None else None
    found = []
    for receiver in receivers:
        links = [Link(kind=ThreadKind.BRIDGE)] if receiver.pk in bridged else []
        if thread is not None:
            links.append(Link(kind=ThreadKind(thread.kind), is_spoken_in=True, opener=through))
        found.append(topology.may_send(own, _node(receiver, profile), edges, links))
    return found


def verdict(sender: Agent, receiver: Agent) -> Verdict:
    """Whether an agent may write to another directly."""
    return verdicts(sender, [receiver])[0]


def open_threads() -> Q:
    """Threads in which something may be said."""
    return Q(state=Thread.State.OPEN) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


def _node(agent: Agent, profile: dict[int, FrozenProfile]) -> Node:
    return Node(id=agent.pk, parent=agent.parent_id, tree=agent.tree_id, profile=profile[agent.pk].name)


def _edges(policy: EffectivePolicy, known: Iterable[FrozenProfile]) -> Edges:
    """What the repository opens, and the profiles of those concerned."""
    pairs = set(policy.edges)
    for profile in known:
        pairs |= {(profile.name, other) for other in profile.talks_to}
    return Edges(siblings=policy.siblings_talk, pairs=frozenset(pairs))


def _bridged(sender: Agent, receivers: Sequence[Agent]) -> set[int]:
    """Those of some agents that share an open bridge with the sender."""
    mine = ThreadMember.objects.filter(agent=sender, left_at=None, thread__kind=ThreadKind.BRIDGE)
    ids = mine.values_list("thread_id", flat=True)
    threads = Thread.objects.filter(open_threads(), pk__in=list(ids))
    others = ThreadMember.objects.filter(thread__in=list(threads), agent__in=list(receivers), left_at=None)
    return set(others.values_list("agent_id", flat=True))


def _opener(thread: Thread) -> Agent | None:
    """The agent that opened a thread, while it is still in it."""
    door, _, number = thread.opened_by.partition(":")
    if door != "agent" or not number.isdecimal():
        return None
    member = (
        ThreadMember.objects.filter(thread=thread, agent_id=int(number), left_at=None).select_related("agent").first()
    )
    return member.agent if member is not None else None
