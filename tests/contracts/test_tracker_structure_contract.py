"""What any `tracker.base.Tracker` must do with children and dependencies: order, GitHub's limits, repeated writes."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.contracts.tracker_worlds import TrackerWorld
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import CloseReason, IssueDraft, Ref


def issues(world: TrackerWorld, count: int) -> list[Ref]:
    start = "issue"
    return [
        world.tracker.create(world.scope, IssueDraft(title=f"{start} {n}"), f"{start} {n}").ref for n in range(count)
    ]


def link_chain(world: TrackerWorld, chain: list[Ref]) -> None:
    for parent, child in pairwise(chain):
        world.tracker.link_child(parent, child)


# --- children ------------------------------------------------------------------------------------------------------


def test_children_keep_the_order_of_linking(world: TrackerWorld) -> None:
    parent, a, b, c = issues(world, 4)
    for child in (c, a, b):
        world.tracker.link_child(parent, child)
    assert world.tracker.children(parent) == [c, a, b]
    assert world.tracker.parent(a) == parent
    assert world.tracker.parent(parent) is None
    assert world.tracker.children(a) == []


def test_a_child_is_put_next_to_its_sibling(world: TrackerWorld) -> None:
    parent, a, b, c, d = issues(world, 5)
    world.tracker.link_child(parent, a)
    world.tracker.link_child(parent, b)
    world.tracker.link_child(parent, c, after=a)
    assert world.tracker.children(parent) == [a, c, b]
    world.tracker.link_child(parent, a, after=b)
    assert world.tracker.children(parent) == [c, b, a]
    world.tracker.link_child(parent, d)
    assert world.tracker.children(parent) == [c, b, a, d]


def test_linking_again_changes_nothing(world: TrackerWorld) -> None:
    parent, a, b = issues(world, 3)
    for _ in range(2):
        world.tracker.link_child(parent, a)
        world.tracker.link_child(parent, b, after=a)
    assert world.tracker.children(parent) == [a, b]


def test_closed_children_stay_children(world: TrackerWorld) -> None:
    parent, a, b = issues(world, 3)
    link_chain(world, [parent, a])
    world.tracker.link_child(parent, b)
    world.tracker.close(a, CloseReason.COMPLETED)
    assert world.tracker.children(parent) == [a, b]


def test_a_child_has_one_parent_until_a_person_unlinks_it(world: TrackerWorld) -> None:
    parent, other, child = issues(world, 3)
    world.tracker.link_child(parent, child)
    with pytest.raises(InvalidError) as caught:
        world.tracker.link_child(other, child)
    assert caught.value.field == "child"
    assert (world.tracker.parent(child), world.tracker.children(other)) == (parent, [])
    world.person_unlinks(parent, child)
    world.tracker.link_child(other, child)
    assert (world.tracker.parent(child), world.tracker.children(parent)) == (other, [])


def test_a_child_moves_to_another_parent_when_that_is_asked_for(world: TrackerWorld) -> None:
    parent, other, child, beside, below = issues(world, 5)
    world.tracker.link_child(parent, child)
    world.tracker.link_child(child, below)
    world.tracker.link_child(other, beside)
    for _ in range(2):
        world.tracker.link_child(other, child, replace=True)
    assert (world.tracker.children(parent), world.tracker.children(other)) == ([], [beside, child])
    assert (world.tracker.parent(child), world.tracker.children(child)) == (other, [below])
    world.tracker.link_child(parent, child, replace=True)
    world.tracker.link_child(parent, beside, after=child, replace=True)
    assert world.tracker.children(parent) == [child, beside]
    with pytest.raises(InvalidError):
        world.tracker.link_child(below, child, replace=True)
    assert world.tracker.parent(child) == parent


def test_an_issue_cannot_contain_itself(world: TrackerWorld) -> None:
    a, b, c = issues(world, 3)
    link_chain(world, [a, b, c])
    for parent in (a, b, c):
        with pytest.raises(InvalidError):
            world.tracker.link_child(parent, a)
    assert world.tracker.parent(a) is None


def test_a_parent_holds_100_children_and_closed_ones_count(world: TrackerWorld) -> None:
    parent, *children, one_more = issues(world, 102)
    for child in children:
        world.tracker.link_child(parent, child)
    world.tracker.close(children[0], CloseReason.COMPLETED)
    with pytest.raises(InvalidError) as caught:
        world.tracker.link_child(parent, one_more)
    assert caught.value.field == "parent"
    world.tracker.link_child(parent, children[5])
    assert world.tracker.children(parent) == children


def test_sub_issues_nest_eight_levels_deep(world: TrackerWorld) -> None:
    chain = issues(world, 9)
    link_chain(world, chain[:8])
    with pytest.raises(InvalidError) as caught:
        world.tracker.link_child(chain[7], chain[8])
    assert caught.value.field == "parent"


def test_a_subtree_counts_with_its_height(world: TrackerWorld) -> None:
    chain = issues(world, 10)
    link_chain(world, chain[:5])
    link_chain(world, chain[5:9])
    with pytest.raises(InvalidError):
        world.tracker.link_child(chain[4], chain[5])
    world.tracker.link_child(chain[3], chain[5])
    assert world.tracker.parent(chain[5]) == chain[3]


def test_after_names_another_child_of_the_same_parent(world: TrackerWorld) -> None:
    parent, a, b, stranger = issues(world, 4)
    world.tracker.link_child(parent, a)
    for after in (stranger, b, parent):
        with pytest.raises(InvalidError) as caught:
            world.tracker.link_child(parent, b, after=after)
        assert caught.value.field == "after"
    with pytest.raises(InvalidError):
        world.tracker.link_child(parent, a, after=a)
    assert world.tracker.children(parent) == [a]


def test_links_reach_neither_missing_issues_nor_other_scopes(world: TrackerWorld) -> None:
    (a,) = issues(world, 1)
    with pytest.raises(NotFoundError):
        world.tracker.link_child(a, Ref(world.scope, "99"))
    with pytest.raises(NotFoundError):
        world.tracker.link_child(Ref(world.scope, "99"), a)
    with pytest.raises(InvalidError):
        world.tracker.link_child(a, Ref("acme/other", "1"))
    with pytest.raises(InvalidError):
        world.tracker.set_blockers(a, {Ref("acme/other", "1")})


# --- dependencies --------------------------------------------------------------------------------------------------


def test_blockers_become_exactly_the_given_ones(world: TrackerWorld) -> None:
    a, b, c, d = issues(world, 4)
    world.tracker.set_blockers(a, {b, c})
    assert world.tracker.blockers(a) == [b, c]
    world.tracker.set_blockers(a, {c, d})
    world.tracker.set_blockers(a, {d, c})
    assert world.tracker.blockers(a) == [c, d]
    world.tracker.set_blockers(a, set())
    assert world.tracker.blockers(a) == []


def test_closed_blockers_are_still_listed(world: TrackerWorld) -> None:
    a, b = issues(world, 2)
    world.tracker.set_blockers(a, {b})
    world.tracker.close(b, CloseReason.COMPLETED)
    assert world.tracker.blockers(a) == [b]


def test_issues_cannot_wait_for_each_other(world: TrackerWorld) -> None:
    a, b, c, d = issues(world, 4)
    world.tracker.set_blockers(a, {b})
    world.tracker.set_blockers(b, {c})
    for issue, blockers in ((a, {a}), (b, {a}), (c, {a}), (c, {d, b})):
        with pytest.raises(InvalidError) as caught:
            world.tracker.set_blockers(issue, blockers)
        assert caught.value.field == "blockers"
    assert world.tracker.blockers(c) == []


def test_an_edge_that_is_taken_away_in_the_same_write_makes_no_cycle(world: TrackerWorld) -> None:
    a, b, c = issues(world, 3)
    world.tracker.set_blockers(a, {b})
    world.tracker.set_blockers(a, {c})
    world.tracker.set_blockers(b, {a})
    assert world.tracker.blockers(b) == [a]


def test_an_issue_waits_for_50_issues_at_most(world: TrackerWorld) -> None:
    issue, *blockers = issues(world, 52)
    with pytest.raises(InvalidError):
        world.tracker.set_blockers(issue, set(blockers))
    assert world.tracker.blockers(issue) == []
    world.tracker.set_blockers(issue, set(blockers[:50]))
    assert len(world.tracker.blockers(issue)) == 50


def test_a_missing_blocker_changes_nothing(world: TrackerWorld) -> None:
    a, b = issues(world, 2)
    world.tracker.set_blockers(a, {b})
    with pytest.raises(NotFoundError):
        world.tracker.set_blockers(a, {Ref(world.scope, "99")})
    assert world.tracker.blockers(a) == [b]
