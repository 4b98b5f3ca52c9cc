"""The quota's rows: shared by threads and processes, on any database."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from tracker.github import quota
from tracker.github.quota import Headroom
from tracker.models import Quota
from tracker.public_errors import RateLimitedError

pytestmark = pytest.mark.django_db(transaction=True)
ACCOUNT = "installation:12"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RESET = NOW + timedelta(minutes=30)


def heard(remaining: int, *, reset_at: datetime = RESET, limit: int = 5_000) -> None:
    quota.write_down(ACCOUNT, Headroom(limit=limit, remaining=remaining, reset_at=reset_at), now=NOW)


def row() -> Quota:
    return Quota.objects.get(account=ACCOUNT)


def reserve(*, gap: float = 1, patience: float = 100) -> datetime:
    return quota.reserve_write(ACCOUNT, now=NOW, gap_seconds=gap, longest_wait_seconds=patience)


def test_eight_writers_take_eight_slots() -> None:
    start = threading.Barrier(8)
    taken: list[datetime] = []
    failures: list[Exception] = []

    def work() -> None:
        with contextlib.closing(connection):
            try:
                start.wait(10)
                taken.extend(reserve() for _ in range(3))
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert sorted(taken) == [NOW + timedelta(seconds=second) for second in range(24)]
    assert (row().minute_writes, row().hour_writes) == (24, 24)


def test_a_slot_too_far_off_is_not_taken() -> None:
    assert reserve() == NOW
    with pytest.raises(RateLimitedError) as caught:
        reserve(patience=0.5)
    assert caught.value.retry_at == NOW + timedelta(seconds=1)
    assert row().hour_writes == 1


def test_a_first_look_makes_a_full_quota() -> None:
    assert quota.headroom(ACCOUNT, now=NOW) == Headroom(limit=5_000, remaining=5_000, reset_at=None)
    assert quota.headroom(ACCOUNT, now=NOW).remaining == row().remaining


def test_an_older_answer_stored_late_changes_nothing() -> None:
    quota.headroom(ACCOUNT, now=NOW)
    heard(4_000)
    heard(4_500)
    assert row().remaining == 4_000
    heard(4_999, reset_at=RESET - timedelta(hours=1))
    assert (row().remaining, row().reset_at) == (4_000, RESET)


def test_a_new_hour_is_full_again_and_a_jitter_is_none() -> None:
    quota.headroom(ACCOUNT, now=NOW)
    heard(10)
    heard(4_000, reset_at=RESET + timedelta(seconds=1))
    assert row().remaining == 10
    heard(4_999, reset_at=RESET + timedelta(hours=1))
    assert row().remaining == 4_999


def test_a_limit_that_grew_is_taken_over() -> None:
    quota.headroom(ACCOUNT, now=NOW)
    heard(100)
    heard(12_000, limit=12_500)
    assert (row().remaining, row().limit) == (12_000, 12_500)


def test_the_later_block_holds() -> None:
    quota.headroom(ACCOUNT, now=NOW)
    known = Headroom(limit=5_000, remaining=5_000, reset_at=None)
    for seconds in (60, 10):
        quota.write_down(ACCOUNT, quota.blocked(known, until=NOW + timedelta(seconds=seconds)), now=NOW)
    assert row().blocked_until == NOW + timedelta(seconds=60)
