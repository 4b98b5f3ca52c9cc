"""Law 2 for money and tokens: what is reserved and spent stays within the limit but for one call, and equals the ledger."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coordinator import invariants
from coordinator.models import Agent, Envelope, ModelCall, SpendEntry
from coordinator.money import budgets, spending
from coordinator.public_types import Usage
from grid.models import Execution
from tests.factories import make_agent, make_execution, make_git_repository


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return make_agent(make_git_repository(tmp_path / "repo"))


def path_of(agent: Agent, **limits: int | None) -> list[Envelope]:
    """The agent's path, its tree with these limits and the rest without any."""
    path = budgets.path_of(agent.envelope)
    Envelope.objects.update(usd_limit_micros=None, tokens_limit=None)
    Envelope.objects.filter(pk=path[-2].pk).update(**limits)
    return path


def ids(path: list[Envelope]) -> list[int]:
    return [row.pk for row in path]


def tree() -> Envelope:
    return Envelope.objects.get(kind="tree")


def new_call(agent: Agent, execution_id: UUID | None = None) -> ModelCall:
    return ModelCall(agent=agent, execution_id=execution_id or uuid4(), provider="anthropic", model="claude-x")


def reserve(agent: Agent, path: list[Envelope], usd: int | None = 10, tokens: int = 10, **likely: int) -> UUID | None:
    call = new_call(agent)
    held = spending.reserve(path=ids(path), call=call, usd_micros=usd, tokens=tokens, **likely)
    return None if isinstance(held, spending.Shortage) else call.pk


@pytest.mark.django_db
def test_a_call_takes_from_every_level_or_from_none(agent):
    path = path_of(agent, usd_limit_micros=15)
    assert reserve(agent, path) is not None
    assert reserve(agent, path) is None
    assert [Envelope.objects.get(pk=row.pk).usd_reserved_micros for row in path] == [10, 10, 10, 10]
    assert (ModelCall.objects.count(), SpendEntry.objects.count()) == (1, 4)


@pytest.mark.django_db
def test_settling_twice_counts_once_and_on_every_level(agent):
    path = path_of(agent)
    call = reserve(agent, path)
    used = Usage(input_tokens=3, output_tokens=4)
    assert spending.settle(call, usd_micros=7, usage=used)
    assert not spending.settle(call, usd_micros=7, usage=used)
    assert not spending.settle(call, usd_micros=0, usage=Usage())
    rows = [Envelope.objects.get(pk=row.pk) for row in path]
    assert {(row.usd_spent_micros, row.usd_reserved_micros, row.tokens_spent, row.tokens_reserved) for row in rows} == {
        (7, 0, 7, 0)
    }
    assert list(invariants.budgets_add_up()) == []


@pytest.mark.django_db
def test_a_call_without_metered_usage_costs_what_was_set_aside(agent):
    path = path_of(agent)
    call = reserve(agent, path, usd=10, tokens=50)
    assert spending.settle(call, usd_micros=None, usage=None, reason="the stream broke")
    row = ModelCall.objects.get()
    assert (row.usd_micros, row.input_tokens, row.is_estimated) == (10, 50, True)
    assert tree().usd_spent_micros == 10


@pytest.mark.django_db
def test_tokens_without_a_price_are_counted_as_such(agent):
    path = path_of(agent, usd_limit_micros=10, tokens_limit=100)
    call = reserve(agent, path, usd=None, tokens=60)
    assert spending.settle(call, usd_micros=None, usage=Usage(input_tokens=20, output_tokens=20))
    assert (tree().unpriced_tokens, tree().tokens_spent, tree().usd_spent_micros) == (40, 40, 0)
    assert reserve(agent, path, usd=None, tokens=61, likely_tokens=61) is None
    assert list(invariants.budgets_add_up()) == []


@pytest.mark.django_db
def test_a_model_without_a_price_is_refused_where_only_money_is_limited(agent):
    path = path_of(agent, usd_limit_micros=10_000_000)
    short = spending.reserve(path=ids(path), call=new_call(agent), usd_micros=None, tokens=1)
    assert isinstance(short, spending.Shortage)
    assert short.is_final
    assert "price" in short.words


@pytest.mark.django_db
def test_near_the_limit_one_call_gets_what_is_left_and_the_next_one_waits(agent):
    path = path_of(agent, usd_limit_micros=100)
    first = reserve(agent, path, usd=400, likely_usd_micros=50)
    assert first is not None
    assert tree().usd_reserved_micros == 100
    waits = spending.reserve(path=ids(path), call=new_call(agent), usd_micros=1, tokens=1)
    assert isinstance(waits, spending.Shortage)
    assert not waits.is_final
    spending.settle(first, usd_micros=300, usage=Usage(input_tokens=1))
    refused = spending.reserve(path=ids(path), call=new_call(agent), usd_micros=1, tokens=1)
    assert isinstance(refused, spending.Shortage)
    assert refused.is_final
    assert list(invariants.budgets_add_up()) == []  # beyond the limit by one call, which the law allows


@pytest.mark.django_db
def test_what_is_beyond_a_limit_by_more_than_one_call_breaks_the_law(agent):
    path = path_of(agent)
    for call in [reserve(agent, path, usd=10), reserve(agent, path, usd=10)]:
        spending.settle(call, usd_micros=30, usage=Usage(input_tokens=1))
    Envelope.objects.filter(pk=path[-2].pk).update(usd_limit_micros=39)
    assert [violation.subject for violation in invariants.budgets_add_up()] == [path[-2].key]
    Envelope.objects.filter(pk=path[-2].pk).update(usd_limit_micros=40)
    assert list(invariants.budgets_add_up()) == []


