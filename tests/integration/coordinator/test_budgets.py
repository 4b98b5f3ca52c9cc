"""Law 2: reserved and spent stay within the limit and equal the ledger, whoever asks at the same time and however deep the tree."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coordinator import invariants
from coordinator.models import Envelope, LedgerEntry
from coordinator.money import budgets, spend_audit
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import ScopeKind, Violation
from coordinator.rules import budget_rules
from coordinator.rules.budget_rules import DIMENSIONS


def scope(kind: ScopeKind, key: str, parent: Envelope | None = None, **limits: int | None) -> Envelope:
    row = budgets.ensure(kind=kind, key=key, parent=parent, limits=limits)
    if kind == ScopeKind.AGENT:
        budgets.take_child(row)
    return row


def make_path(**limits: int | None) -> list[Envelope]:
    """Fleet, tree with these limits, an agent, a child of it."""
    tree = scope(ScopeKind.TREE, "tree:1", scope(ScopeKind.FLEET, "fleet"), **limits)
    return budgets.path_of(scope(ScopeKind.AGENT, "agent:2", scope(ScopeKind.AGENT, "agent:1", tree)))


def reserve(path: list[Envelope], wall: int = 10, calls: int = 0) -> UUID | None:
    execution = uuid4()
    done = budgets.reserve(path=path, execution_id=execution, wall_seconds=wall, tool_calls=calls)
    return execution if done else None


def column(path: list[Envelope], name: str) -> list[int]:
    return [getattr(Envelope.objects.get(pk=row.pk), name) for row in path]


def violations() -> list[Violation]:
    return [*invariants.budgets_add_up(), *invariants.envelopes_nest()]


# --- one at a time ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_reservation_takes_from_every_level_or_from_none():
    path = make_path(executions_limit=1)
    assert reserve(path) is not None
    assert reserve(path) is None
    assert column(path, "executions_reserved") == [1, 1, 1, 1]
    assert LedgerEntry.objects.count() == 4


@pytest.mark.django_db
def test_a_run_is_set_aside_once():
    path, execution_id = make_path(), uuid4()
    assert budgets.reserve(path=path, execution_id=execution_id, wall_seconds=5) is not None
    with pytest.raises(IntegrityError), transaction.atomic():
        budgets.reserve(path=path, execution_id=execution_id, wall_seconds=5)
    assert column(path, "executions_reserved") == [1, 1, 1, 1]
    assert violations() == []


@pytest.mark.django_db
@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize(
    ("limit", "value"), [("executions_limit", 0), ("wall_limit_seconds", 9), ("tool_calls_limit", 4)]
)
def test_a_limit_of_any_level_bounds_what_is_below(level, limit, value):
    path = make_path()
    Envelope.objects.filter(pk=path[level].pk).update(**{limit: value})
    assert reserve(path, wall=10, calls=5) is None
    (full,) = budgets.full(budgets.path_of(path[-1]), wall_seconds=10, tool_calls=5)
    assert full.scope == ("fleet", "tree", "agent:1", "agent:2")[level]
    budgets.set_limits(path[level].key, {"executions": 1, "wall_seconds": 10, "tool_calls": 5})
    assert reserve(path, wall=10, calls=5) is not None
    assert reserve(path, wall=1, calls=1) is None
    assert violations() == []


@pytest.mark.django_db
def test_the_whole_path_is_one_query_however_deep():
    path = make_path()
    row = path[-1]
    for number in range(3, 9):
        row = scope(ScopeKind.AGENT, f"agent:{number}", row)
    with CaptureQueriesContext(connection) as queries:
        found = budgets.path_of(row)
    assert len(queries) == 1
    assert [one.key for one in found] == ["fleet", "tree:1", *(f"agent:{n}" for n in range(1, 9))]
    assert violations() == []


@pytest.mark.django_db
def test_settling_twice_counts_once():
    path = make_path()
    execution = reserve(path, calls=7)
    assert budgets.settle(execution_id=execution, executions=1, wall_seconds=3, tool_calls=2)
    assert not budgets.settle(execution_id=execution, executions=1, wall_seconds=3, tool_calls=2)
    row = Envelope.objects.get(key="tree:1")
    assert (row.live, row.executions_spent, row.wall_spent_seconds, row.wall_reserved_seconds) == (0, 1, 3, 0)
    assert (row.tool_calls_spent, row.tool_calls_reserved) == (2, 0)


@pytest.mark.django_db
def test_settling_what_was_never_reserved_does_nothing():
    make_path()
    assert not budgets.settle(execution_id=uuid4(), executions=1, wall_seconds=1)


@pytest.mark.django_db
def test_a_run_that_called_more_tools_than_its_cap_is_told_as_it_was_and_no_more_start():
    path = make_path(tool_calls_limit=10)
    execution = reserve(path, calls=10)
    budgets.settle(execution_id=execution, executions=1, wall_seconds=1, tool_calls=12)
    assert violations() == []  # beyond the limit by what one run took too many, which the law allows
    assert budgets.tool_calls_for(budgets.path_of(path[-1]), cap=100) == 0
    assert reserve(path, calls=1) is None


@pytest.mark.django_db
def test_children_are_counted_on_every_level_above_and_never_beyond_a_limit():
    path = make_path(children_limit=3)
    assert column(path, "children_spent") == [2, 2, 1, 0]
    third = scope(ScopeKind.AGENT, "agent:3", path[2])
    one_too_many = scope(ScopeKind.AGENT, "agent:4", path[3])
    assert (third.is_counted, one_too_many.is_counted) == (True, False)
    assert column(path, "children_spent") == [3, 3, 2, 0]
    assert reserve(budgets.path_of(one_too_many)) is None  # what is not counted is not launched
    assert "budget raise tree:1 --children" in budgets.child_room(path[3], 1)
    budgets.set_limits("tree:1", {"children": 4})
    assert budgets.child_room(path[3], 1) == ""
    assert budgets.take_child(one_too_many)
    assert column(path, "children_spent") == [4, 4, 3, 1]
    assert reserve(budgets.path_of(one_too_many)) is not None
    assert violations() == []


@pytest.mark.django_db
def test_an_envelope_that_moves_leaves_what_it_used_where_it_was():
    path = make_path()
    other = scope(ScopeKind.AGENT, "agent:3", path[1])
    below = scope(ScopeKind.AGENT, "agent:4", path[3])
    live = reserve(budgets.path_of(below), calls=3)
    assert budgets.move_below(path[3], other) == ""
    assert [row.key for row in budgets.path_of(Envelope.objects.get(pk=below.pk))] == [
        *("fleet", "tree:1", "agent:3", "agent:2", "agent:4")
    ]
    assert column([path[2], other], "children_spent") == [0, 2]
    budgets.settle(execution_id=live, executions=1, wall_seconds=1, tool_calls=1)
    assert column([path[2], other], "tool_calls_spent") == [1, 0]
    assert violations() == []
    with pytest.raises(ValueError, match="is below"):
        budgets.move_below(other, Envelope.objects.get(pk=below.pk))


@pytest.mark.django_db
def test_a_share_is_of_what_the_parent_has_left_at_that_moment():
    path = make_path(usd_limit_micros=1_000, executions_limit=10)
    first, second = path[3], scope(ScopeKind.AGENT, "agent:3", path[2])
    assert budgets.carve(first, share=50, limits={"tokens": 77}) == {
        "usd_limit_micros": 500,
        "tokens_limit": 77,
        "executions_limit": 5,
    }
    Envelope.objects.filter(key="tree:1").update(usd_spent_micros=600, usd_reserved_micros=100, executions_limit=2)
    # Together more than is left: the reservation along the path is what keeps the law.
    assert budgets.carve(second, share=50, limits={"usd_micros": 400}, least={"executions": 1}) == {
        "usd_limit_micros": 150,
        "executions_limit": 1,
    }
    # Only ever lower, and never above the parent.
    assert budgets.carve(second, share=90, limits={}) == {}
    assert budgets.carve(scope(ScopeKind.AGENT, "agent:5", path[2]), share=100, limits={"usd_micros": 5_000}) == {
        "usd_limit_micros": 1_000
    }


@pytest.mark.django_db
def test_a_limit_is_not_lowered_below_what_is_used():
    path = make_path(executions_limit=5)
    reserve(path, wall=10, calls=4)
    for name, value in {"executions": 0, "wall_seconds": 9, "tool_calls": 3, "children": 1}.items():
        with pytest.raises(InvalidInputError, match="has used"):
            budgets.set_limits("tree:1", {name: value})
    before, after = budgets.set_limits("tree:1", {"executions": 1, "wall_seconds": 10, "tool_calls": 4, "children": 2})
    assert (before.executions_limit, after.executions_limit, after.children_limit) == (5, 1, 2)


@pytest.mark.django_db
def test_every_counter_that_differs_from_its_entries_breaks_the_law():
    path = make_path()
    budgets.settle(execution_id=reserve(path, calls=3), executions=1, wall_seconds=4, tool_calls=2)
    reserve(path, calls=5)
    assert violations() == []
    for name in spend_audit.COUNTERS:
        Envelope.objects.filter(key="agent:1").update(**{name: F(name) + 1})
        assert [violation.subject for violation in violations()] == ["agent:1"], name
        Envelope.objects.filter(key="agent:1").update(**{name: F(name) - 1})


# --- any order of acts ------------------------------------------------------------------------------------------------


LIMITS = {"executions": 8, "wall_seconds": 120, "tool_calls": 60, "children": 5, "usd_micros": None, "tokens": None}
AMOUNT = st.integers(1, 40)


class Acts(RuleBasedStateMachine):
    """Nested agents that are taken on, carved, launched, settled, moved, paused and raised, on two days."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[UUID] = []
        self.settled: list[UUID] = []
        self.agents: list[Envelope] = []
        self.days: list[Envelope] = []
        self.refused = 0

    @initialize()
    def begin(self) -> None:
        LedgerEntry.objects.all().delete()
        for depth in range(Envelope.objects.count(), -1, -1):
            Envelope.objects.filter(
                pk__in=[row.pk for row in Envelope.objects.all() if row.ancestors.count("/") == depth]
            ).delete()
        fleet = scope(ScopeKind.FLEET, "fleet", max_live=4)
        limits = {DIMENSIONS[name].limit: value for name, value in LIMITS.items()}
        self.tree = scope(ScopeKind.TREE, "tree:1", fleet, **limits)
        self.days = [scope(ScopeKind.DAY, f"fleet:day:2026-11-{n}", fleet, executions_limit=3) for n in (28, 29)]
        self.agents = [scope(ScopeKind.AGENT, "agent:1", self.tree)]

    def levels(self, number: int, day: int) -> list[Envelope]:
        path = budgets.path_of(Envelope.objects.get(pk=self.pick(number).pk))
        return [*path, Envelope.objects.get(pk=self.days[day].pk)]

    def pick(self, number: int) -> Envelope:
        return self.agents[number % len(self.agents)]

    @rule(number=AMOUNT)
    def take_on(self, number: int) -> None:
        above = Envelope.objects.get(pk=self.pick(number).pk)
        self.agents.append(scope(ScopeKind.AGENT, f"agent:{len(self.agents) + 1}", above))

    @rule(number=AMOUNT, share=st.integers(1, 100), amount=st.integers(1, 3))
    def carve(self, number: int, share: int, amount: int) -> None:
        # Also after its children have run and spent: a parent may well start last.
        row = Envelope.objects.get(pk=self.pick(number).pk)
        budgets.carve(row, share=share, limits={"executions": amount}, least={"executions": 1})

    @rule(number=AMOUNT, wall=AMOUNT, calls=AMOUNT, day=st.integers(0, 1))
    def launch(self, number: int, wall: int, calls: int, day: int) -> None:
        path, execution = self.levels(number, day), uuid4()
        had_room = not budgets.full(path, wall_seconds=wall, tool_calls=calls) and path[-2].is_counted
        is_paused = bool(budgets.paused_scope(path))
        granted = budgets.reserve(path=path, execution_id=execution, wall_seconds=wall, tool_calls=calls)
        assert bool(granted) == (had_room and not is_paused)
        self.live += [execution] if granted else []

    @precondition(lambda self: self.live)
    @rule(number=AMOUNT, wall=st.integers(0, 1), calls=st.integers(0, 1), ran=st.integers(0, 1))
    def settle(self, number: int, wall: int, calls: int, ran: int) -> None:
        execution = self.live.pop(number % len(self.live))
        assert budgets.settle(execution_id=execution, executions=ran, wall_seconds=wall, tool_calls=calls)
        self.settled.append(execution)

    @precondition(lambda self: self.settled)
    @rule()
    def settle_again(self) -> None:
        assert not budgets.settle(execution_id=self.settled[-1], executions=1, wall_seconds=9, tool_calls=9)

    @rule(on=st.booleans())
    def pause(self, on: bool) -> None:
        budgets.pause("tree:1", actor="me", now=budgets.now()) if on else budgets.unpause("tree:1")

    @rule(name=st.sampled_from(sorted(LIMITS)), value=st.integers(0, 150), number=AMOUNT)
    def set_limit(self, name: str, value: int, number: int) -> None:
        row = Envelope.objects.get(pk=(self.tree if number % 2 else self.pick(number)).pk)
        fits = DIMENSIONS[name].used(row) <= value
        try:
            budgets.set_limits(row.key, {name: value})
        except InvalidInputError:
            assert not fits
        else:
            assert fits

    @rule(number=AMOUNT, other=AMOUNT)
    def move(self, number: int, other: int) -> None:
        row, above = (Envelope.objects.get(pk=self.pick(n).pk) for n in (number, other))
        if row.pk not in above.path_ids and row.pk != self.agents[0].pk:
            budgets.move_below(row, above)

    @invariant()
    def the_law_holds(self) -> None:
        assert violations() == []
        for row in Envelope.objects.all():
            for item in DIMENSIONS.values():
                limit = getattr(row, item.limit)
                assert limit is None or item.used(row) <= limit, (row.key, item.name)
            assert row.max_live is None or row.live <= row.max_live


