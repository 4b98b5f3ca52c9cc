"""The plan on the real database: exported, edited, applied; the tracker follows, and nothing is left to do afterwards."""

# ruff: noqa: F401, F811 - fixtures are arguments

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.documents import plan_nodes, plan_schema
from coordinator.documents.plan_nodes import Node, by_id
from coordinator.models import Agent, AppliedPlan, AuditEntry, Envelope
from coordinator.operating import control, plans
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import AgentState
from coordinator.trees import plan_tree
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.plan_here import (
    CLI,
    apply,
    failed_writes,
    new,
    node_of,
    still,
    text_of,
    top,
    violations,
    with_children,
)
from tests.unit.coordinator.plan_trees import edits, trees
from tracker import public_api as tracker
from tracker.models import Operation

pytestmark = pytest.mark.django_db(transaction=True)


def shape(node: Node) -> Any:
    """A tree by goals, for comparing trees whose new nodes have got their ids."""
    goals = {place.node.id: place.node.goal for place in plan_nodes.walk(node)}

    def build(one: Node) -> Any:
        parts = {name: plan_nodes.part(one, name) for name in plan_nodes.PARTS}
        waits = sorted(goals[other] for other in one.depends_on)
        return parts, plan_nodes.budget(one), waits, [build(child) for child in one.children]

    return build(node)


# --- round trip ----------------------------------------------------------------------------------------------------


def test_what_was_exported_changes_nothing(top):
    child = make_child(top, title="A part", acceptance=["true"], footprint=["./src//a"])
    make_child(child, title="Below")
    text = plans.export(top.pk).text
    assert plans.preview(top.pk, text).changes == () == plans.apply(top.pk, text, actor=CLI).changes
    assert not AppliedPlan.objects.exists() and not Operation.objects.filter(key__startswith="plan:").exists()


def test_a_new_tree_is_made_in_one_pass_with_its_links_and_wishes(top):
    wanted = with_children(
        node_of(top.pk),
        new("b", new("c", acceptance=("true",), files=("out.txt",), cwd="src"), share=20, priority=4),
        new(
            "a",
            depends_on=frozenset({"b"}),
            profile="worker",
            footprint=("src/**",),
            usd_micros=1_500_000,
            body="all\nof it",
        ),
    )
    done = apply(top, wanted)
    assert [change.kind for change in done.changes].count("add") == 3
    assert failed_writes() == [] == violations()
    b, a = Agent.objects.filter(parent=top).select_related("issue", "envelope").order_by("pk")
    c = Agent.objects.get(parent=b)
    assert [row.issue.title for row in (b, a)] == ["Do b", "Do a"] and a.issue.body == "all\nof it"
    assert c.spec == {**c.spec, "acceptance": ["true"], "files": ["out.txt"], "cwd": "src"}
    assert (a.profile, a.priority, b.priority, c.priority) == ("worker", 0, 4, 4)
    assert c.spec["adapter"] == "command" and (c.depth, c.path) == (2, "1.1.1")
    assert a.envelope.usd_limit_micros == 1_500_000 and b.envelope.parent_id == top.envelope_id
    assert tracker.blocker_ids(a.issue_id) == [b.issue_id]
    assert tracker.children_ids(top.issue_id) == [b.issue_id, a.issue_id]
    assert all(row.nudges.exists() for row in (a, b, c))
    row = AppliedPlan.objects.get()
    assert (row.revision, row.is_open, row.actor, row.error) == (1, False, CLI, "")
    assert "The plan was changed by `cli:test`: 3 add" in tracker.comments(top.issue_id)[-1].body
    assert AuditEntry.objects.filter(action="plan_apply", actor=CLI).count() == 1
    assert plans.preview(top.pk, plans.export(top.pk).text).changes == ()


def test_the_same_document_again_changes_nothing(top):
    text = text_of(with_children(node_of(top.pk), new("a")), agent=top)
    first = plans.apply(top.pk, text, actor=CLI)
    again = plans.apply(top.pk, text, actor="cli:other")
    assert len(first.changes) == 1 and again.changes == () and again.applied_as == 1 == first.applied_as
    assert plans.preview(top.pk, text).applied_as == 1
    assert Agent.objects.filter(parent=top).count() == 1 == AppliedPlan.objects.count()


def test_a_state_that_comes_back_is_another_one(top):
    """There and back: the first document is stale then, although the tree looks the same."""
    there = text_of(replace(node_of(top.pk), goal="Other"), agent=top)
    plans.apply(top.pk, there, actor=CLI)
    apply(top, replace(node_of(top.pk), goal="Top"))
    assert node_of(top.pk).goal == "Top"
    assert plans.apply(top.pk, there, actor=CLI).applied_as == 1, "it is known as the plan that it was"
    assert node_of(top.pk).goal == "Top"


