"""For random trees and edges, on real rows: only allowed pairs deliver, everything else is refused and stored nowhere as told."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coordinator.documents.policy_file import Policy, dump_policy
from coordinator.models import Agent, Message, Post, RepositoryPolicy
from coordinator.public_errors import AgentNotFoundError
from coordinator.public_types import ThreadKind
from coordinator.rules.topology import Edges, Node
from coordinator.teamwork import threads
from tests.factories import make_agent, make_child, make_git_repository
from tests.unit.coordinator.test_topology import opened_pairs

EDGES = st.sampled_from([(), (("scout", "worker"),), (("scout", "orchestrator"), ("worker", "worker"))])
PROFILES = {"scout": {"extends": "worker"}}


@st.composite
def forests(draw: st.DrawFn) -> list[int | None]:
    """For each agent the place of its parent among those before it, or None for a root."""
    return [draw(st.sampled_from([None, *range(number)])) for number in range(draw(st.integers(3, 5)))]


@pytest.mark.django_db
def test_only_allowed_pairs_deliver(tmp_path: Path, settings: object) -> None:
    source = make_git_repository(tmp_path / "app")

    @hypothesis_settings(
        max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
    )
    @given(forests(), st.booleans(), EDGES, st.data())
    def check(
        forest: list[int | None], siblings: bool, edges: tuple[tuple[str, str], ...], data: st.DataObject
    ) -> None:
        agents: list[Agent] = []
        for number, above in enumerate(forest):
            agents.append(make_agent(source, title=f"{number}") if above is None else make_child(agents[above]))
            if data.draw(st.booleans()):
                Agent.objects.filter(pk=agents[-1].pk).update(profile="scout")
                agents[-1].profile = "scout"
        policy = Policy(siblings_talk=siblings, edges=edges, profiles=PROFILES)
        RepositoryPolicy.objects.update(policy=dump_policy(policy))
        bridged = data.draw(st.sampled_from([None, *itertools.combinations(range(len(agents)), 2)]))
        if bridged is not None:
            threads.bridge(*(agents[place] for place in bridged), actor="cli:ann")
        nodes = [
            Node(
                id=agent.pk,
                parent=agent.parent_id,
                tree=agent.tree_id,
                profile=agent.profile or ("worker" if agent.depth else "orchestrator"),
            )
            for agent in agents
        ]
        allowed = opened_pairs(nodes, Edges(siblings=siblings, pairs=frozenset(edges)))
        allowed |= {frozenset(agents[place].pk for place in bridged)} if bridged is not None else set()
        for sender, receiver in itertools.product(agents, agents):
            before = Post.objects.count()
            try:
                threads.send(sender, receiver, text="hi")
                is_sent = True
            except AgentNotFoundError:
                is_sent = False
            may = sender.pk != receiver.pk and frozenset({sender.pk, receiver.pk}) in allowed
            assert is_sent == may, (sender, receiver)
            assert Post.objects.count() - before == may
        self_opened = threads.open_thread(
            kind=ThreadKind.CHAT, subject="all of us", members=agents, opened_by="cli:ann"
        )
        for sender in agents:
            post = threads.post(self_opened.pk, sender=sender.stream, text="to all")
            for row in Message.objects.filter(post=post):
                may = frozenset({sender.pk, row.agent_id}) in allowed
                assert row.state == ("queued" if may else "undeliverable"), (sender, row.agent)
                assert may or row.reason

    check()
