"""Who may say something to whom: for random forests, edges and threads, exactly the pairs that were opened."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from coordinator.public_types import ThreadKind
from coordinator.rules.topology import NONE, Edges, Link, Node, may_send

PROFILES = ("worker", "reviewer", "")


@dataclass(frozen=True)
class Talk:
    """A thread: kind, who is in it, the place of its opener among them (or nobody)."""

    kind: ThreadKind
    members: tuple[int, ...]
    opener: int | None


@st.composite
def forests(draw: st.DrawFn) -> list[Node]:
    nodes: list[Node] = []
    for number in range(1, draw(st.integers(2, 9)) + 1):
        above = draw(st.sampled_from([None, *nodes])) if nodes else None
        tree = above.tree if above is not None else number
        profile = draw(st.sampled_from(PROFILES))
        nodes.append(Node(id=number, parent=above.id if above else None, tree=tree, profile=profile))
    return nodes


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Node], Edges, list[Talk]]:
    nodes = draw(forests())
    pair = st.tuples(st.sampled_from(PROFILES), st.sampled_from(PROFILES))
    edges = Edges(siblings=draw(st.booleans()), pairs=frozenset(draw(st.lists(pair, max_size=2))))
    ids = st.lists(st.sampled_from([node.id for node in nodes]), min_size=1, max_size=4, unique=True)
    talk = ids.flatmap(
        lambda inside: st.builds(
            Talk,
            kind=st.sampled_from(list(ThreadKind)),
            members=st.just(tuple(inside)),
            opener=st.sampled_from([None, *inside]),
        )
    )
    return nodes, edges, draw(st.lists(talk, max_size=3))


def opened_pairs(nodes: list[Node], edges: Edges) -> set[frozenset[int]]:
    """Pairs that need no thread, as sets: written the other way round than the function under test."""
    pairs = {frozenset({node.id, node.parent}) for node in nodes if node.parent is not None}
    by_parent: dict[int, list[Node]] = {}
    for node in nodes:
        if node.parent is not None:
            by_parent.setdefault(node.parent, []).append(node)
    if edges.siblings:
        for family in by_parent.values():
            pairs |= {frozenset({a.id, b.id}) for a in family for b in family if a is not b}
    for one, other in edges.pairs:
        if one and other:
            ends = [(a, b) for a in nodes for b in nodes if a.profile == one and b.profile == other and a is not b]
            pairs |= {frozenset({a.id, b.id}) for a, b in ends if a.tree == b.tree}
    return pairs


def links_of(one: Node, other: Node, talks: list[Talk], nodes: dict[int, Node], spoken: Talk | None) -> list[Link]:
    return [
        Link(
            kind=talk.kind,
            is_spoken_in=talk is spoken,
            opener=nodes[talk.opener] if talk.opener is not None else None,
        )
        for talk in talks
        if one.id in talk.members and other.id in talk.members
    ]


@given(worlds())
def test_directly_only_opened_pairs_and_bridges_deliver(world):
    nodes, edges, talks = world
    opened, by_id = opened_pairs(nodes, edges), {node.id: node for node in nodes}
    for one in nodes:
        for other in nodes:
            links = links_of(one, other, talks, by_id, spoken=None)
            is_bridged = any(link.kind == ThreadKind.BRIDGE for link in links)
            verdict = may_send(one, other, edges, links)
            expected = one is not other and (is_bridged or frozenset({one.id, other.id}) in opened)
            assert verdict.allowed == expected, (one, other, verdict)
            assert verdict.why
            assert may_send(other, one, edges, links).allowed == verdict.allowed, "an edge leads both ways"


@given(worlds())
def test_in_a_thread_more_pairs_deliver_but_never_across_trees_without_a_bridge(world):
    nodes, edges, talks = world
    opened, by_id = opened_pairs(nodes, edges), {node.id: node for node in nodes}
    for talk in talks:
        for one in (by_id[number] for number in talk.members):
            for other in (by_id[number] for number in talk.members if number != one.id):
                links = links_of(one, other, talks, by_id, spoken=talk)
                allowed = may_send(one, other, edges, links).allowed
                if any(link.kind == ThreadKind.BRIDGE for link in links):
                    assert allowed
                    continue
                if one.tree != other.tree:
                    assert not allowed
                    continue
                through = talk.kind in (ThreadKind.CONFLICT, ThreadKind.UPGRADE) or (
                    talk.opener is not None
                    and frozenset({talk.opener, one.id}) in opened
                    and frozenset({talk.opener, other.id}) in opened
                )
                assert allowed == (through or frozenset({one.id, other.id}) in opened)


@given(worlds())
def test_people_and_the_grid_always_may(world):
    nodes, edges, _ = world
    assert all(may_send(None, node, edges, ()).allowed for node in nodes)


def test_the_default_is_parent_and_child_and_the_refusal_names_the_way():
    root = Node(id=1, parent=None, tree=1)
    one, other = Node(id=2, parent=1, tree=1), Node(id=3, parent=1, tree=1)
    below = Node(id=4, parent=2, tree=1)
    assert may_send(root, one, NONE, ()).allowed and may_send(one, root, NONE, ()).allowed
    assert not may_send(one, other, NONE, ()).allowed
    assert "through their parent" in may_send(one, other, NONE, ()).why
    assert not may_send(root, below, NONE, ()).allowed and not may_send(below, other, NONE, ()).allowed
    stranger = Node(id=9, parent=None, tree=9)
    assert "another tree" in may_send(root, stranger, Edges(siblings=True), ()).why


def test_a_thread_of_their_parent_joins_siblings_as_long_as_it_is_in_it():
    root = Node(id=1, parent=None, tree=1)
    one, other = Node(id=2, parent=1, tree=1), Node(id=3, parent=1, tree=1)
    here = Link(kind=ThreadKind.CHAT, is_spoken_in=True, opener=root)
    assert may_send(one, other, NONE, [here]).allowed
    assert not may_send(one, other, NONE, [Link(kind=ThreadKind.CHAT, is_spoken_in=True)]).allowed
    assert not may_send(one, other, NONE, [Link(kind=ThreadKind.CHAT, opener=root)]).allowed, "not said in it"
    vouched = Link(kind=ThreadKind.CHAT, is_spoken_in=True, opener=one)
    assert not may_send(one, other, NONE, [vouched]).allowed, "nobody opens an edge for itself"


def test_whoever_opens_a_thread_from_another_tree_vouches_for_nobody():
    """Both were joined with it by bridges, and the profiles' edge counts within one tree alone."""
    one, other = (Node(id=number, parent=1, tree=1, profile="worker") for number in (2, 3))
    opener = Node(id=9, parent=None, tree=9, profile="scout")
    edges = Edges(pairs=frozenset({("scout", "worker")}))
    assert not may_send(one, other, edges, [Link(kind=ThreadKind.CHAT, is_spoken_in=True, opener=opener)]).allowed
