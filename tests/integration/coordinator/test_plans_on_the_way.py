"""Plans that meet trouble: a dead writer, a refusing tracker, others at once, limits, people who hold an issue."""

# ruff: noqa: F401, F811 - fixtures are arguments

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coordinator import sweeps
from coordinator.documents.plan_nodes import by_id
from coordinator.documents.plan_schema import PlanError
from coordinator.models import Agent, AppliedPlan, Envelope
from coordinator.operating import control, plans
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import AgentState
from coordinator.rules import capability as capabilities
from coordinator.trees import plan_adopting
from grid.models import Event
from tests.factories import make_agent, make_child
from tests.integration.coordinator.plan_here import (
    CLI,
    apply,
    hold_outbox,
    new,
    node_of,
    still,
    text_of,
    top,
    violations,
    with_children,
)
from tracker import public_api as tracker
from tracker import public_writes as tracker_writes
from tracker.models import Issue

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_plan_whose_writer_died_is_carried_through_by_the_sweep(top):
    a = make_child(top, title="A")
    root = node_of(top.pk)
    wanted = with_children(root, new("n", by_id(root)[f"a{a.pk}"].node, depends_on=frozenset()))
    text = text_of(replace(wanted, goal="Renamed"), agent=top)
    hold_outbox(top, is_held=True)
    assert len(plans.apply(top.pk, text, actor=CLI).changes) == 3
    row = AppliedPlan.objects.get()
    assert row.is_open and Agent.objects.filter(parent=top).count() == 1
    assert plans.apply(top.pk, text, actor=CLI).changes == (), "the lost answer: nothing is done twice"
    other = plans.export(top.pk).text.replace("goal: A\n", "goal: B\n")
    with pytest.raises(NotAllowedError, match="plan 1 of this tree is still being carried out: 3 writes"):
        plans.apply(top.pk, other, actor=CLI)
    hold_outbox(top, is_held=False)
    tracker_writes.drain(
        top.repository_id, now=timezone.now()
    )  # and the process that did this died before it could react
    assert not Agent.objects.filter(parent=top).exclude(pk=a.pk).exists()
    sweeps.sweep()
    made = Agent.objects.get(parent=top)
    a.refresh_from_db()
    row.refresh_from_db()
    assert (made.issue.title, a.parent_id, row.is_open) == ("Do n", made.pk, False)
    assert node_of(top.pk).goal == "Renamed" and violations() == []
    assert plans.apply(top.pk, plans.export(top.pk).text.replace("goal: A\n", "goal: B\n"), actor=CLI).changes


def test_what_is_left_of_a_plan_holds_the_trees_agents_before_their_envelopes(top):
    hold_outbox(top, is_held=True)
    apply(top, with_children(node_of(top.pk), new("n")))
    hold_outbox(top, is_held=False)
    tracker_writes.drain(top.repository_id, now=timezone.now())
    with CaptureQueriesContext(connection) as queries:
        assert plan_adopting.finish(AppliedPlan.objects.get().pk)
    said = [query["sql"] for query in queries]
    agents = next(n for n, sql in enumerate(said) if '"coordinator_agent"."depth" DESC' in sql)
    assert agents < next(n for n, sql in enumerate(said) if 'UPDATE "coordinator_envelope"' in sql)


def test_what_is_cancelled_before_its_issue_exists_is_closed_again(top):
    hold_outbox(top, is_held=True)
    apply(top, with_children(node_of(top.pk), new("n", new("m"))))
    control.cancel(top.pk, actor=CLI)
    hold_outbox(top, is_held=False)
    sweeps.sweep()
    sweeps.sweep()
    assert Agent.objects.count() == 1 and not AppliedPlan.objects.filter(is_open=True).exists()
    made = Issue.objects.filter(parent_id__isnull=False)
    assert made.count() == 2 and not made.filter(is_open=True).exists()


