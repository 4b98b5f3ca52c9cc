"""Law 2: reserved and spent stay within the limit and equal the ledger, whoever asks at the same time."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import pytest
from django.db import connection
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coordinator import budgets, invariants
from coordinator.models import Envelope, LedgerEntry
from coordinator.public_types import ScopeKind


def make_path(**limits: int | None) -> list[Envelope]:
    fleet = budgets.ensure(kind=ScopeKind.FLEET, key="fleet", parent=None, limits={})
    tree = budgets.ensure(kind=ScopeKind.TREE, key="tree:1", parent=fleet, limits=limits)
    return [fleet, tree, budgets.ensure(kind=ScopeKind.AGENT, key="agent:1", parent=tree, limits={})]


def reserve(path: list[Envelope], wall: int = 10) -> UUID | None:
    execution = uuid4()
    return execution if budgets.reserve(path=path, execution_id=execution, wall_seconds=wall) else None


@pytest.mark.django_db
def test_a_reservation_takes_from_every_level_or_from_none():
    path = make_path(executions_limit=1)
    assert reserve(path) is not None
    assert reserve(path) is None
    assert [Envelope.objects.get(pk=e.pk).executions_reserved for e in path] == [1, 1, 1]
    assert LedgerEntry.objects.count() == 3


@pytest.mark.django_db
def test_settling_twice_counts_once():
    path = make_path()
    execution = reserve(path)
    assert budgets.settle(execution_id=execution, executions=1, wall_seconds=3)
    assert not budgets.settle(execution_id=execution, executions=1, wall_seconds=3)
    row = Envelope.objects.get(key="tree:1")
    assert (row.live, row.executions_spent, row.wall_spent_seconds, row.wall_reserved_seconds) == (0, 1, 3, 0)


@pytest.mark.django_db
def test_settling_what_was_never_reserved_does_nothing():
    make_path()
    assert not budgets.settle(execution_id=uuid4(), executions=1, wall_seconds=1)


@pytest.mark.django_db
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["reserve", "settle", "pause", "unpause"]), st.integers(1, 40)), max_size=25))
def test_any_order_of_acts_keeps_the_law(acts):
    LedgerEntry.objects.all().delete()
    for kind in ("agent", "tree", "fleet"):
        Envelope.objects.filter(kind=kind).delete()
    path = make_path(max_live=3, executions_limit=8, wall_limit_seconds=100)
    live: list[UUID] = []
    for act, amount in acts:
        if act == "reserve":
            is_paused = Envelope.objects.get(key="tree:1").paused_at is not None
            execution = reserve(path, wall=amount)
            assert not (is_paused and execution)
            live += [execution] if execution else []
        elif act == "settle" and live:
            budgets.settle(execution_id=live.pop(0), executions=1, wall_seconds=amount % 5)
        elif act == "pause":
            budgets.pause("tree:1", actor="me", now=budgets.now())
        elif act == "unpause":
            budgets.unpause("tree:1")
        assert list(invariants.budgets_add_up()) == []
        assert Envelope.objects.get(key="tree:1").live <= 3


@pytest.mark.django_db(transaction=True)
def test_racing_reservations_never_pass_the_limit():
    path = make_path(executions_limit=20, max_live=None)
    granted: list[UUID] = []
    barrier = threading.Barrier(8)

    def race() -> None:
        barrier.wait()
        for n in range(10):
            execution = reserve(path)
            if execution is not None:
                granted.append(execution)
                if n % 3 == 0:
                    budgets.settle(execution_id=execution, executions=0, wall_seconds=0)
        connection.close()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = Envelope.objects.get(key="tree:1")
    assert len(granted) >= 20
    assert row.executions_reserved + row.executions_spent <= 20
    assert list(invariants.budgets_add_up()) == []
