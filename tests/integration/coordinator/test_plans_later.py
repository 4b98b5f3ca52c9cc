"""What a plan leaves for later: moves of who is at work by then, steps of a dead process, writes that are retried."""

# ruff: noqa: F401, F811 - fixtures are arguments

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from coordinator import sweeps
from coordinator.documents.plan_nodes import Node, by_id
from coordinator.documents.plan_schema import PlanError
from coordinator.models import Agent, AppliedPlan, Envelope
from coordinator.money import scopes
from coordinator.operating import control, plans
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import AgentState
from coordinator.rules.plan_rules import MAX_LEVELS
from coordinator.trees import plan_adopting, plan_moves
from grid.models import Event
from grid.public_types import OutcomeKind
from tests.factories import make_child
from tests.integration.coordinator.agent_runs import end, running
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
from tests.services.forks import Forks
from tracker import public_writes as tracker_writes
from tracker.models import Operation

pytestmark = pytest.mark.django_db(transaction=True)


def moving_below_a_new_one(top: Agent, agent: Agent) -> None:
    """Apply a plan that moves an agent below an issue that the tracker makes later."""
    hold_outbox(top, is_held=True)
    root = node_of(top.pk)
    there = by_id(root)[f"a{agent.pk}"].node
    rest = [child for child in root.children if child.id != there.id]
    apply(top, with_children(root, *rest, new("n", there)))
    hold_outbox(top, is_held=False)


def test_who_started_while_a_move_waited_for_the_tracker_is_moved_when_its_run_has_ended(top, settings):
    a, b = make_child(top, title="A"), make_child(top, title="B")
    moving_below_a_new_one(top, a)
    settings.COORDINATOR_WORKING = True
    run = running(a)
    sweeps.sweep()
    row, n = AppliedPlan.objects.get(), Agent.objects.get(issue__title="Do n")
    a.refresh_from_db()
    assert (a.parent_id, row.is_open, row.todo["busy"]) == (top.pk, True, [a.pk])
    assert row.todo["new"] == [] and row.todo["moves"] == [{"agent": a.pk, "parent": f"a{n.pk}"}]
    with pytest.raises(NotAllowedError, match=f"it moves a{a.pk} when no run goes on there"):
        plans.apply(top.pk, plans.export(top.pk).text.replace("goal: B\n", "goal: C\n"), actor=CLI)
    sweeps.sweep()
    assert Event.objects.filter(kind="plan.move-waits").count() == 1, "told once"
    end(run, OutcomeKind.BLOCKED)
    sweeps.sweep()
    a.refresh_from_db()
    row.refresh_from_db()
    assert (a.parent_id, a.depth, row.is_open, row.todo["busy"]) == (n.pk, 2, False, [])
    assert Event.objects.filter(kind="plan.carried-out").count() == 1
    assert b.envelope.ancestors and violations() == []


def test_who_has_ended_before_its_move_stays_where_its_work_went(top, settings):
    a = make_child(top, title="A")
    moving_below_a_new_one(top, a)
    settings.COORDINATOR_WORKING = True
    run = running(a)
    sweeps.sweep()
    end(run)
    sweeps.sweep()
    a.refresh_from_db()
    assert (a.state, a.parent_id) == (AgentState.DONE, top.pk)
    assert Event.objects.get(kind="plan.agent-not-moved").body["why"] == f"a{a.pk} has ended"
    assert not AppliedPlan.objects.get().is_open and violations() == []


def test_a_retried_write_does_nothing_again_that_people_have_changed_since(top):
    """A write of the first plan fails for ever; what else it did was done, and is undone by the second."""
    a, b = make_child(top, title="A"), make_child(top, title="B")
    moving_below_a_new_one(top, a)
    Operation.objects.filter(key__endswith=":moved:" + f"a{a.pk}").update(payload={"parent": "x" * 300, "child": "1"})
    sweeps.sweep()
    row, n = AppliedPlan.objects.get(), Agent.objects.get(issue__title="Do n")
    a.refresh_from_db()
    assert (a.parent_id, row.is_open, bool(row.error), row.todo["moves"]) == (n.pk, True, True, [])
    root = node_of(top.pk)
    there = by_id(root)[f"a{a.pk}"].node
    kept = [replace(child, children=()) for child in root.children]
    apply(top, with_children(root, *kept, there))
    a.refresh_from_db()
    assert a.parent_id == top.pk
    plan_adopting.finish(row.pk)
    (failed,) = [write.key for write in tracker_writes.failed()]
    Operation.objects.filter(key=failed).update(payload={"parent": n.issue.key, "child": b.issue.key, "replace": True})
    control.retry_write(failed, actor=CLI)
    sweeps.sweep()
    a.refresh_from_db()
    assert a.parent_id == top.pk and not AppliedPlan.objects.filter(is_open=True).exists()


def test_nothing_is_put_below_a_part_of_itself(top):
    a = make_child(top, title="A")
    b = make_child(a, title="B")
    with pytest.raises(NotAllowedError, match=f"a{a.pk} cannot be moved below a{b.pk}, which is a part of it"):
        plan_moves.rehang(a, parent=b)


def test_the_same_document_again_carries_on_what_a_dead_one_left(top):
    """Its process died right behind the commit, and no worker runs."""
    text = text_of(with_children(node_of(top.pk), new("n", new("m"))), agent=top)
    hold_outbox(top, is_held=True)
    plans.apply(top.pk, text, actor=CLI)
    hold_outbox(top, is_held=False)
    again = plans.apply(top.pk, text, actor=CLI)
    assert (again.changes, again.applied_as) == ((), 1)
    assert Agent.objects.count() == 3 and not AppliedPlan.objects.get().is_open and violations() == []


