"""Which run's conversation the next one takes up."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone

from coordinator.launching import briefing
from grid.public_types import ExecutionView, Mode, Result, State

EARLIER = str(uuid4())


def run(state: State, *, mode: Mode = Mode.WORK, agent: str = "claude", continues: str = "") -> ExecutionView:
    return ExecutionView(
        id=uuid4(),
        subject="issue:1",
        root="tree:1",
        mode=mode,
        state=state,
        attempt=1,
        token=1,
        phase="",
        host="here",
        branch="agent/1-x",
        base="0" * 40,
        agent=agent,
        priority=0,
        created_at=timezone.now(),
        claimed_at=None,
        started_at=None,
        ended_at=timezone.now(),
        lease_until=None,
        stop_requested="",
        result=Result(),
        wall_seconds=0.0,
        continues=continues,
    )


@pytest.mark.parametrize("state", sorted(set(State) - {State.LOST}))
def test_a_run_that_was_stopped_in_the_middle_is_gone_on_with(state):
    last = run(state)
    found = briefing._continued(last, mode=Mode.WORK, adapter="claude")
    assert found == (str(last.id) if state in (State.INTERRUPTED, State.OVER_BUDGET) else "")


def test_a_lost_run_hands_on_what_it_had_taken_up_itself():
    assert briefing._continued(run(State.LOST), mode=Mode.WORK, adapter="claude") == ""
    assert briefing._continued(run(State.LOST, continues=EARLIER), mode=Mode.WORK, adapter="claude") == EARLIER


def test_another_kind_of_work_or_another_program_begins_anew():
    assert briefing._continued(None, mode=Mode.WORK, adapter="claude") == ""
    assert briefing._continued(run(State.INTERRUPTED, mode=Mode.RESOLVE), mode=Mode.WORK, adapter="claude") == ""
    assert briefing._continued(run(State.INTERRUPTED), mode=Mode.WORK, adapter="codex") == ""
