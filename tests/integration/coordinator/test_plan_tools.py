"""Agents change the plan below them through the real door: within what they may, never themselves, never others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from coordinator import invariants, sweeps
from coordinator.documents import plan_text
from coordinator.documents.plan_nodes import Node
from coordinator.documents.plan_schema import PlanError
from coordinator.ending import outcomes
from coordinator.models import Agent, AppliedPlan
from coordinator.operating import control, plans
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import AgentState
from coordinator.rules import capability as capabilities
from coordinator.trees import plan_tree
from coordinator.trees.plan_limits import Reach
from grid import executions
from grid.models import Event, Execution
from grid.public_types import Outcome, OutcomeKind, Result, State
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import Running, end, running
from tests.integration.coordinator.web_here import Web, web_here
from tracker import public_api as tracker
from tracker.models import Repository

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web(transactional_db: None) -> Iterator[Web]:
    with web_here() as server:
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Running:
    return running(make_agent(make_git_repository(tmp_path / "app"), title="Top"))


def hold(run: Running, **parts: Any) -> None:
    """Cut the agent's capability."""
    held = capabilities.from_json(run.agent.capability)
    Agent.objects.filter(pk=run.agent_id).update(capability=capabilities.as_json(held) | parts)


def planning(agent: Agent) -> Running:
    """A child that runs and may plan."""
    Agent.objects.filter(pk=agent.pk).update(profile="orchestrator")
    return running(agent)


def plan_of(web: Web, run: Running) -> str:
    code, answer = web.rest(run.headers, "get_plan")
    assert code == 200, answer
    text: str = answer["result"]["plan"]
    return text


def update(web: Web, run: Running, plan: str, **more: Any) -> tuple[int, Any]:
    code, answer = web.rest(run.headers, "update_plan", plan=plan, **more)
    return code, answer["result"] if code == 200 else answer["error"]


def adding(plan: str, *lines: str) -> str:
    """The document with children at the end of its root."""
    head, _, tail = plan.partition("\nseen:")
    head += "" if "\n  children:" in head else "\n  children:"
    return head + "".join(f"\n    {line}" for line in lines) + f"\nseen:{tail}"


def test_an_agent_plans_children_while_it_runs_and_waits_for_them(web, run):
    plan = adding(
        plan_of(web, run),
        "- new: parser",
        "  goal: The parser",
        "- new: docs",
        "  goal: The docs",
        "  depends_on: [parser]",
    )
    shown = [
        f"add parser The parser, under a{run.agent_id}",
        f"add docs The docs, under a{run.agent_id}",
        "depend docs The docs: depends_on nothing -> 'parser'",
    ]
    would = {"changes": shown, "note": "2 add, 1 depend: would be changed"}
    assert update(web, run, plan, preview=True) == (200, would)
    assert not Agent.objects.filter(parent_id=run.agent_id).exists()
    code, answer = update(web, run, plan)
    assert (code, answer["note"]) == (200, "2 add, 1 depend: changed")
    parser, docs = Agent.objects.filter(parent_id=run.agent_id).order_by("pk")
    assert (parser.state, docs.decision["code"]) == (AgentState.QUEUED, "blockers")
    assert update(web, run, plan) == (200, {"changes": [], "note": "nothing to do: applied before, as plan 1"})
    row = AppliedPlan.objects.get()
    assert row.actor == f"agent:{run.agent_id}"
    assert Event.objects.filter(stream=f"execution:{run.execution_id}", kind="plan.asked").count() == 1
    end(run)
    assert run.agent.state == AgentState.WAITING
    assert [str(found) for law in invariants.LAWS for found in law()] == []


def test_its_own_node_and_what_is_above_stay_as_they_are(web, run):
    child = planning(make_child(run.agent, title="A part"))
    before = Agent.objects.count()
    plan = plan_of(web, child)
    assert (
        f"id: a{child.agent_id}" in plan and f"a{run.agent_id}" not in plan.partition("seen:")[0].partition("base:")[2]
    )
    for old, new in (
        ("goal: A part", "goal: Something easier"),
        ("goal: A part", "goal: A part\n  acceptance: ['true']"),
        ("goal: A part", "goal: A part\n  budget: {usd: 100}"),
        ("goal: A part", "goal: A part\n  priority: 1000"),
        ("profile: orchestrator", "profile: micro"),
    ):
        code, said = update(web, child, plan.replace(old, new))
        assert code == 422 and "you cannot change your own node, only what is below it" in said, said
    code, said = update(web, child, plan.replace(f"id: a{child.agent_id}", f"id: a{run.agent_id}"))
    assert code == 422 and f"the root must stay a{child.agent_id}" in said
    assert Agent.objects.count() == before and not AppliedPlan.objects.exists()