@pytest.mark.django_db
def test_a_paused_level_sets_nothing_aside(agent):
    path = path_of(agent)
    budgets.pause("fleet", actor="me", now=timezone.now())
    short = spending.reserve(path=ids(path), call=new_call(agent), usd_micros=1, tokens=1)
    assert isinstance(short, spending.Shortage)
    assert (short.scope, short.is_final) == ("fleet", False)


@pytest.mark.django_db
def test_calls_of_ended_executions_and_dead_gateways_are_settled_by_the_sweep(agent):
    path = path_of(agent)
    run, ended = make_execution("issue:77"), make_execution("issue:78")
    Execution.objects.filter(pk=ended.pk).update(state="lost", ended_at=timezone.now())
    ages = {"young": (ended, 1), "of ended": (ended, 60), "of live": (run, 60), "of dead gateway": (run, 5_000)}
    calls = {}
    for name, (execution, seconds) in ages.items():
        call = new_call(agent, execution.pk)
        assert not isinstance(spending.reserve(path=ids(path), call=call, usd_micros=10, tokens=10), spending.Shortage)
        ModelCall.objects.filter(pk=call.pk).update(started_at=timezone.now() - timedelta(seconds=seconds))
        calls[name] = call.pk
    assert [violation.law for violation in invariants.model_calls_are_settled()] == ["2 a reservation is released once"]
    assert spending.settle_orphans(timezone.now()) == 2
    left = set(ModelCall.objects.filter(state="reserved").values_list("pk", flat=True))
    assert left == {calls["young"], calls["of live"]}
    assert (tree().usd_reserved_micros, tree().usd_spent_micros) == (20, 20)
    assert list(invariants.model_calls_are_settled()) == []


@pytest.mark.django_db
def test_an_agent_is_warned_once_and_told_once(agent):
    path = path_of(agent, usd_limit_micros=100)
    run = make_execution(agent.subject)
    Execution.objects.filter(pk=run.pk).update(state="running", token=1, host="h", lease_until=timezone.now())
    Agent.objects.filter(pk=agent.pk).update(execution_id=run.pk)
    agent.refresh_from_db()
    spending.settle(reserve(agent, path, usd=79), usd_micros=79, usage=Usage(input_tokens=1))
    assert not spending.note_warning(ids(path), execution_id=run.pk, fence=1)
    assert spending.warning_for(agent) == ""
    spending.settle(reserve(agent, path, usd=1), usd_micros=1, usage=Usage(input_tokens=1))
    assert spending.note_warning(ids(path), execution_id=run.pk, fence=1)
    assert not spending.note_warning(ids(path), execution_id=run.pk, fence=1)
    assert "80 %" in spending.warning_for(agent)
    assert spending.warning_for(agent) == ""


ACTS = st.lists(
    st.tuples(st.sampled_from(["reserve", "unpriced", "settle", "estimate", "release"]), st.integers(1, 60)),
    max_size=25,
)


@pytest.mark.django_db
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTS)
def test_any_order_of_acts_keeps_the_law(agent, acts):
    SpendEntry.objects.all().delete()
    ModelCall.objects.all().delete()
    zero = ("usd_reserved_micros", "usd_spent_micros", "tokens_reserved", "tokens_spent", "unpriced_tokens")
    Envelope.objects.update(**dict.fromkeys(zero, 0))
    path = path_of(agent, usd_limit_micros=100, tokens_limit=200)
    live: list[UUID] = []
    for act, amount in acts:
        if act in ("reserve", "unpriced"):
            usd = amount if act == "reserve" else None
            call = reserve(agent, path, usd=usd, tokens=amount * 2, likely_usd_micros=5, likely_tokens=5)
            live += [call] if call else []
        elif live and act == "settle":
            call = live.pop(0)
            most = ModelCall.objects.get(pk=call).reserved_usd_micros
            assert spending.settle(call, usd_micros=min(amount, most), usage=Usage(input_tokens=1))
        elif live and act == "estimate":
            assert spending.settle(live.pop(), usd_micros=None, usage=None)
        elif live:
            assert spending.settle(live.pop(), usd_micros=0, usage=Usage())
        assert list(invariants.budgets_add_up()) == []
        row = tree()
        assert row.usd_reserved_micros + row.usd_spent_micros <= 100
        assert row.tokens_reserved + row.tokens_spent <= 200


@pytest.mark.django_db(transaction=True)
def test_32_parallel_calls_pass_a_nearly_spent_limit_by_one_call_at_most(agent):
    path = path_of(agent, usd_limit_micros=1_000)
    spending.settle(reserve(agent, path, usd=900), usd_micros=900, usage=Usage(input_tokens=1))
    granted: list[UUID] = []
    barrier = threading.Barrier(32)
    cost = 70

    def race() -> None:
        barrier.wait()
        call = reserve(agent, path, usd=cost * 2, likely_usd_micros=30)
        if call is not None:
            granted.append(call)
            for _ in range(2):  # two settlers of one call
                spending.settle(call, usd_micros=cost, usage=Usage(input_tokens=1))
        connection.close()

    threads = [threading.Thread(target=race) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = tree()
    assert granted
    assert row.usd_spent_micros == 900 + cost * len(granted)
    assert row.usd_spent_micros <= 1_000 + cost
    assert row.usd_reserved_micros == 0
    assert list(invariants.budgets_add_up()) == []
