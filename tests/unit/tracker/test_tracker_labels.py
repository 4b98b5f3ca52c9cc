"""Labels that show a state."""

from __future__ import annotations

import pytest

from tracker import labels
from tracker.public_types import AgentState


def test_every_state_but_none_has_one_label_and_back() -> None:
    for state in AgentState:
        shown = labels.of_state(state)
        assert [labels.state_of(label) for label in shown] == ([state] if state else [])


@pytest.mark.parametrize(
    ("names", "state", "plain"),
    [
        ((), AgentState.NONE, ()),
        (("bug", "agent:hold"), AgentState.NONE, ("bug", "agent:hold")),
        (("agent:failed", "agent:review", "x"), AgentState.FAILED, ("x",)),
        (("agent:failed", "agent:ready"), AgentState.READY, ()),
        (("agent:ready", "agent:blocked"), AgentState.READY, ()),
        (("agent:ready", "Agent:Running"), AgentState.RUNNING, ()),
        (("agent:", "agent:dancing"), AgentState.NONE, ("agent:", "agent:dancing")),
    ],
)
def test_the_furthest_state_wins_but_over_what_a_person_asks_for(
    names: tuple[str, ...], state: AgentState, plain: tuple[str, ...]
) -> None:
    assert labels.split(names) == (state, plain)