def test_nodes_of_others_cannot_be_named(web, run, tmp_path):
    mine = make_child(run.agent, title="Mine")
    child = planning(mine)
    sibling = make_child(run.agent, title="A sibling")
    stranger = make_agent(tmp_path / "app", title="A stranger")
    plan = plan_of(web, child)
    for other in (sibling, stranger, run.agent, Agent(pk=10**9)):
        code, said = update(web, child, adding(plan, f"- id: a{other.pk}", "  goal: taken over"))
        assert code == 422 and f"a{other.pk} is no node of this tree" in said, said
        code, said = update(web, child, adding(plan, "- new: x", "  goal: x", f"  depends_on: [a{other.pk}]"))
        assert code == 422 and "which is not in the plan" in said, said
    assert sibling.__class__.objects.get(pk=sibling.pk).parent_id == run.agent_id


def test_its_capability_bounds_what_it_plans(web, run):
    hold(run, children=2, depth=1, share=40)
    plan = plan_of(web, run)
    three = [line for n in range(3) for line in (f"- new: n{n}", "  goal: g")]
    code, said = update(web, run, adding(plan, *three))
    assert code == 422 and "would have 3 children, cancelled ones included, and 2 are allowed" in said
    code, said = update(web, run, adding(plan, "- new: n", "  goal: g", "  children:", "  - new: m", "    goal: g"))
    assert code == 422 and "m would be at depth 2, and 1 is the deepest allowed" in said
    code, said = update(web, run, adding(plan, "- new: n", "  goal: g", "  budget: {share: 50}"))
    assert code == 422 and "a child may get 40 % of your budget at most, not 50 %" in said
    control.raise_limit(run.agent.stream, actor="cli:test", usd_micros=2_000_000)
    code, said = update(web, run, adding(plan, "- new: n", "  goal: g", "  budget: {usd: 3}"))
    assert code == 422 and "your own budget is $2; a child cannot have $3" in said
    code, said = update(web, run, adding(plan, "- new: n", "  goal: g", "  profile: nobody"))
    assert code == 422 and "there is no profile 'nobody'" in said
    code, said = update(web, run, adding(plan, "- new: n", "  goal: g", "  priority: 7"))
    assert code == 422 and "its priority may be 0 at most" in said
    assert not Agent.objects.filter(parent_id=run.agent_id).exists()
    assert update(web, run, adding(plan, "- new: n", "  goal: g", "  budget: {share: 40}"))[0] == 200
    tools = [name for name in capabilities.from_json(run.agent.capability).tools if name != "update_plan"]
    hold(run, tools=tools)
    assert update(web, run, adding(plan, "- new: o", "  goal: g"))[0] == 404


def test_a_run_that_is_over_and_a_pause_close_the_door(web, run):
    plan = adding(plan_of(web, run), "- new: n", "  goal: g")
    control.pause(run.agent.root_key, actor="cli:test")
    code, said = update(web, run, plan)
    assert code == 422 and "the tree is paused" in said
    control.unpause(run.agent.root_key, actor="cli:test")
    reach = Reach(
        agent_id=run.agent_id, execution_id=run.execution_id, fence=run.fence + 1, children=9, levels=9, share=9
    )
    with pytest.raises(NotAllowedError, match="your run is over"):
        plans.apply(run.agent_id, plan, actor="agent:1", reach=reach)
    assert not AppliedPlan.objects.exists() and not Agent.objects.filter(parent_id=run.agent_id).exists()
    end(run, OutcomeKind.BLOCKED)
    assert web.rest(run.headers, "update_plan", plan=plan)[0] == 401


def test_a_stale_document_and_a_foreign_base_are_refused(web, run):
    plan = plan_of(web, run)
    late = make_child(run.agent, title="Late")
    code, said = update(web, run, adding(plan, "- new: n", "  goal: g"))
    assert code == 422 and f"a{late.pk} is new (Late)" in said and "Export it again" in said
    code, said = update(web, run, plan_of(web, run), base="7-0123456789abcdef")
    assert code == 422 and "take both from one get_plan" in said


def test_hostile_documents_are_told_what_is_wrong(web, run):
    for text in (
        "a: &a [*a]",
        "!!python/object:os.system {}",
        "[" * 50_000,
        "\x00",
        "version: 1",
        "x" * 900_000,
        "\ud800",
    ):
        code, said = update(web, run, text)
        assert code == 422 and len(said) < 5_000, (code, said[:200])


