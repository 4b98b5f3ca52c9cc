"""What a plan changes: nothing for the same tree, nothing more than needed, and what is done is left alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.documents import plan_nodes, plan_schema, plan_text
from coordinator.documents.plan_nodes import Node, by_id
from coordinator.rules import plan_diff, plan_rules
from coordinator.rules.plan_diff import Change, Kind
from coordinator.rules.plan_rules import Present
from tests.unit.coordinator.plan_trees import edits, trees


def applied(now: Node, wanted: Node, changes: list[Change]) -> Node:
    """A tree after the changes, done one after the other as the grid does them."""
    nodes = {place.node.id: replace(place.node, children=()) for place in plan_nodes.walk(now)}
    below = {place.node.id: [child.id for child in place.node.children] for place in plan_nodes.walk(now)}
    want = by_id(wanted)
    for change in changes:
        match change.kind:
            case Kind.ADD:
                nodes[change.id] = replace(want[change.id].node, children=(), depends_on=frozenset())
                below[change.id] = []
                below[change.parent].append(change.id)
            case Kind.MOVE:
                below[change.fields["parent"][0]].remove(change.id)
                below[change.parent].append(change.id)
            case Kind.CANCEL:
                below[change.parent].remove(change.id)
            case Kind.REORDER:
                assert sorted(change.order) == sorted(one for one in below[change.id] if one in want)
                below[change.id] = [*change.order, *(one for one in below[change.id] if one not in want)]
            case Kind.DEPEND:
                nodes[change.id] = replace(nodes[change.id], depends_on=frozenset(change.fields["depends_on"][1]))
            case Kind.BUDGET:
                new = want[change.id].node
                nodes[change.id] = replace(nodes[change.id], share=new.share, usd_micros=new.usd_micros)
            case Kind.CHANGE:
                new = want[change.id].node
                parts = {name: getattr(new, name) for name in change.fields}
                nodes[change.id] = replace(nodes[change.id], **parts)

    def build(node_id: str) -> Node:
        return replace(nodes[node_id], children=tuple(build(child) for child in below[node_id]))

    return build(now.id)


@given(trees())
@settings(max_examples=25, deadline=None)
def test_the_same_tree_needs_no_change(root):
    assert plan_diff.diff(root, root) == []


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_the_changes_make_one_tree_of_the_other_and_then_none_is_left(data):
    now = data.draw(trees())
    wanted = data.draw(edits(now))
    changes = plan_diff.diff(now, wanted)
    after = applied(now, wanted, changes)
    assert plan_diff.diff(after, wanted) == []
    assert plan_text.asked_for(after) == plan_text.asked_for(wanted) or _but_for_white_space(after, wanted)
    assert len({(change.kind, change.id) for change in changes}) == len(changes)
    assert [change.kind for change in changes] == sorted((c.kind for c in changes), key=_place)


def _place(kind: Kind) -> int:
    order = [Kind.ADD, Kind.MOVE, Kind.CHANGE, Kind.DEPEND, Kind.REORDER, Kind.CANCEL]
    return order.index(Kind.CHANGE if kind == Kind.BUDGET else kind)


def _but_for_white_space(one: Node, other: Node) -> bool:
    return plan_nodes.fingerprint(one, revision=0) == plan_nodes.fingerprint(other, revision=0)


def node(node_id: str, *children: Node, **more: object) -> Node:
    return Node(**{"id": node_id, "goal": node_id.upper(), "children": children, **more})


def kinds(changes: list[Change]) -> list[str]:
    return [f"{change.kind} {change.id}" for change in changes]


def test_each_kind_of_change_is_told_apart():
    now = node("a1", node("a2", node("a5")), node("a3"), node("a4", profile="worker"))
    wanted = node(
        "a1",
        node("a4", node("a5"), goal="New", share=20),
        node("a2", node("n", is_new=True), depends_on=frozenset({"a4"})),
    )
    changes = plan_diff.diff(now, wanted)
    assert kinds(changes) == ["add n", "move a5", "change a4", "budget a4", "depend a2", "reorder a1", "cancel a3"]
    assert changes[2].fields == {"goal": ("A4", "New"), "profile": ("worker", "")}
    assert plan_diff.summary(changes) == "1 add, 1 move, 1 change, 1 budget, 1 depend, 1 reorder, 1 cancel"
    said = [plan_diff.in_words(change) for change in changes]
    assert said[1] == "a5 A5: from a2 to a4" and said[3] == "a4 A4: budget nothing -> '20 %'"
    assert said[5] == "the children of a1 A1: a4, a2"
    assert said[2] == "a4 A4: goal 'A4' -> 'New'; profile 'worker' -> nothing"


def test_an_insertion_in_front_of_others_is_an_addition_and_an_order():
    now = node("a1", node("a2"))
    assert kinds(plan_diff.diff(now, node("a1", node("a2"), node("n", is_new=True)))) == ["add n"]
    assert kinds(plan_diff.diff(now, node("a1", node("n", is_new=True), node("a2")))) == ["add n", "reorder a1"]


def test_what_was_done_below_a_cancelled_one_is_not_cancelled():
    now = node("a1", node("a2", node("a3", state="done"), node("a4", state="running"), state="waiting"))
    assert kinds(plan_diff.diff(now, node("a1"))) == ["cancel a2", "cancel a4"]


def test_white_space_that_trackers_drop_is_no_change():
    now = node("a1", body="a\nb")
    assert plan_diff.diff(now, node("a1", body="\na  \nb\n\n")) == []
    assert kinds(plan_diff.diff(now, node("a1", body="a\n b"))) == ["change a1"]


def refusals(now: Node, wanted: Node, **more: object) -> list[str]:
    text = plan_text.dump(plan_text.exported(wanted, base="0-0123456789abcdef"), name="x", issue="1")
    draft = plan_schema.parse(text)
    changes = plan_diff.diff(now, draft.plan.root)
    states = {place.node.id: place.node.state for place in plan_nodes.walk(now)}
    found = plan_rules.refusals(draft, changes, now, Present(**{"state": states, **more}))
    assert all(problem.line > 0 for problem in found)
    return [problem.message for problem in found]


def test_what_is_done_stays_as_it_is():
    now = node("a1", node("a2", node("a3", state="running"), state="done"), node("a4", state="running"))
    assert refusals(now, now) == []
    assert "a2 (A2) is done and cannot be taken out: put it back" in refusals(now, node("a1", node("a4")))
    changed = replace(now, children=(replace(now.children[0], goal="Other"), now.children[1]))
    assert refusals(now, changed) == ["a2 is done: nothing of it can be changed any more"]
    below = replace(now.children[0], children=(*now.children[0].children, node("n", is_new=True)))
    assert refusals(now, replace(now, children=(below, now.children[1]))) == [
        "a2 is done: nothing can be put under it any more"
    ]


def test_what_runs_is_not_moved_and_what_a_person_holds_is_left_alone():
    now = node("a1", node("a2", node("a3")), node("a4"))
    wanted = node("a1", node("a4", node("a2", node("a3"))))
    assert refusals(now, wanted) == []
    assert refusals(now, wanted, busy=["a3"])[0].startswith("a2 cannot be moved while a3 below it is at work")
    assert refusals(now, wanted, busy=["a2"])[0].startswith("a2 cannot be moved while it is at work")
    assert "held by a person" in refusals(now, wanted, held=["a2"])[0]
    assert "held by a person" in refusals(now, node("a1", node("a2", node("a3"))), held=["a4"])[0]
    renamed = node("a1", node("a2", node("a3")), node("a4", goal="Other"))
    assert "held by a person" in refusals(now, renamed, held=["a4"])[0]
    assert refusals(now, node("a1", node("a2", node("a3")), node("a4", profile="worker")), held=["a4"]) == []


def test_nothing_is_put_under_what_waits_for_a_review():
    now = node("a1", state="review")
    said = refusals(now, node("a1", node("n", is_new=True)))
    assert said == ["a1 waits for its pull request to be reviewed; say there what is missing"]
