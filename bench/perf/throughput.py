"""Executions per second from end to end, with an agent that commits one file.

The floor is what is left without us: `git clone --shared` of the same repository and the same command in it, two at a
time. The clock runs from the first nudge's commit to the moment at which the last agent is done: nudges, admission, claim,
workspace, shim, agent, harvest, merge, push to the source, tracker and ledger are all in it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from bench.perf import fleet, floors, observe
from bench.perf.figures import Figure, PerfError, percentile
from coordinator.public_types import AgentView
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_types import ExecutionView

GOAL_PER_SECOND = 20.0
AT_A_TIME = 2
WORK = (
    "echo work > made.txt && git add made.txt && "
    "git -c user.name=perf -c user.email=perf@agent-grid.invalid commit -q -m Work"
)
AGENT = ("/bin/sh", "-c", WORK)
_SECONDS = 240.0


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """The one figure, with the way of an execution split into its parts."""
    folder = Path(settings.STATE_DIR).parent
    repository = fleet.make_repository(folder / "source")
    fleet.wait_for_host()
    warm_up, count = int(params["warm_up"]), int(params["agents"])
    warm = fleet.submit(warm_up, repository=repository, argv=AGENT, title="Warm up")
    fleet.release()
    for agent_id in warm:
        fleet.nudge(agent_id)
    fleet.wait_until_done(warm, seconds=60)
    agents = fleet.submit(count, repository=repository, argv=AGENT, title="Make a file")
    floor = floors.clones_per_second(folder, repository, command=AGENT, count=int(params["floor"]), at_a_time=AT_A_TIME)
    used_before = observe.cpu_seconds(params["pids"], state_dir=settings.STATE_DIR)
    fleet.release()
    began_ns = fleet.nudge(agents[0])
    for agent_id in agents[1:]:
        fleet.nudge(agent_id)
    nudged_ns = time.time_ns()
    # Two cheap looks a second: reading a hundred agents again and again would be part of what is measured.
    fleet.wait_until_ended(warm_up + count, seconds=_SECONDS)
    fleet.wait_until_done(agents[-1:], seconds=_SECONDS, pause=0.5)
    used = observe.cpu_seconds(params["pids"], state_dir=settings.STATE_DIR)
    ways = _ways(fleet.wait_until_done(agents, seconds=_SECONDS, pause=0.5))
    # A sweep may be faster than our first nudge by a moment: the clock runs from whatever came first.
    seconds = max(way.applied for way in ways) - min(began_ns / 1e9, *(way.queued for way in ways))
    value = count / seconds
    return [
        Figure(
            name=params["name"],
            unit="executions/s",
            value=value,
            floor=floor,
            goal=GOAL_PER_SECOND,
            met=value >= GOAL_PER_SECOND,
            extra={
                "executions": count,
                "seconds": seconds,
                "nudging_seconds": (nudged_ns - began_ns) / 1e9,
                "split_p50_ms": _split(ways),
                "cpu_ms_per_execution": {name: (used[name] - used_before[name]) * 1000 / count for name in used},
            },
        )
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """When one execution reached what, in seconds since the epoch."""

    queued: float
    claimed: float
    started: float
    noticed: float
    """When the host took up that the agent had ended."""
    ended: float
    applied: float
    agent_seconds: float
    """What the shim says that the agent took: a part of `started` to `noticed`."""


def _ways(agents: Sequence[AgentView]) -> list[_Way]:
    ids = [agent.execution_id for agent in agents if agent.execution_id]
    runs = {run.id: run for run in grid.find_executions(ids=ids)}
    return [_way(agent, runs[agent.execution_id]) for agent in agents if agent.execution_id]


def _split(ways: Sequence[_Way]) -> dict[str, float]:
    """Medians of the parts of an execution's way, in ms."""
    parts = {
        "queued_to_claimed": [way.claimed - way.queued for way in ways],
        "claimed_to_started": [way.started - way.claimed for way in ways],
        "started_to_exit_noticed": [way.noticed - way.started for way in ways],
        "agent_alone": [way.agent_seconds for way in ways],
        "harvest": [way.ended - way.noticed for way in ways],
        "apply": [way.applied - way.ended for way in ways],
    }
    return {name: percentile(values, 0.5) * 1000 for name, values in parts.items()}


def _way(agent: AgentView, run: ExecutionView) -> _Way:
    exit_event = next((e for e in grid_events.read_stream(f"execution:{run.id}") if e.kind == "agent.done"), None)
    if exit_event is None:
        raise PerfError(f"execution {run.id} has no event of its agent's exit")
    return _Way(
        queued=_moment(run.created_at),
        claimed=_moment(run.claimed_at),
        started=_moment(run.started_at),
        noticed=_moment(exit_event.at),
        ended=_moment(run.ended_at),
        applied=_moment(agent.ended_at),
        agent_seconds=float(exit_event.body["seconds"]),
    )


def _moment(at: datetime | None) -> float:
    if at is None:
        raise PerfError("an execution that ended lacks a time")
    return at.timestamp()
