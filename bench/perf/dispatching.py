"""From a nudge's commit to the agent's first own instruction, beside a task that does nothing on the same worker.

One at a time, agent and task in turn, so that both meet the same machine. The agent is `/bin/sh -c 'date +%s%N; …'`: its
stamp is late by its own start (about 2 ms), and nothing is taken off for that. The fleet has `control` and `executions`
but no beat, as only our own nudges may start anything.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from celery import current_app
from django.conf import settings

from bench.perf import fleet, floors, stamps
from bench.perf.figures import Figure, PerfError, percentile, spread
from grid import public_api as grid
from grid import public_events as grid_events

GOAL_ABOVE_FLOOR_MS = 40.0
AGENT = ("/bin/sh", "-c", "date +%s%N; echo done > work.txt")
_NS_PER_MS = 1_000_000
_OUTPUT = "agent.output"


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """Figures p50 and p95 of the dispatch on this installation's broker."""
    warm_up, samples = int(params["warm_up"]), int(params["samples"])
    folder = Path(settings.STATE_DIR).parent
    repository = fleet.make_repository(folder / "source")
    clones = floors.clone_ms(folder, repository, count=samples)
    stamps.prepare()
    fleet.wait_for_host()
    agents = fleet.submit(warm_up + samples, repository=repository, argv=AGENT, title="Say when")
    fleet.release()
    tasks, dispatches, parts = list[float](), list[float](), list[dict[str, float]]()
    for number, agent_id in enumerate(agents):
        task_ms = _task(number)
        _let_it_rest()
        split = _dispatch(agent_id)
        _let_it_rest()
        if number >= warm_up:
            tasks.append(task_ms)
            dispatches.append(sum(split.values()))
            parts.append(split)
    delta = percentile(dispatches, 0.5) - percentile(tasks, 0.5)
    floor, goal = percentile(tasks, 0.5), percentile(tasks, 0.5) + GOAL_ABOVE_FLOOR_MS
    value = percentile(dispatches, 0.5)
    return [
        Figure(
            name=f"{params['name']}.p50",
            unit="ms",
            value=value,
            floor=floor,
            goal=goal,
            met=value <= goal,
            extra={
                "delta": delta,
                "clone_shared_p50": percentile(clones, 0.5),
                "samples": samples,
                "spread": spread(dispatches),
                "floor_spread": spread(tasks),
                "split_p50": {part: percentile([one[part] for one in parts], 0.5) for part in parts[0]},
            },
        ),
        Figure(
            name=f"{params['name']}.p95",
            unit="ms",
            value=percentile(dispatches, 0.95),
            floor=percentile(tasks, 0.95),
            extra={"samples": samples},
        ),
    ]


def _task(number: int) -> float:
    """Milliseconds from publishing the task that does nothing to its run."""
    published = time.time_ns()
    current_app.signature("bench.noop", kwargs={"number": number}).apply_async(queue="executions")
    return (stamps.wait(number) - published) / _NS_PER_MS


def _dispatch(agent_id: int) -> dict[str, float]:
    """Milliseconds of one nudge's way: to the claim of its row, and from there to the agent's own stamp."""
    committed = fleet.nudge(agent_id)
    (agent,) = fleet.wait_until_done([agent_id], seconds=60)
    if agent.execution_id is None:
        raise PerfError(f"agent {agent_id} is done without an execution")
    claimed_at = grid.get_execution(agent.execution_id).claimed_at
    if claimed_at is None:
        raise PerfError(f"agent {agent_id} is done, but its execution was never claimed")
    claimed = claimed_at.timestamp() * 1000
    return {
        "commit_to_claim": claimed - committed / _NS_PER_MS,
        "claim_to_agent": _first_word(agent.execution_id) / _NS_PER_MS - claimed,
    }


def _first_word(execution_id: UUID) -> int:
    """What the agent printed: the time at which it ran, in ns."""
    for event in grid_events.read_stream(f"execution:{execution_id}"):
        if event.kind == _OUTPUT:
            return int(event.body.get("text") or event.body["lines"][0])
    raise PerfError(f"execution {execution_id} printed nothing")


def _let_it_rest() -> None:
    """Let the last one's traces be cleared away, and keep no step with the workers' polling."""
    time.sleep(random.uniform(0.1, 0.2))  # noqa: S311 - a phase, not a secret
