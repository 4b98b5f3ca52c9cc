"""The labels that mean something to the grid. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tracker.public_types import AgentState

HOLD = "agent:hold"
"""Put on by people only: nothing is started or written while it is there."""
_PREFIX = "agent:"
_STATES = {f"{_PREFIX}{state}": state for state in AgentState if state}
_ASKING = frozenset({AgentState.BLOCKED, AgentState.FAILED})
# When a crash left two state labels, the furthest one is the truth. The order of AgentState is that order.
_RANK = {state: rank for rank, state in enumerate(AgentState)}


def of_state(state: AgentState) -> tuple[str, ...]:
    """The label that shows a state; none for NONE."""
    return (f"{_PREFIX}{state}",) if state else ()


def state_of(label: str) -> AgentState | None:
    """The state that a label shows, or None for any other label."""
    return _STATES.get(label.casefold())


def split(labels: Iterable[str]) -> tuple[AgentState, tuple[str, ...]]:
    """The state shown by labels and the labels that show no state.

    The furthest state wins. But where a person is asked to put `agent:ready` on, it counts beside the label that asks.
    """
    plain, shown = [], {AgentState.NONE}
    for label in labels:
        state = state_of(label)
        if state is None:
            plain.append(label)
        else:
            shown.add(state)
    furthest = max(shown, key=_RANK.__getitem__)
    if AgentState.READY in shown and furthest in _ASKING:
        furthest = AgentState.READY
    return furthest, tuple(plain)
