"""A parent's money bounds its whole subtree, days, soft limits, the breaker on progress, and every launch pays."""

from __future__ import annotations

import ast
import io
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import InterfaceError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agentgrid.supervisor import ROOT
from coordinator import invariants
from coordinator.care import days, limits, repositories
from coordinator.ending import setbacks
from coordinator.gateway import owner, settling
from coordinator.gateway.admission import Admitted
from coordinator.gateway.inputs import Input
from coordinator.gateway.settling import Ended
from coordinator.gateway.wanted import Wanted
from coordinator.launching import dispatch
from coordinator.models import (
    Agent,
    AuditEntry,
    Envelope,
    GatewayProcess,
    LedgerEntry,
    Message,
    ModelCall,
    Nudge,
)
from coordinator.money import budgets, soft_limits, spending
from coordinator.operating import control
from coordinator.public_types import AgentState, Answer, ScopeKind, Source, Usage
from coordinator.reading import queries
from coordinator.talk import handing_back
from coordinator.trees import plan_moves, spawning
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid.models import Event, Execution
from grid.public_types import Caller, ChildProposal
from tests.factories import make_agent, make_child, make_execution, make_git_repository

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(tmp_path: Path) -> Agent:
    return make_agent(make_git_repository(tmp_path / "app"))


def manage(*args: str) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out, no_color=True)
    return out.getvalue()


def tree() -> Envelope:
    return Envelope.objects.get(kind="tree")


def fresh(row: Envelope) -> Envelope:
    return Envelope.objects.get(pk=row.pk)


def nudge(agent: Agent, source: Source = Source.OPERATOR) -> Nudge:
    return dispatch.nudge(agent.pk, source=source)


def code(row: Nudge) -> str:
    assert row.decision is not None
    return str(row.decision["code"])


def pay(agent: Agent, usd: int, tokens: int = 0) -> UUID:
    """One settled model call of an agent."""
    call = ModelCall(agent=agent, execution_id=uuid4(), provider="anthropic", model="m")
    path = [row.pk for row in budgets.path_of(fresh(agent.envelope))]
    held = spending.reserve(path=path, call=call, usd_micros=usd, tokens=tokens)
    assert not isinstance(held, spending.Shortage), held
    assert spending.settle(call.pk, usd_micros=usd, usage=Usage(input_tokens=tokens))
    return call.pk


def end_run(agent: Agent) -> None:
    """Forget the agent's present run as if it had ended and been applied; its reservation is settled."""
    agent.refresh_from_db()
    Execution.objects.filter(subject=agent.subject).update(state="failed", ended_at=timezone.now())
    assert agent.execution_id is not None
    budgets.settle(execution_id=agent.execution_id, executions=1, wall_seconds=1, agent=agent)
    Agent.objects.filter(pk=agent.pk).update(is_applied=True, state=AgentState.QUEUED)


# --- nesting ----------------------------------------------------------------------------------------------------------


def test_the_money_of_a_parent_bounds_all_its_descendants(root):
    child = make_child(root)
    grandchild = make_child(child)
    pay(grandchild, 500)
    spent = {row.key: row.usd_spent_micros for row in budgets.path_of(fresh(grandchild.envelope))}
    assert set(spent.values()) == {500}
    assert list(spent)[-3:] == [f"agent:{one.pk}" for one in (root, child, grandchild)]
    budgets.set_limits(f"agent:{child.pk}", {"usd_micros": 600})
    call = ModelCall(agent=grandchild, execution_id=uuid4(), provider="anthropic", model="m")
    short = spending.reserve(path=grandchild.envelope.path_ids, call=call, usd_micros=101, tokens=0)
    assert isinstance(short, spending.Shortage)
    assert short.scope == f"agent:{child.pk}"
    pay(grandchild, 100)
    pay(make_child(root), 100)  # a sibling of the full one
    assert list(invariants.budgets_add_up()) == []


def test_a_child_gets_its_limits_at_its_first_launch_from_what_is_left_then(root):
    pay(root, 12_000_000)
    child = make_child(root)
    nudge(root)
    end_run(root)
    assert code(nudge(child)) == "admitted"
    # The shipped worker has half of what its parent has left: 20 - 12 = 8 dollars.
    assert fresh(child.envelope).usd_limit_micros == 4_000_000
    event = Event.objects.get(kind="budget.lowered", stream=f"agent:{child.pk}")
    assert event.rows[0]["set"]["usd_limit_micros"] == 4_000_000
    pay(root, 7_000_000)
    end_run(child)
    nudge(child)
    assert fresh(child.envelope).usd_limit_micros == 4_000_000  # once, and the path keeps the law