@pytest.mark.django_db
def test_any_order_of_acts_keeps_the_law():
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Acts,
        settings=hypothesis_settings(
            max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=checks, derandomize=False
        ),
    )


# --- at once ----------------------------------------------------------------------------------------------------------


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
    assert violations() == []


@pytest.mark.django_db(transaction=True)
def test_agents_taken_on_at_once_never_pass_the_limit_of_children():
    path = make_path(children_limit=10)
    barrier = threading.Barrier(8)

    def race(first: int) -> None:
        barrier.wait()
        for n in range(4):
            scope(ScopeKind.AGENT, f"agent:{first + n}", path[2 + n % 2])
        connection.close()

    threads = [threading.Thread(target=race, args=(100 * n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agents = Envelope.objects.filter(kind=ScopeKind.AGENT)
    assert (agents.count(), agents.filter(is_counted=True).count()) == (34, 10)
    assert column(path[:2], "children_spent") == [10, 10]
    assert violations() == []


def test_a_day_begins_at_midnight_in_utc():
    key = budget_rules.day_key("repository:3", datetime(2026, 12, 31, 23, 59, tzinfo=UTC).date())
    assert key == "repository:3:day:2026-12-31"
    assert budget_rules.day_end(key) == datetime(2027, 1, 1, tzinfo=UTC)
    assert (budget_rules.day_of("tree:1"), budget_rules.day_of("fleet:day:nonsense")) == (None, None)
