"""Token buckets of agents' calls."""

from __future__ import annotations

from coordinator.web.rates import Rates


def test_a_burst_is_let_through_and_then_so_many_a_second():
    rates = Rates(per_second=20, burst=50)
    assert sum(rates.take("a", now=0.0) == 0 for _ in range(1_000)) == 50
    assert sum(rates.take("a", now=1.0) == 0 for _ in range(1_000)) == 20
    assert sum(rates.take("a", now=1.05) == 0 for _ in range(10)) == 1


def test_whoever_is_refused_learns_how_long_to_wait():
    rates = Rates(per_second=2, burst=1)
    assert rates.take("a", now=0.0) == 0
    assert rates.take("a", now=0.0) == 0.5
    assert rates.take("a", now=0.5) == 0


def test_one_caller_costs_another_nothing():
    rates = Rates(per_second=1, burst=1)
    assert [rates.take(key, now=0.0) for key in ("a", "b", "a")] == [0, 0, 1]


def test_refusals_are_counted_once():
    rates = Rates(per_second=1, burst=1)
    for _ in range(5):
        rates.take("a", now=0.0)
    assert [rates.refusals("a"), rates.refusals("a"), rates.refusals("nobody")] == [4, 0, 0]


def test_a_clock_is_never_refilled_beyond_the_burst():
    rates = Rates(per_second=10, burst=3)
    rates.take("a", now=0.0)
    assert sum(rates.take("a", now=1_000.0) == 0 for _ in range(10)) == 3


def test_memory_is_bounded_and_nobody_gains_by_being_forgotten():
    rates = Rates(per_second=1, burst=1)
    rates.take("first", now=0.0)
    for number in range(3_000):
        rates.take(f"key-{number}", now=0.0)
    assert rates.take("first", now=0.0) > 0, "not full again, so it was kept"
    rates.refusals("first")
    rates.take("late", now=10.0)
    assert len(rates._buckets) == 1, "all others were full again"