def test_between_a_plans_writes_and_its_last_step_no_other_plan_comes(top):
    """The older one would move and cancel over the newer one."""
    a = make_child(top, title="A")
    moving_below_a_new_one(top, a)
    tracker_writes.drain(top.repository_id, now=timezone.now())
    with pytest.raises(NotAllowedError, match="its last step is still to be done"):
        plans.apply(top.pk, plans.export(top.pk).text.replace("goal: A\n", "goal: B\n"), actor=CLI)
    sweeps.sweep()
    assert plans.apply(top.pk, plans.export(top.pk).text.replace("goal: A\n", "goal: B\n"), actor=CLI).changes


def test_a_room_for_one_is_not_given_to_two_new_ones_in_different_places(top):
    a, b = make_child(top, title="A"), make_child(top, title="B")
    Envelope.objects.filter(key=top.root_key).update(children_limit=4)
    root = node_of(top.pk)
    first, second = (replace(child, children=(new(f"n-{child.id}"),)) for child in root.children)
    assert (first.id, second.id) == (f"a{a.pk}", f"a{b.pk}")
    with pytest.raises(
        PlanError, match="3 of 4 children are taken on, and 1 more beside 1 that are being made do not fit"
    ):
        apply(top, with_children(root, first, second))
    assert apply(top, with_children(root, first, replace(second, children=()))).changes


def test_a_number_of_a_plan_is_not_given_twice_when_older_ones_were_deleted(top):
    for goal in ("One", "Two"):
        apply(top, replace(node_of(top.pk), goal=goal))
    AppliedPlan.objects.filter(revision=1).delete()
    assert apply(top, replace(node_of(top.pk), goal="Three")).applied_as == 3


# --- killed on the way ------------------------------------------------------------------------------------------------


class Statements:
    """Counts what goes to the database; at one of them the process kills itself."""

    def __init__(self, *, kill_at: int = 0) -> None:
        self.count, self.kill_at = 0, kill_at

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(sql, params, many, context)


def edited(top: Agent, a: Agent, step: int) -> Node:
    """Everything at once: a new branch, the old part changed and moved below it, the branch where that was taken out."""
    root = node_of(top.pk)
    part = replace(by_id(root)[f"a{a.pk}"].node, goal=f"Moved {step}")
    return with_children(root, new(f"n{step}", part, new(f"m{step}"), acceptance=("true",)))


def test_whoever_is_killed_anywhere_in_a_plan_the_same_document_again_makes_the_tree_of_it(top):
    a = make_child(top, title="A")
    text = text_of(edited(top, a, 0), agent=top)
    counted = Statements()
    with connection.execute_wrapper(counted):
        assert plans.apply(top.pk, text, actor=CLI).changes
    done = [0, 0]
    for step, percent in enumerate((15, 35, 50, 60, 70, 80, 90, 97), start=1):
        text = text_of(edited(top, a, step), agent=top)

        def die(text: str = text, at: int = counted.count * percent // 100) -> None:
            with connection.execute_wrapper(Statements(kill_at=at)):
                plans.apply(top.pk, text, actor="cli:dead")

        forks = Forks()
        forks.fork(die)
        assert [one.code for one in forks.ends()] == [-signal.SIGKILL], f"killed at {percent} %"
        hold_outbox(top, is_held=False)  # the lease of the dead one ends
        again = plans.apply(top.pk, text, actor=CLI)
        done[bool(again.changes)] += 1
        assert not AppliedPlan.objects.filter(is_open=True).exists()
        assert AppliedPlan.objects.count() == step + 1
        assert plans.preview(top.pk, plans.export(top.pk).text).changes == ()
        (made,) = node_of(top.pk).children
        assert made.goal == f"Do n{step}"
        assert [child.goal for child in made.children] == [f"Moved {step}", f"Do m{step}"]
        assert violations() == []
    assert all(done), "killed before the commit as well as after it"


# --- depth ------------------------------------------------------------------------------------------------------------


def test_the_deepest_tree_fits_and_what_is_deeper_is_refused_in_words(top):
    ids = [str(2**63 - 1)] * (3 + MAX_LEVELS - 1)  # fleet, repository, tree, and the agents above the deepest
    deepest = "".join(f"{one}/" for one in ids)
    assert scopes.fitting(deepest) == deepest
    a, b = make_child(top, title="A"), make_child(top, title="B")
    Envelope.objects.filter(pk=a.envelope_id).update(ancestors="1/" * 250)
    a = Agent.objects.select_related("envelope").get(pk=a.pk)
    with pytest.raises(NotAllowedError, match="nothing can be put so deep: 251 levels are above it"):
        make_child(a)
    with pytest.raises(NotAllowedError, match="251 levels are above it"), transaction.atomic():
        plan_moves.rehang(b, parent=a)
    assert Agent.objects.get(pk=b.pk).parent_id == top.pk and Agent.objects.count() == 3


def test_cancelled_parts_count_for_the_trackers_levels(top, settings):
    """They hang where they were: a plan that shows few levels would fail in the tracker, and only there."""
    settings.COORDINATOR_MAX_DEPTH = 7
    chain = [make_child(top, title="A")]
    for _ in range(4):
        chain.append(make_child(chain[-1], title="Below"))
    control.cancel(chain[1].pk, actor=CLI)
    root = node_of(top.pk)
    (a,) = root.children
    deep = new("n1", new("n2", new("n3", a)))
    with pytest.raises(PlanError, match=f"a{chain[0].pk} would be on level 5 with 4 levels of cancelled ones below it"):
        apply(top, with_children(root, deep))
    assert apply(top, with_children(root, new("n1", new("n2", a)))).changes
    assert not AppliedPlan.objects.filter(is_open=True).exists() and violations() == []