def test_a_goal_that_changes_while_its_agent_works_is_worked_on_again(run):
    child = running(make_child(run.agent, title="A part"))
    text = plans.export(run.agent_id).text
    done = plans.apply(run.agent_id, text.replace("goal: A part", "goal: Another part"), actor="cli:test")
    assert [change.kind for change in done.changes] == ["change"]
    told = child.agent.messages.get()
    assert "Your task was changed while you work on it" in told.post.text and "Another part" in told.post.text
    first = child.execution_id
    end(child)
    after = child.agent
    assert (after.state, after.execution_id != first) == (AgentState.QUEUED, True), after.decision
    assert tracker.get_issue(after.issue_id).title == "Another part"


def ended(run: Running) -> None:
    """End a run with a report of `done` that nobody has applied yet."""
    result = Result(outcome=Outcome(kind=OutcomeKind.DONE, summary="done"), head=run.agent.base, changed=False)
    assert executions.end(run.execution_id, token=run.fence, state=State.SUCCEEDED, reason="ended", result=result)


def rename(run: Running, title: str) -> None:
    plan = plans.export(run.agent_id).text.replace("goal: A part", f"goal: {title}")
    assert plans.apply(run.agent_id, plan, actor="cli:test").changes


def test_a_goal_that_changes_before_the_end_of_the_run_is_judged_is_worked_on_again(run):
    child = running(make_child(run.agent, title="A part"))
    ended(child)
    rename(run, "Another part")
    outcomes.apply(child.execution_id)
    assert (child.agent.state, child.agent.execution_id != child.execution_id) == (AgentState.QUEUED, True)


def test_a_goal_that_changes_while_the_work_is_brought_together_is_worked_on_again(run):
    child = running(make_child(run.agent, title="A part"))
    ended(child)
    done: list[str] = []

    def plan_between(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        """A person's plan, when the run has been looked at and its work is going to be merged."""
        if not done and "blocked_reason" in sql and sql.endswith('WHERE "coordinator_agent"."parent_id" = (%s)'):
            done.append(sql)
            rename(run, "Another part")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(plan_between):
        outcomes.apply(child.execution_id)
    assert done
    assert (child.agent.state, child.agent.execution_id != child.execution_id) == (AgentState.QUEUED, True)


def test_what_runs_is_stopped_when_it_is_taken_out_and_moved_only_when_it_has_ended(run):
    child, beside = running(make_child(run.agent, title="A part")), make_child(run.agent, title="Beside")
    now = plan_tree.read(run.agent_id)
    first, second = now.root.children

    def asked(*children: Node) -> str:
        plan = replace(plan_text.exported(now.root, base=now.base), root=replace(now.root, children=children))
        return plan_text.dump(plan, name="x", issue="1")

    with pytest.raises(PlanError, match=f"a{child.agent_id} cannot be moved while it is at work"):
        plans.apply(run.agent_id, asked(replace(second, children=(first,))), actor="cli:test")
    assert plans.preview(run.agent_id, asked(second)).running == 1
    plans.apply(run.agent_id, asked(second), actor="cli:test")
    row = Execution.objects.get(pk=child.execution_id)
    assert (row.stop_reason, child.agent.state, beside.pk) == ("cancelled", AgentState.ABANDONED, int(second.id[1:]))
    result = Result(outcome=None, head="", changed=False)
    assert executions.end(row.pk, token=child.fence, state=State.CANCELLED, reason="cancelled", result=result)
    outcomes.apply(row.pk)
    assert child.agent.envelope.live == 0 and [str(found) for law in invariants.LAWS for found in law()] == []


def test_what_is_still_being_made_counts_whichever_tool_asked_for_it(web, run):
    """On GitHub, issues take a while: nobody gets twice as many children by asking twice."""
    hold(run, children=1)
    plan = adding(plan_of(web, run), "- new: n", "  goal: g")
    busy = Repository.objects.filter(pk=run.agent.repository_id)
    busy.update(outbox_lease_until=timezone.now() + timedelta(hours=1))  # another process writes just now
    asked = {"children": [{"key": "k", "title": "K"}]}
    assert web.rest(run.headers, "spawn_agents", **asked)[0] == 200
    code, said = update(web, run, plan)
    assert code == 422 and "would have 2 children, cancelled ones included, and 1 are allowed" in said, said
    hold(run, children=2)
    assert update(web, run, plan)[0] == 200
    code, answer = web.rest(run.headers, "spawn_agents", children=[{"key": "l", "title": "L"}])
    assert code == 422 and "asked for 1 sub-issues beside 2, and 2 are allowed" in answer["error"], answer
    busy.update(outbox_lease_until=None)
    sweeps.sweep()
    assert Agent.objects.filter(parent_id=run.agent_id).count() == 2