def test_a_parent_that_starts_after_its_children_gets_its_share_on_top_of_what_they_used(root):
    child = make_child(root)
    grandchild = make_child(child)
    nudge(grandchild)
    end_run(grandchild)
    pay(grandchild, 9_000_000)
    assert code(nudge(child)) == "admitted"
    own = fresh(child.envelope)
    assert own.usd_limit_micros == 9_000_000 + 5_500_000  # half of the 11 dollars that are left
    assert own.executions_limit > own.executions_spent + own.executions_reserved
    assert list(invariants.budgets_add_up()) == []


def test_who_was_moved_meanwhile_is_paid_for_and_counted_where_it_is_now(root):
    first, second = make_child(root), make_child(root)
    stale = Agent.objects.select_related("envelope").get(pk=second.pk)
    assert plan_moves.rehang(second, parent=first)
    policy = repositories.effective_policy(repositories.policy_of(root.repository_id))
    levels = days.path(stale.envelope, repository_id=root.repository_id, policy=policy, at=timezone.now())
    assert [row.pk for row in levels] == fresh(second.envelope).path_ids
    late = make_child(stale)
    assert fresh(late.envelope).ancestors == fresh(second.envelope).lineage
    assert [*invariants.envelopes_nest(), *invariants.budgets_add_up()] == []


def test_a_run_whose_end_was_noticed_late_pays_no_more_time_than_was_set_aside(root):
    nudge(root)
    root.refresh_from_db()
    held = tree().wall_reserved_seconds
    budgets.set_limits(f"tree:{root.pk}", {"wall_seconds": held})
    assert root.execution_id is not None
    budgets.settle(execution_id=root.execution_id, executions=1, wall_seconds=held + 5_000, agent=root)
    assert (tree().wall_reserved_seconds, tree().wall_spent_seconds) == (0, held)
    assert list(invariants.budgets_add_up()) == []


def test_a_tree_whose_money_is_spent_starts_nothing_and_says_what_to_raise(root):
    pay(root, 20_000_000)
    row = nudge(root)
    assert code(row) == "budget"
    assert row.decision["reason"].startswith("tree: $20.00 of $20.00 are used")
    assert f"manage.py budget raise tree:{root.pk} --usd" in row.decision["reason"]
    assert not Execution.objects.exists()
    control.raise_limit(f"tree:{root.pk}", actor="me", usd_micros=30_000_000)
    assert dispatch.decide_again(root.pk).code == "admitted"


def test_whoever_ends_a_whole_tree_begins_at_its_leaves_as_the_end_of_a_run_does(root):
    make_child(make_child(root))
    with CaptureQueriesContext(connection) as queries:
        control.cancel(root.pk, actor="me")
    held = [query["sql"] for query in queries if '"coordinator_agent"."depth" DESC' in query["sql"]]
    assert len(held) == 1
    states = Agent.objects.values_list("state", flat=True)
    assert set(states) == {AgentState.ABANDONED}


def test_a_launch_reserves_tool_calls_and_never_more_than_are_left(root):
    nudge(root)
    run = Execution.objects.get()
    assert (run.spec["limits"]["tool_calls"], fresh(root.envelope).tool_calls_reserved) == (1_000, 1_000)
    end_run(root)
    Envelope.objects.filter(kind="tree").update(tool_calls_limit=30)
    nudge(root)
    root.refresh_from_db()
    assert Execution.objects.get(pk=root.execution_id).spec["limits"]["tool_calls"] == 30
    row = nudge(make_child(root))
    assert code(row) == "budget"
    assert "30 of 30 tool calls" in row.decision["reason"]
    assert f"manage.py budget raise tree:{root.pk} --tool-calls" in row.decision["reason"]
    assert invariants.violations() == []


