"""The labels that mean something to the grid. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tracker.public_types import AgentState

HOLD = "agent:hold"
"""Put on by people only: nothing is started or written while it is there."""
_PREFIX = "agent:"
_STATES = {f"{_PREFIX}{state}": state for state in AgentState if state}
# When a crash left two state labels, the furthest one is the truth. The order of AgentState is that order.
_RANK = {state: rank for rank, state in enumerate(AgentState)}


def of_state(state: AgentState) -> tuple[str, ...]:
    """The label that shows a state; none for NONE."""
    return (f"{_PREFIX}{state}",) if state else ()


def state_of(label: str) -> AgentState | None:
    """The state that a label shows, or None for any other label."""
    return _STATES.get(label.casefold())


def split(labels: Iterable[str]) -> tuple[AgentState, tuple[str, ...]]:
    """The state shown by labels (the furthest one wins) and the labels that show no state."""
    plain = []
    state = AgentState.NONE
    for label in labels:
        shown = state_of(label)
        if shown is None:
            plain.append(label)
        else:
            state = max(state, shown, key=_RANK.__getitem__)
    return state, tuple(plain)
