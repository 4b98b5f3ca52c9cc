"""The two state machines are complete, and the documentation shows the same arrows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coordinator import lifecycle as agents
from coordinator.public_types import AgentState
from grid import lifecycle as executions
from grid.public_types import TERMINAL, State

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "lifecycle.md"


def test_every_state_has_a_row():
    assert set(executions.ARROWS) == set(State)
    assert set(agents.ARROWS) == set(AgentState)


def test_terminal_executions_have_no_arrow():
    assert all(not executions.ARROWS[state] for state in TERMINAL)


def test_a_done_agent_stays_done():
    assert not agents.ARROWS[AgentState.DONE]


def test_every_execution_can_reach_an_end_and_every_state_is_reached():
    reached, todo = set(), [State.QUEUED]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += executions.ARROWS[state]
    assert reached == set(State)
    assert all(executions.ARROWS[state] & TERMINAL for state in set(State) - TERMINAL)


@pytest.mark.parametrize(("title", "arrows"), [("Execution", executions.ARROWS), ("Agent", agents.ARROWS)])
def test_the_documentation_lists_the_same_arrows(title, arrows):
    section = DOCUMENT.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE)
    written = {state: set(re.findall(r"`(\w+)`", targets)) for state, targets in rows}
    assert written == {str(state): {str(target) for target in targets} for state, targets in arrows.items()}