def test_every_reservation_is_told_with_its_rows(root):
    nudge(root)
    end_run(root)
    for kind, amount in (("budget.reserved", 1_000), ("budget.settled", 0)):
        event = Event.objects.get(kind=kind)
        assert event.stream == f"agent:{root.pk}"
        told = {row["id"]: row["set"] for row in event.rows}
        entries = LedgerEntry.objects.filter(kind="reserve" if kind == "budget.reserved" else "settle")
        assert set(told) == set(entries.values_list("pk", flat=True))
        assert {one["tool_calls"] for one in told.values()} == {amount}


# --- children ---------------------------------------------------------------------------------------------------------


def test_a_full_budget_of_children_refuses_what_an_agent_asks_for(root):
    budgets.set_limits(f"tree:{root.pk}", {"children": 3})
    child = make_child(root)
    two = [ChildProposal(key=key, title=key, body="") for key in ("a", "b")]
    assert spawning.complaint(child, two[:1]) == ""
    assert "no budget for so many sub-issues: tree: 2 of 3 children" in spawning.complaint(child, two)


def test_one_child_too_many_of_a_person_waits_blocked_until_there_is_room(root):
    budgets.set_limits(f"tree:{root.pk}", {"children": 2})
    make_child(root)
    late = make_child(root)
    late.refresh_from_db()
    assert (late.state, late.envelope.is_counted) == (AgentState.BLOCKED, False)
    assert f"budget raise tree:{root.pk} --children" in late.blocked_reason
    assert tree().children_spent == 2
    row = nudge(late)
    assert code(row) == "budget"
    assert "2 of 2 children" in row.decision["reason"]
    control.raise_limit(f"tree:{root.pk}", actor="me", children=3)
    nudge(late)
    late.refresh_from_db()
    assert (late.state, fresh(late.envelope).is_counted, tree().children_spent) == (AgentState.QUEUED, True, 3)
    assert invariants.violations() == []


# --- days -------------------------------------------------------------------------------------------------------------


def today(root: Agent) -> list[Envelope]:
    policy = repositories.effective_policy(repositories.policy_of(root.repository_id))
    return days.path(root.envelope, repository_id=root.repository_id, policy=policy, at=timezone.now())


def test_without_limits_of_a_day_there_are_no_days(root):
    assert [row.kind for row in today(root)] == ["fleet", "repository", "tree", "agent"]


def test_a_day_that_is_used_up_defers_until_the_next_one(root, settings):
    settings.COORDINATOR_DAY_EXECUTIONS = 1
    settings.COORDINATOR_REPOSITORY_DAY_USD = 2.5
    nudge(root)
    end_run(root)
    now = datetime.now(UTC)
    day, other = Envelope.objects.filter(kind="day").order_by("pk")
    assert (day.key, day.executions_spent, day.executions_limit) == (f"fleet:day:{now.date()}", 1, 1)
    assert (other.key, other.usd_limit_micros) == (f"repository:{root.repository_id}:day:{now.date()}", 2_500_000)
    row = nudge(root)
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    assert (code(row), row.not_before) == ("budget", midnight)
    assert f"the next day starts at {midnight:%Y-%m-%d} 00:00 UTC" in row.decision["reason"]
    # Tomorrow is another row.
    policy = repositories.effective_policy(repositories.policy_of(root.repository_id))
    later = days.path(root.envelope, repository_id=root.repository_id, policy=policy, at=midnight)
    assert [one.executions_spent for one in later if one.kind == "day"] == [0, 0]
    assert invariants.violations() == []


def test_a_raise_of_a_day_decides_what_waits_for_it_and_may_make_it(root, settings):
    settings.COORDINATOR_DAY_EXECUTIONS = 1
    nudge(root)
    end_run(root)
    nudge(root)
    key = f"fleet:day:{datetime.now(UTC).date()}"
    assert "1 of 1" in manage("budget", "show", key)
    manage("budget", "raise", key, "--executions", "5")
    assert Nudge.objects.get(agent=root, is_open=True).not_before <= timezone.now()
    manage("budget", "raise", f"repository:{root.repository_id}:day:2030-01-01", "--usd", "3")
    assert Envelope.objects.get(key__endswith="2030-01-01").usd_limit_micros == 3_000_000
    for wrong in ("fleet:day:nonsense", "tree:1:day:2030-01-01", "repository:77:day:2030-01-01"):
        with pytest.raises(CommandError):
            manage("budget", "raise", wrong, "--usd", "3")