def test_a_plan_made_from_another_state_is_refused_and_says_what_changed(top):
    child = make_child(top, title="A part")
    other = make_child(top, title="Another")
    text = text_of(replace(node_of(top.pk), goal="Renamed"), agent=top)
    tracker.tracker_for(top.repository_id).edit(tracker.get_issue(child.issue_id).ref, title="A new name", body="")
    make_child(top, title="Late")
    control.cancel(other.pk, actor=CLI)
    with pytest.raises(plans.StaleError) as caught:
        plans.apply(top.pk, text, actor=CLI)
    said = str(caught.value)
    assert (
        f"a{child.pk} was changed (A new name)" in said and f"a{other.pk} is gone" in said and "is new (Late)" in said
    )
    assert plan_tree.read(top.pk).root.goal == "Top" and not AppliedPlan.objects.exists()


# --- each kind of change -------------------------------------------------------------------------------------------


def test_texts_are_edited_in_the_tracker(top):
    apply(top, replace(node_of(top.pk), goal="Renamed", body="New words\n\nand more"))
    issue = tracker.get_issue(top.issue_id)
    assert (issue.title, issue.body) == ("Renamed", "New words\n\nand more")


def test_a_removed_subtree_is_cancelled_its_issues_closed_with_a_comment(top):
    child = make_child(top, title="A part")
    below = make_child(child, title="Below")
    stays = make_child(top, title="Stays")
    root = node_of(top.pk)
    done = apply(top, with_children(root, by_id(root)[f"a{stays.pk}"].node))
    assert [f"{change.kind} {change.id}" for change in done.changes] == [f"cancel a{child.pk}", f"cancel a{below.pk}"]
    for row in (child, below):
        row.refresh_from_db()
        issue = tracker.get_issue(row.issue_id)
        assert (row.state, issue.is_open, issue.close_reason) == (AgentState.ABANDONED, False, "not_planned")
        assert any("taken out of the plan by cli:test" in said.body for said in tracker.comments(row.issue_id))
    stays.refresh_from_db()
    assert stays.state == AgentState.NEW and violations() == []
    assert apply(top, node_of(top.pk)).changes == ()


def test_a_moved_subtree_hangs_under_its_new_parent_everywhere(top):
    a, b = make_child(top, title="A"), make_child(top, title="B")
    c = make_child(a, title="C")
    d = make_child(c, title="D")
    root = node_of(top.pk)
    nodes = by_id(root)
    wanted = with_children(
        root,
        replace(nodes[f"a{a.pk}"].node, children=()),
        replace(nodes[f"a{b.pk}"].node, children=(nodes[f"a{c.pk}"].node,)),
    )
    done = apply(top, wanted)
    assert [change.kind for change in done.changes] == ["move"]
    c.refresh_from_db()
    d.refresh_from_db()
    assert (c.parent_id, c.depth, c.path, d.depth, d.path) == (b.pk, 2, f"{b.path}.1", 3, f"{b.path}.1.1")
    assert c.envelope.parent_id == b.envelope_id and d.envelope.parent_id == c.envelope_id
    assert tracker.parent_id(c.issue_id) == b.issue_id and tracker.children_ids(a.issue_id) == []
    assert violations() == [] == failed_writes()
    counts = dict(Envelope.objects.values_list("key", "children_spent"))
    assert (counts[f"agent:{a.pk}"], counts[f"agent:{b.pk}"], counts[f"agent:{top.pk}"]) == (0, 2, 4)
    assert apply(top, node_of(top.pk)).changes == ()


def test_a_node_moves_under_one_that_is_made_by_the_same_plan(top):
    a = make_child(top, title="A")
    root = node_of(top.pk)
    apply(top, with_children(root, new("group", by_id(root)[f"a{a.pk}"].node)))
    a.refresh_from_db()
    group = Agent.objects.get(parent=top)
    assert (a.parent_id, a.depth, a.envelope.parent_id) == (group.pk, 2, group.envelope_id)
    assert tracker.parent_id(a.issue_id) == group.issue_id
    assert violations() == [] == failed_writes() and not AppliedPlan.objects.filter(is_open=True).exists()


def test_children_change_places(top):
    ids = [f"a{make_child(top, title=name).pk}" for name in "ABC"]
    root = node_of(top.pk)
    nodes = by_id(root)
    wished = [ids[2], ids[0], ids[1]]
    done = apply(top, with_children(root, *[nodes[one].node for one in wished]))
    assert [change.kind for change in done.changes] == ["reorder"]
    assert [child.id for child in node_of(top.pk).children] == wished and failed_writes() == []


def test_dependencies_turn_round_without_a_circle_on_the_way(top):
    a, b = make_child(top, title="A"), make_child(top, title="B")
    one, other = f"a{a.pk}", f"a{b.pk}"

    def wait(first: str, second: str) -> None:
        root = node_of(top.pk)
        waits = {first: frozenset(), second: frozenset({first})}
        apply(top, with_children(root, *[replace(child, depends_on=waits[child.id]) for child in root.children]))

    wait(one, other)
    assert tracker.blocker_ids(b.issue_id) == [a.issue_id]
    wait(other, one)
    assert (tracker.blocker_ids(b.issue_id), tracker.blocker_ids(a.issue_id)) == ([], [b.issue_id])
    assert failed_writes() == []


