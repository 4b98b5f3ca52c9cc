"""The fleet rests when everything fails, and only then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from coordinator.rules import breaker
from grid.public_types import ExecutionView, Mode, Result, State

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FAILED = ExecutionView(
    id=uuid4(),
    subject="issue:1",
    root="tree:1",
    mode=Mode.WORK,
    state=State.FAILED,
    attempt=1,
    token=1,
    phase="",
    host="h",
    branch="agent/1-x",
    base="0" * 40,
    agent="command",
    priority=0,
    created_at=NOW,
    claimed_at=NOW,
    started_at=NOW,
    ended_at=NOW - timedelta(minutes=1),
    lease_until=None,
    stop_requested="",
    result=Result(),
    wall_seconds=1.0,
)
RUNS = [replace(FAILED, subject=f"issue:{n % 6}") for n in range(20)]


def test_twenty_failures_of_several_issues_in_a_row_open_it_for_five_minutes():
    assert breaker.open_until(RUNS, now=NOW) == NOW + timedelta(minutes=4)
    assert breaker.open_until(RUNS, now=NOW + timedelta(minutes=4)) is None


def test_what_could_not_start_for_good_is_no_trouble_of_the_fleet():
    lacking = [replace(run, result=Result(is_permanent=True)) for run in RUNS]
    assert breaker.open_until(lacking, now=NOW) is None
    assert breaker.open_until([*lacking[:5], *RUNS], now=NOW) is not None, "nor do such runs hide what is"


def test_one_success_keeps_it_closed():
    assert breaker.open_until([*RUNS[:7], replace(FAILED, state=State.SUCCEEDED), *RUNS[8:]], now=NOW) is None


def test_one_broken_issue_does_not_stop_the_others():
    assert breaker.open_until([FAILED] * 20, now=NOW) is None


def test_few_or_old_failures_prove_nothing():
    assert breaker.open_until(RUNS[:19], now=NOW) is None
    old = [replace(run, ended_at=NOW - timedelta(minutes=11)) for run in RUNS]
    assert breaker.open_until(old, now=NOW) is None


NEITHER = [State.INTERRUPTED, State.CANCELLED, State.OVER_BUDGET]


@pytest.mark.parametrize("state", NEITHER)
def test_what_we_ended_ourselves_is_no_failure(state: State):
    assert breaker.open_until([replace(run, state=state) for run in RUNS], now=NOW) is None


@pytest.mark.parametrize("state", NEITHER)
def test_what_we_ended_ourselves_is_no_success_either(state: State):
    assert breaker.open_until([*RUNS[:7], replace(FAILED, state=state), *RUNS[7:]], now=NOW) is not None