def test_a_limit_that_is_set_during_the_day_counts_what_was_used_before(root, settings):
    child = make_child(root)
    for _ in range(2):
        nudge(root)
        end_run(root)
    pay(child, 700)
    nudge(child)  # under way: it counts as what is set aside for it
    key, fleet = f"fleet:day:{datetime.now(UTC).date()}", Envelope.objects.get(key="fleet")
    with pytest.raises(CommandError, match="has used"):
        manage("budget", "raise", key, "--executions", "2")
    assert not Envelope.objects.filter(key=key).exists()
    assert "3 of 4" in manage("budget", "raise", key, "--executions", "4")
    day = Envelope.objects.get(key=key)
    assert (day.executions_spent, day.live, day.usd_spent_micros, day.tokens_spent) == (3, 0, 700, fleet.tokens_spent)
    assert day.wall_spent_seconds == fleet.wall_spent_seconds + fleet.wall_reserved_seconds > 0
    end_run(child)
    day.refresh_from_db()
    assert (day.executions_spent, day.live) == (3, 0)  # not once more
    tomorrow = days.ensure(f"fleet:day:{datetime.now(UTC).date() + timedelta(days=1)}")
    assert (tomorrow.executions_spent, tomorrow.usd_spent_micros) == (0, 0)
    # Configured, where no row is: what was used stays allowed, and nothing starts any more.
    settings.COORDINATOR_REPOSITORY_DAY_EXECUTIONS = 1
    row = nudge(root)
    late = Envelope.objects.get(key__startswith=f"repository:{root.repository_id}:day:")
    assert (code(row), late.executions_spent, late.executions_limit) == ("budget", 3, 3)
    assert invariants.violations() == []


def stop_for_money(root: Agent, scope: str) -> None:
    """Start a run and apply its end: the gateway stopped it, because that scope has no money left."""
    nudge(root)
    root.refresh_from_db()
    assert root.execution_id is not None
    running = {"state": "running", "token": 1, "host": "h", "lease_until": timezone.now() + timedelta(minutes=1)}
    Execution.objects.filter(pk=root.execution_id).update(**running)
    Agent.objects.filter(pk=root.pk).update(state=AgentState.RUNNING)
    refused = {"code": "budget_exceeded", "reason": "r", "scope": scope}
    assert grid_agents.record_call(root.execution_id, fence=1, events=[("llm.refused", refused)])
    root.refresh_from_db()
    setbacks.out_of_money(root, grid.get_execution(root.execution_id))
    root.refresh_from_db()


def test_a_run_that_was_stopped_for_the_days_money_goes_on_tomorrow(root):
    stop_for_money(root, "fleet:day:2099-05-06")
    assert (root.state, root.not_before) == (AgentState.QUEUED, datetime(2099, 5, 7, tzinfo=UTC))


def test_a_raise_of_the_day_lets_a_run_go_on_that_was_stopped_for_its_money(root, settings):
    settings.COORDINATOR_DAY_USD = 1
    key = f"fleet:day:{datetime.now(UTC).date()}"
    stop_for_money(root, key)
    end_run(root)
    dispatch.decide_again(root.pk)
    row = Nudge.objects.get(agent=root, is_open=True)
    assert code(row) == "back-off"
    assert "day" in row.decision["reason"]
    control.raise_limit(key, actor="me", usd_micros=5_000_000)
    assert dispatch.decide_again(root.pk).code == "admitted"
    assert invariants.violations() == []


# --- soft limits ------------------------------------------------------------------------------------------------------


def test_most_of_a_limit_is_warned_of_once_and_again_after_a_raise(root):
    child = make_child(root)
    budgets.set_limits(f"agent:{child.pk}", {"usd_micros": 1_000})
    pay(child, 799)
    assert Event.objects.filter(kind="budget.warned").count() == 0
    pay(child, 1)
    pay(child, 1)
    (event,) = Event.objects.filter(kind="budget.warned")
    assert (event.stream, event.body["scope"], event.body["percent"]) == (f"agent:{child.pk}", f"agent:{child.pk}", 80)
    assert handing_back.tell_due() == 1
    assert handing_back.tell_due() == 0
    told = dict(Message.objects.values_list("agent_id", "post__text"))
    assert set(told) == {child.pk, root.pk}
    assert f"your sub-issue {child.path}" in told[root.pk]
    assert "nearly spent" in manage("budget", "show", "--issue", child.path)
    assert f"{child.issue.key}: nearly spent" in manage("status")
    budgets.set_limits(f"agent:{child.pk}", {"usd_micros": 2_000})
    assert "nearly spent" not in manage("budget", "show", "--issue", child.path)
    pay(child, 900)
    assert Event.objects.filter(kind="budget.warned").count() == 2
    assert handing_back.tell_due() == 1


