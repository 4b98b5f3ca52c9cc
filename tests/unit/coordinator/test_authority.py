"""Who may steer, and what an issue asks for: tables, and that the same situation always asks for the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.public_types import ENDED, AgentState
from coordinator.rules.authority import (
    Person,
    Situation,
    TextChange,
    Verdict,
    Wish,
    changed_since,
    is_over,
    judge_text,
    wish,
)
from tracker.public_types import AgentState as Shown
from tracker.public_types import Trust

T0 = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALICE = Person(login="alice", trust=Trust.WRITE)
RITA = Person(login="rita", trust=Trust.READ)
NOTHING = Situation(is_open=True, shown=Shown.NONE, is_ours_by_assignment=False, agent=None)


@pytest.mark.parametrize(
    ("trust", "is_bot", "may"),
    [
        (Trust.ADMIN, False, True),
        (Trust.WRITE, False, True),
        (Trust.TRIAGE, False, False),
        (Trust.READ, False, False),
        (Trust.NONE, False, False),
        (Trust.ADMIN, True, False),
        (Trust.WRITE, True, False),
    ],
)
def test_writers_steer_and_nobody_else(trust, is_bot, may):
    assert Person(login="x", trust=trust, is_bot=is_bot).may_steer is may
    assert not Person(login="", trust=trust).may_steer


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, Wish.START),
        (AgentState.NEW, Wish.START),
        (AgentState.QUEUED, None),
        (AgentState.RUNNING, None),
        (AgentState.WAITING, None),
        (AgentState.REVIEW, None),
        (AgentState.BLOCKED, Wish.RETRY),
        (AgentState.FAILED, Wish.RETRY),
        (AgentState.ABANDONED, Wish.RETRY),
        (AgentState.DONE, Wish.DONE_ALREADY),
    ],
)
def test_the_ready_label_asks_for_what_the_agent_lacks(state, expected):
    ready = replace(NOTHING, shown=Shown.READY, agent=state)
    assert wish(ready) == expected
    assert wish(replace(ready, is_open=False)) is None


@pytest.mark.parametrize("state", [AgentState.BLOCKED, AgentState.FAILED, AgentState.ABANDONED])
def test_an_old_ready_label_that_is_about_to_go_asks_for_nothing(state):
    assert wish(replace(NOTHING, shown=Shown.READY, agent=state, is_label_pending=True)) is None


def test_who_has_asked_need_not_be_asked_again_but_may_approve():
    asked = replace(NOTHING, shown=Shown.READY, agent=AgentState.BLOCKED, is_asked=True)
    assert wish(asked) is None
    assert wish(replace(asked, is_text_approved=False)) == Wish.RETRY


@pytest.mark.parametrize("state", list(AgentState))
def test_only_a_label_that_was_there_can_have_been_taken_off(state):
    bare = replace(NOTHING, agent=state)
    assert wish(bare) is None
    cancels = state in (AgentState.QUEUED, AgentState.RUNNING)
    assert wish(replace(bare, is_label_written=True)) == (Wish.CANCEL if cancels else None)


def test_an_assignment_starts_what_has_no_agent():
    assigned = replace(NOTHING, is_ours_by_assignment=True)
    assert wish(assigned) == Wish.START_ASSIGNED
    assert all(wish(replace(assigned, agent=state)) is None for state in AgentState)


@pytest.mark.parametrize("state", [None, *AgentState])
def test_a_closed_issue_ends_a_living_agent(state):
    closed = replace(NOTHING, is_open=False, agent=state)
    assert is_over(closed) is (state is not None and state not in ENDED)
    assert not is_over(replace(closed, is_open=True))


def change(by: Person, minutes: int) -> TextChange:
    return TextChange(by=by, at=T0 + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ([], (Verdict.ASK, "")),
        ([change(ALICE, 1)], (Verdict.APPROVE, "alice")),
        ([change(RITA, 1)], (Verdict.ASK, "rita")),
        ([change(RITA, 0)], (Verdict.ASK, "rita")),
        ([change(RITA, -1), change(ALICE, 1)], (Verdict.APPROVE, "alice")),
        ([change(RITA, 1), change(ALICE, 2)], (Verdict.ASK, "rita")),
        ([change(ALICE, -5)], (Verdict.ASK, "")),
    ],
)
def test_a_changed_text_is_judged_by_who_changed_it(changes, verdict):
    assert judge_text(is_approved=False, changes=changes, approved_at=T0) == verdict
    assert judge_text(is_approved=True, changes=changes, approved_at=T0) == (Verdict.KEEP, "")


@given(st.lists(st.tuples(st.sampled_from([ALICE, RITA]), st.integers(-9, 9)), max_size=6))
def test_no_strangers_change_since_the_approval_is_ever_approved(found):
    changes = [change(by, minutes) for by, minutes in sorted(found, key=lambda pair: pair[1])]
    stranger = changed_since(changes, at=T0)
    assert (stranger is not None) == any(by is RITA and minutes >= 0 for by, minutes in found)
    if stranger is not None:
        assert judge_text(is_approved=False, changes=changes, approved_at=T0)[0] == Verdict.ASK