def test_a_write_that_the_tracker_refuses_is_told_and_the_rest_is_done(top):
    """A circle by way of an issue that is not in the plan, which only the tracker knows."""
    a, b = make_child(top, title="A"), make_child(top, title="B")
    outside = make_agent(Path(top.repository.source), title="Elsewhere")
    refs = {row.pk: tracker.get_issue(row.issue_id).ref for row in (a, b, outside)}
    local = tracker.tracker_for(top.repository_id)
    local.set_blockers(refs[b.pk], {refs[outside.pk]})
    local.set_blockers(refs[outside.pk], {refs[a.pk]})
    root = node_of(top.pk)
    first, second = root.children
    waiting = replace(first, depends_on=frozenset({second.id}))
    apply(top, with_children(replace(root, goal="Renamed"), waiting, second, new("n")))
    row = AppliedPlan.objects.get()
    assert row.is_open and "cycle" in row.error
    assert Agent.objects.filter(parent=top, issue__title="Do n").exists() and node_of(top.pk).goal == "Renamed"
    assert any("tracker write" in found for found in violations())
    sweeps.sweep()
    assert Event.objects.filter(kind="plan.carried-out").count() == 1, "it is not tried again by itself"
    local.set_blockers(refs[outside.pk], set())
    (failed,) = [write.key for write in tracker_writes.failed()]
    control.retry_write(failed, actor=CLI)
    sweeps.sweep()
    row.refresh_from_db()
    assert (row.is_open, row.error) == (False, "") and violations() == []
    assert node_of(top.pk).children[0].depends_on == frozenset({f"a{b.pk}"})


def test_of_two_plans_at_once_one_is_applied_and_the_other_is_stale(top):
    make_child(top, title="A")
    texts = [plans.export(top.pk).text.replace("goal: A\n", f"goal: A{n}\n") for n in range(4)]

    def one(text: str) -> str:
        try:
            return "applied" if plans.apply(top.pk, text, actor=CLI).changes else "nothing"
        except plans.StaleError:
            return "stale"
        except NotAllowedError:
            return "pending"
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        found = sorted(pool.map(one, texts))
    assert found.count("applied") == 1 and set(found) <= {"applied", "stale", "pending"}
    assert AppliedPlan.objects.count() == 1 and violations() == []


def test_the_same_document_at_once_is_applied_once(top):
    text = text_of(with_children(node_of(top.pk), new("n")), agent=top)

    def one(_: int) -> int:
        try:
            return len(plans.apply(top.pk, text, actor=CLI).changes)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(one, range(4))) == [0, 0, 0, 1]
    sweeps.sweep()
    assert Agent.objects.filter(parent=top).count() == 1 == AppliedPlan.objects.count()


def test_what_is_deeper_or_more_than_the_repository_allows_is_refused(top, settings):
    settings.COORDINATOR_MAX_DEPTH = 2
    deep = new("a", new("b", new("c")))
    with pytest.raises(PlanError, match="c would be at depth 3, and 2 is the deepest allowed"):
        apply(top, with_children(node_of(top.pk), deep))
    settings.COORDINATOR_MAX_OPEN_DESCENDANTS = 2
    with pytest.raises(PlanError, match="the tree would have 3 open agents, and 2 are allowed"):
        apply(top, with_children(node_of(top.pk), *[new(name) for name in "abc"]))
    Envelope.objects.filter(key=top.root_key).update(children_limit=2)
    with pytest.raises(PlanError, match="children are taken on, and 2 more do not fit"):
        apply(top, with_children(node_of(top.pk), *[new(name) for name in "ab"]))
    assert not AppliedPlan.objects.exists()


def test_what_a_person_holds_and_what_is_done_is_left_alone(top):
    a, b = make_child(top, title="A"), make_child(top, title="B")
    tracker.set_hold(a.issue_id, held=True)
    Agent.objects.filter(pk=b.pk).update(state=AgentState.DONE)
    root = node_of(top.pk)
    first, second = root.children
    with pytest.raises(PlanError) as caught:
        apply(top, with_children(root, replace(first, goal="X"), replace(second, goal="Y", children=(new("n"),))))
    said = str(caught.value)
    assert f"a{a.pk} is held by a person" in said and f"a{b.pk} is done: nothing of it can be changed" in said
    assert f"a{b.pk} is done: nothing can be put under it" in said
    assert apply(top, with_children(root, replace(first, profile="worker"), second)).changes


def test_a_worker_s_narrower_parent_narrows_what_is_moved_below_it(top):
    held = capabilities.as_json(replace(capabilities.EVERYTHING, depth=3))
    a, b = make_child(top, title="A"), make_child(top, title="B")
    Agent.objects.filter(pk__in=[top.pk, a.pk, b.pk]).update(capability=held)
    Agent.objects.filter(pk=a.pk).update(capability=held | {"tools": ["finish"], "children": 1, "depth": 2})
    Agent.objects.filter(pk=b.pk).update(capability=held | {"depth": 2})
    root = node_of(top.pk)
    first, second = root.children
    apply(top, with_children(root, replace(first, children=(second,))))
    b.refresh_from_db()
    assert (b.capability["tools"], b.capability["children"], b.capability["depth"]) == (["finish"], 1, 1)
    assert [found for found in violations() if "law" in found or "4 " in found] == []