def test_what_is_over_is_no_warning_any_more(root):
    child = make_child(root)
    day = budgets.ensure(kind=ScopeKind.DAY, key="fleet:day:2026-01-01", parent=budgets.get("fleet"), limits={})
    Envelope.objects.filter(pk__in=[day.pk, child.envelope_id]).update(warned_at=timezone.now())
    assert {view.key for view in queries.envelopes() if view.warned_at} == {child.stream}
    control.cancel(child.pk, actor="cli:ann")
    assert not [view for view in queries.envelopes() if view.warned_at]


@pytest.mark.parametrize(
    ("limit", "value"), [("executions_limit", 1), ("wall_limit_seconds", 0), ("tool_calls_limit", 1_000)]
)
def test_runs_are_warned_of_too(root, limit, value):
    nudge(root)
    root.refresh_from_db()
    Envelope.objects.filter(kind="tree").update(**{limit: value or tree().wall_reserved_seconds})
    wall = tree().wall_reserved_seconds - 10 if limit == "wall_limit_seconds" else 1
    budgets.settle(execution_id=root.execution_id, executions=1, wall_seconds=wall, tool_calls=900, agent=root)
    (event,) = Event.objects.filter(kind="budget.warned")
    assert event.body["scope"] == f"tree:{root.pk}"
    assert event.root == f"tree:{root.pk}"


# --- the breaker on progress ------------------------------------------------------------------------------------------


def test_a_tree_that_spends_without_progress_waits_for_a_person(root):
    Envelope.objects.filter(kind="tree").update(progress_limit_micros=1_000)
    pay(root, 999)
    assert tree().breaker_opened_at is None
    pay(root, 1)
    assert tree().breaker_opened_at is not None
    row = nudge(root, Source.SWEEP)
    assert (row.answer, code(row)) == (Answer.DEFERRED, "no-progress")
    assert "no-progress" in manage("explain", root.issue.key, "--json")
    assert "nothing starts until somebody nudges it" in manage("budget", "show", "--tree", root.issue.key)
    assert code(nudge(root, Source.OPERATOR)) == "admitted"
    assert (tree().breaker_opened_at, tree().progress_mark_micros) == (None, 1_000)
    told = Event.objects.filter(kind="budget.breaker").order_by("pk")
    assert [event.body["is_open"] for event in told] == [True, False]
    assert [event.rows[0]["table"] for event in told] == ["coordinator_envelope"] * 2


def test_accepted_work_and_a_raise_begin_the_count_anew(root):
    Envelope.objects.filter(kind="tree").update(progress_limit_micros=1_000)
    pay(root, 900)
    soft_limits.note_progress(root.envelope, why="work was accepted")
    pay(root, 900)
    assert soft_limits.stopped([tree()]) == ""
    pay(root, 100)
    assert soft_limits.stopped([tree()]) != ""
    control.raise_limit(f"tree:{root.pk}", actor="me", usd_micros=30_000_000)
    assert (soft_limits.stopped([tree()]), tree().breaker_opened_at) == ("", None)


# --- gateways that died -----------------------------------------------------------------------------------------------


def test_calls_of_a_silent_gateway_are_released_and_of_a_living_one_are_not(root):
    run = make_execution("issue:77")
    owners = [GatewayProcess.objects.create(host="h", pid=n) for n in range(2)]
    calls = []
    for process in owners:
        call = ModelCall(agent=root, execution_id=run.pk, owner=process.pk, provider="anthropic", model="m")
        assert not isinstance(
            spending.reserve(path=root.envelope.path_ids, call=call, usd_micros=10, tokens=10), spending.Shortage
        )
        calls.append(call.pk)
    assert spending.settle_orphans(timezone.now()) == 0
    GatewayProcess.objects.filter(pk=owners[0].pk).update(heartbeat_at=timezone.now() - timedelta(seconds=30))
    assert spending.settle_orphans(timezone.now()) == 1
    assert spending.settle_orphans(timezone.now()) == 0
    assert ModelCall.objects.get(pk=calls[0]).reason == "its gateway is dead"
    assert (tree().usd_reserved_micros, tree().usd_spent_micros) == (10, 10)
    event = Event.objects.get(kind="budget.released")
    assert {row["table"] for row in event.rows} == {"coordinator_modelcall", "coordinator_spendentry"}


