from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.github import quota
from tracker.github.quota import Headroom
from tracker.models import Quota
from tracker.public_errors import RateLimitedError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def headroom(remaining: int, *, limit: int = 5_000, minutes: float = 30) -> Headroom:
    return Headroom(limit=limit, remaining=remaining, reset_at=NOW + timedelta(minutes=minutes))


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


# --- reads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remaining", [5_000, 2_000, 1_000])
def test_a_good_quota_costs_no_time(remaining: int) -> None:
    assert quota.pause_seconds(headroom(remaining), now=NOW) == 0


def test_reads_slow_down_smoothly() -> None:
    pauses = [quota.pause_seconds(headroom(remaining), now=NOW) for remaining in range(1_000, 99, -50)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0 < pauses[1] < 0.2
    assert pauses[-1] == quota.LONGEST_PAUSE_SECONDS


@given(st.integers(0, 5_000), st.floats(-60, 120))
def test_no_pause_is_long(remaining: int, minutes: float) -> None:
    try:
        assert 0 <= quota.pause_seconds(headroom(remaining, minutes=minutes), now=NOW) < 2
    except RateLimitedError:
        assert remaining < 100 and minutes > 0


def test_the_last_of_the_quota_is_kept() -> None:
    quota.pause_seconds(headroom(100), now=NOW)
    with pytest.raises(RateLimitedError) as caught:
        quota.pause_seconds(headroom(99), now=NOW)
    assert caught.value.retry_at == NOW + timedelta(minutes=30)


def test_an_hour_that_is_over_does_not_count() -> None:
    assert quota.pause_seconds(headroom(0, minutes=-1), now=NOW) == 0
    assert quota.pause_seconds(Headroom(limit=5_000, remaining=0, reset_at=None), now=NOW) == 0


def test_a_limit_named_by_github_holds_until_it_ends() -> None:
    blocked = quota.blocked(headroom(5_000), until=after(10))
    with pytest.raises(RateLimitedError):
        quota.pause_seconds(blocked, now=NOW)
    assert quota.pause_seconds(blocked, now=after(10)) == 0


# --- writes --------------------------------------------------------------------------------------------------------


def writes(row: Quota, moments: list[float], *, gap: float = 1) -> list[datetime]:
    found = []
    for moment in moments:
        slot = quota.next_write(row, now=after(moment), gap_seconds=gap)
        row.minute_at, row.minute_writes = slot.minute_at, slot.minute_writes
        row.hour_at, row.hour_writes = slot.hour_at, slot.hour_writes
        found.append(slot.starts_at)
    return found


def test_writes_keep_their_distance() -> None:
    assert writes(Quota(), [0, 0, 0.5]) == [after(0), after(1), after(2)]
    assert writes(Quota(), [0, 5, 5.2]) == [after(0), after(5), after(6)]


def test_a_pause_saves_nothing_up() -> None:
    assert writes(Quota(), [0, 0, 50, 50, 50]) == [after(moment) for moment in (0, 1, 50, 51, 52)]


@given(st.lists(st.floats(0, 300), min_size=2, max_size=200), st.floats(0.01, 3))
def test_no_minute_has_more_writes_than_github_allows(moments: list[float], gap: float) -> None:
    found = writes(Quota(), sorted(moments), gap=gap)
    distance = timedelta(seconds=max(gap, 1)) - timedelta(microseconds=10)
    assert all(later - earlier >= distance for earlier, later in itertools.pairwise(found))


def test_an_hour_has_so_many_writes() -> None:
    row = Quota()
    writes(row, [second * 2.0 for second in range(quota.WRITES_AN_HOUR)])
    with pytest.raises(RateLimitedError) as caught:
        writes(row, [1_000])
    assert caught.value.retry_at == after(3_600)
    assert writes(row, [3_600]) == [after(3_600)]


def test_a_double_of_github_has_no_limits_of_ours() -> None:
    assert set(writes(Quota(), [0] * 1_000, gap=0)) == {NOW}


# --- what answers say ----------------------------------------------------------------------------------------------


def headers(**changed: str) -> dict[str, str]:
    known = {
        "x-ratelimit-limit": "5000",
        "x-ratelimit-remaining": "4000",
        "x-ratelimit-reset": str(int(after(60).timestamp())),
        "x-ratelimit-resource": "core",
    }
    return known | {f"x-ratelimit-{name}": value for name, value in changed.items()}


def test_an_answer_tells_the_quota() -> None:
    expected = Headroom(limit=5_000, remaining=4_000, reset_at=after(60))
    assert quota.said(headers(), now=NOW) == expected
    assert quota.said(headers(remaining="4000.0"), now=NOW) == expected


@pytest.mark.parametrize(
    "told",
    [
        {},
        headers(resource="graphql"),
        headers(resource="search"),
        headers(limit="0"),
        headers(remaining="-1"),
        headers(remaining="many"),
        headers(remaining="inf"),
        headers(limit="9" * 30),
        headers(remaining="5001"),
    ],
)
def test_other_answers_tell_nothing(told: dict[str, str]) -> None:
    assert quota.said(told, now=NOW) is None
