"""Two beats, one pass: whoever claims the slot first does it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import time_machine
from django.db import connection

from coordinator import sweeps

pytestmark = pytest.mark.django_db(transaction=True)
BEATS = 4


def test_of_several_beats_one_claims_each_slot() -> None:
    together = Barrier(BEATS)

    def claim(_: int) -> bool:
        try:
            together.wait(10)
            return sweeps.claim_slot("pass", every_seconds=5)
        finally:
            connection.close()

    with ThreadPoolExecutor(BEATS) as pool:
        for at in ("2026-11-21 10:00:01", "2026-11-21 10:00:06"):
            with time_machine.travel(f"{at} +00:00", tick=False):
                assert sorted(pool.map(claim, range(BEATS))) == [False] * (BEATS - 1) + [True]


def at(time: str) -> time_machine.travel:
    return time_machine.travel(f"2026-11-21 {time} +00:00", tick=False)


def test_passes_have_slots_of_their_own_and_a_clock_a_little_ahead_repeats_none() -> None:
    with at("10:00:06"):
        assert sweeps.claim_slot("one", every_seconds=5)
        assert sweeps.claim_slot("other", every_seconds=5)
    with at("10:00:01"):
        assert not sweeps.claim_slot("one", every_seconds=5)


def test_a_clock_that_was_far_ahead_once_stops_no_pass_afterwards() -> None:
    with time_machine.travel("2031-01-01 00:00:00 +00:00", tick=False):
        assert sweeps.claim_slot("pass", every_seconds=5)
    with at("10:00:01"):
        assert sweeps.claim_slot("pass", every_seconds=5)
        assert not sweeps.claim_slot("pass", every_seconds=5), "and the slots count on from here"
    with at("10:00:06"):
        assert sweeps.claim_slot("pass", every_seconds=5)