def is_settled_behind_its_agent(queries: CaptureQueriesContext) -> bool:
    said = [query["sql"] for query in queries]
    agent = next(n for n, sql in enumerate(said) if "SELECT" in sql and 'FROM "coordinator_agent"' in sql)
    return agent < max(n for n, sql in enumerate(said) if "UPDATE coordinator_envelope" in sql)


def test_what_is_settled_when_its_run_is_over_takes_the_agent_before_the_envelopes(root):
    """As the end of that run does at this very moment; both write on the agent's stream."""
    run = make_execution(root.subject)
    Execution.objects.filter(pk=run.pk).update(state="failed", ended_at=timezone.now(), token=1)
    caller = Caller(execution_id=run.pk, fence=1, subject=root.subject, root="r", agent="command", profile={})
    path = tuple(root.envelope.path_ids)
    for _ in range(2):
        call = ModelCall(agent=root, execution_id=run.pk, provider="anthropic", model="m")
        assert not isinstance(spending.reserve(path=path, call=call, usd_micros=9, tokens=9), spending.Shortage)
    late, orphan = ModelCall.objects.order_by("started_at")
    asked = Wanted(model="m", input=Input(most_tokens=1, likely_tokens=1))
    admitted = Admitted(caller=caller, call_id=late.pk, provider="anthropic", wanted=asked, path=path)
    with CaptureQueriesContext(connection) as queries:
        settling.settle(admitted, Ended(status=None, is_charged=False))
    assert is_settled_behind_its_agent(queries)
    with CaptureQueriesContext(connection) as queries:
        assert spending.settle_orphans(timezone.now() + timedelta(hours=1)) == 1
    assert is_settled_behind_its_agent(queries)
    told = Event.objects.filter(kind="budget.released").order_by("pk").values_list("body__call", flat=True)
    assert list(told) == [str(late.pk), str(orphan.pk)]
    assert list(invariants.budgets_add_up()) == []


def test_a_gateway_goes_on_saying_that_it_lives_after_an_error_of_any_kind(monkeypatch):
    said = threading.Event()
    errors = iter([InterfaceError("the connection is gone"), OperationalError("away")])

    def stamp(_: UUID) -> None:
        for error in errors:
            raise error
        said.set()

    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(owner, "_stamp", stamp)
    monkeypatch.setitem(owner._mine, os.getpid(), (uuid4(), 0.0))
    with owner.beating():
        assert said.wait(5)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_show_is_a_tree_and_history_tells_what_moved(root):
    child = make_child(root)
    pay(child, 2_500_000, 70)
    nudge(root)
    shown = json.loads(manage("budget", "show", "--tree", root.issue.key, "--json"))["envelopes"]
    assert [row["key"] for row in shown] == [f"tree:{root.pk}", f"agent:{root.pk}", f"agent:{child.pk}"]
    assert [row["usd_spent_micros"] for row in shown] == [2_500_000] * 3
    assert [row["tool_calls_reserved"] for row in shown] == [1_000, 1_000, 0]
    manage("budget", "raise", "--tree", root.issue.key, "--tool-calls", "60000", "--children", "20")
    moved = json.loads(manage("budget", "history", f"tree:{root.pk}", "--json"))["movements"]
    assert [one["what"] for one in moved] == ["raise_limit", "reserve run", "settle call", "reserve call"]
    assert moved[0]["detail"]["after"] | {"tool_calls": 60_000, "children": 20} == moved[0]["detail"]["after"]
    words = manage("budget", "history", "--tree", root.issue.key)
    assert "tool_calls 50000 -> 60000" in words
    assert "$2.50" in words
    assert AuditEntry.objects.filter(action="raise_limit").count() == 1
    for wrong in (
        ["history"],
        ["history", "nothing:7"],
        ["show", "fleet", "--fleet"],
        ["history", "fleet", "--usd", "3"],
    ):
        with pytest.raises(CommandError):
            manage("budget", *wrong)


