"""What running agents say about how far they are: events that `status`, `explain` and parents show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from coordinator import lifecycle
from coordinator.models import Agent
from grid import public_events as grid_events

REPORTED = "agent.status"


def report_state(agent: Agent, *, status: str, done: int | None, total: int | None, note: str) -> None:
    """Write down what an agent says of itself; bounded by the caller."""
    body = {"status": status, "done": done, "total": total, "note": note, "execution": str(agent.execution_id)}
    lifecycle.record(agent, (REPORTED, body))


def last_states(streams: Collection[str], *, runs: Collection[UUID] | None = None) -> dict[str, str]:
    """What each agent said last, in one line, by its stream; agents that said nothing are left out.

    Args:
        streams: Of agents.
        runs: Only what was said in one of these executions; None: whenever.
    """
    wanted = None if runs is None else {str(run) for run in runs}
    found = grid_events.last_of_streams(streams, kind=REPORTED)
    return {
        stream: in_words(event.body)
        for stream, event in found.items()
        if wanted is None or event.body.get("execution") in wanted
    }


def in_words(body: Mapping[str, Any]) -> str:
    """`writing the tests, 3 of 7: the parser is done`."""
    done, total = body.get("done"), body.get("total")
    counted = "" if done is None else f", {done}" + ("" if total is None else f" of {total}")
    note = " ".join(str(body.get("note") or "").split())
    return f"{body.get('status', '')}{counted}{f': {note}' if note else ''}"[:300]