def test_issues_outside_of_the_plan_stay_blockers(top):
    outside = make_agent(Path(top.repository.source), title="Elsewhere")
    a, b = make_child(top, title="A"), make_child(top, title="B")
    scope = top.repository.scope
    refs = [tracker.get_issue(row.issue_id).ref for row in (a, outside)]
    assert scope == refs[0].scope
    tracker.tracker_for(top.repository_id).set_blockers(refs[0], {refs[1]})
    root = node_of(top.pk)
    assert root.children[0].depends_on == frozenset()
    first = replace(root.children[0], depends_on=frozenset({f"a{b.pk}"}))
    apply(top, with_children(root, first, root.children[1]))
    assert sorted(tracker.blocker_ids(a.issue_id)) == sorted([outside.issue_id, b.issue_id])


def test_a_budget_becomes_a_limit_and_is_audited(top):
    control.raise_limit(top.stream, actor=CLI, usd_micros=10_000_000)
    a = make_child(top, title="A")
    root = node_of(top.pk)
    done = apply(top, with_children(root, replace(root.children[0], share=30, usd_micros=9_000_000)))
    assert [change.kind for change in done.changes] == ["budget"]
    assert Envelope.objects.get(key=a.stream).usd_limit_micros == 3_000_000
    assert AuditEntry.objects.filter(action="raise_limit", target=a.stream).count() == 1
    root = node_of(top.pk)
    apply(top, with_children(root, replace(root.children[0], share=None, usd_micros=99_000_000)))
    assert Envelope.objects.get(key=a.stream).usd_limit_micros == 10_000_000, "never more than its parent has"
    assert apply(top, node_of(top.pk)).changes == ()


def test_a_budget_below_what_was_used_is_refused_and_nothing_is_done(top):
    a = make_child(top, title="A")
    Envelope.objects.filter(key=a.stream).update(usd_spent_micros=2_000_000)
    root = node_of(top.pk)
    with pytest.raises(InvalidInputError, match=f"agent:{a.pk} has used"):
        apply(top, with_children(replace(root, goal="Renamed"), replace(root.children[0], usd_micros=1_000_000)))
    assert tracker.get_issue(top.issue_id).title == "Top" and not AppliedPlan.objects.exists()
    Envelope.objects.filter(key=a.stream).update(usd_spent_micros=0)


# --- the whole -----------------------------------------------------------------------------------------------------


def build(top: Agent, root: Node) -> None:
    """Give the empty tree the shape of a random one: itself a plan, all of whose nodes are new."""
    names = {place.node.id: f"n{index}" for index, place in enumerate(plan_nodes.walk(root))}

    def made(node: Node) -> Node:
        waits = frozenset(names[other] for other in node.depends_on)
        return replace(node, id=names[node.id], is_new=True, depends_on=waits, children=tuple(map(made, node.children)))

    mine = node_of(top.pk)
    apply(top, replace(made(root), id=mine.id, is_new=False, depends_on=frozenset()))


@given(st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_edit_of_any_tree_is_reached_in_one_pass_and_then_nothing_is_left(tmp_path_factory, still, data):
    top = make_agent(make_git_repository(tmp_path_factory.mktemp("repo") / "app"), title="Top")
    build(top, data.draw(trees(most=6)))
    assert failed_writes() == []
    now = node_of(top.pk)
    assert plans.preview(top.pk, plans.export(top.pk).text).changes == ()
    wanted = data.draw(edits(now))
    text = text_of(wanted, agent=top)
    draft = plan_schema.parse(text)
    plans.apply(top.pk, text, actor=CLI)
    assert failed_writes() == [] and not AppliedPlan.objects.filter(is_open=True).exists()
    assert shape(node_of(top.pk)) == shape(_priorities(draft.plan.root))
    assert plans.apply(top.pk, text, actor=CLI).changes == ()
    assert plans.preview(top.pk, plans.export(top.pk).text).changes == ()
    assert violations() == []


def _priorities(node: Node, above: int = 0) -> Node:
    """New nodes get their parent's priority where they name none."""
    own = node.priority if node.priority is not None else (above if node.is_new else 0)
    return replace(node, priority=own, children=tuple(_priorities(child, own) for child in node.children))


def test_a_node_is_put_below_its_own_child_which_goes_below_a_new_one(top):
    a = make_child(top, title="A")
    b = make_child(a, title="B")
    root = node_of(top.pk)
    nodes = by_id(root)
    below = replace(nodes[f"a{a.pk}"].node, children=())
    apply(top, with_children(root, new("n", replace(nodes[f"a{b.pk}"].node, children=(below,)))))
    made = Agent.objects.get(parent=top)
    assert [Agent.objects.get(parent=made).pk, Agent.objects.get(parent=b).pk] == [b.pk, a.pk]
    assert failed_writes() == [] == violations()
    assert plans.preview(top.pk, plans.export(top.pk).text).changes == ()