@pytest.mark.parametrize(
    ("said", "usd", "tokens", "words"),
    [
        ("tree_usd: 3, tree_tokens: 1000000", 3_000_000, 1_000_000, "$3.00 for models, 1,000,000 tokens of models"),
        ("tree_usd: 21, tree_tokens: 60000000", 20_000_000, 50_000_000, "$20.00 for models, 50,000,000 tokens"),
    ],
)
def test_a_policy_file_lowers_the_money_of_a_tree_and_its_prompt_tells_what_is_left(tmp_path, said, usd, tokens, words):
    path = make_git_repository(
        tmp_path / "app", {"README.md": "x", ".agentgrid.yml": f"version: 1\nlimits: {{{said}}}\n"}
    )
    manage("submit", "--repo", str(path), "--title", "Fix it", "--command", "true")
    assert (tree().usd_limit_micros, tree().tokens_limit) == (usd, tokens)
    assert words in Execution.objects.get().prompt
    refused = repositories.effective_policy(repositories.policy_of(Agent.objects.get().repository_id)).not_granted
    assert refused == ({"tree_usd": 21, "tree_tokens": 60_000_000} if usd == 20_000_000 else {})


# --- limits that nobody reads -----------------------------------------------------------------------------------------


def test_every_limit_has_a_gate_that_reads_it():
    assert limits.problems(limits.configurable()) == []
    limits.require()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policy bogus": None}, "'policy bogus' is configured and read by nobody"),
        (
            {"setting tree_tokens": "coordinator.agents.roster:gone"},
            "the gate of the limit 'setting tree_tokens' is gone",
        ),
        ({"setting tree_tokens": "coordinator.nowhere"}, "the gate of the limit 'setting tree_tokens' is gone"),
        ({"policy attempts": "coordinator.rules.breaker:is_idle"}, "'policy attempts' is not read by its gate"),
        # Its name is a part of another one that is read there.
        (
            {"policy concurrency": "coordinator.care.repositories:cap_tree"},
            "'policy concurrency' is not read by its gate",
        ),
    ],
)
def test_a_limit_without_a_gate_fails_start_up(changes, words, monkeypatch):
    gates = {**limits.GATES, **{name: gate for name, gate in changes.items() if gate}}
    names = [*limits.configurable(), *(name for name, gate in changes.items() if gate is None)]
    assert [words in problem for problem in limits.problems(names, gates)] == [True]
    monkeypatch.setattr(limits, "configurable", lambda: iter(names))
    monkeypatch.setattr(limits, "problems", lambda found: _problems(found, gates))
    assert [message.id for message in limits.check()] == ["coordinator.E001"]
    with pytest.raises(ImproperlyConfigured, match="limit"):
        limits.require()


_problems = limits.problems


# --- every path pays --------------------------------------------------------------------------------------------------


ALLOWED = {
    ("grid", "launch"): {"coordinator/launching/dispatch.py"},
    ("budgets", "reserve"): {"coordinator/launching/room.py", "coordinator/public_testing.py"},
    ("room", "set_aside"): {"coordinator/launching/dispatch.py"},
    ("spending", "reserve"): {"coordinator/gateway/admission.py"},
    ("executions", "queue"): {"grid/public_api.py", "grid/public_testing.py"},
    # It pays for nothing: it repeats what the day's scope has paid.
    ("LedgerEntry.objects", "create"): {"coordinator/money/day_opening.py"},
    ("SpendEntry.objects", "create"): {"coordinator/money/day_opening.py"},
}


def callers(owner: str, name: str) -> set[str]:
    """Modules of ours that call `owner.name(…)`."""
    found = set()
    for package in ("agentgrid", "bench", "coordinator", "grid", "tracker"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            if f"{owner}.{name}" not in text:
                continue
            calls = (node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
            if any(isinstance(call, ast.Attribute) and ast.unparse(call) == f"{owner}.{name}" for call in calls):
                found.add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize(("call", "places"), ALLOWED.items(), ids=[".".join(call) for call in ALLOWED])
def test_every_launch_and_every_model_call_pays(call, places):
    assert {place for place in callers(*call) if not place.startswith("bench/")} == places
