"""Memory of a running agent beyond its own: its shim, its share of the nursery, the growth of the workers.

Measured as proportional set size (PSS), so that pages shared by the shims count once. The floor is the agent itself,
a `sleep`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from bench.perf import fleet, observe
from bench.perf.figures import Figure, SkippedError

GOAL_MB = 7.0
STRETCH_MB = 3.0
AGENT = ("/bin/sleep", "500")
_MB = 1_000_000
_SECONDS = 200.0


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """The one figure, with its parts; skipped where the kernel does not tell."""
    count = int(params["agents"])
    repository = fleet.make_repository(Path(settings.STATE_DIR).parent / "source")
    fleet.wait_for_host()
    # One runs before the workers are measured first: what it takes is there for any number of agents.
    first, *others = fleet.submit(count + 1, repository=repository, argv=AGENT, title="Sleep")
    fleet.release()
    fleet.nudge(first)
    fleet.wait_until_running(1, seconds=60)
    try:
        before = observe.pss_bytes(observe.with_children(params["pids"].values()))
        for agent_id in others:
            fleet.nudge(agent_id)
        fleet.wait_until_running(count + 1, seconds=_SECONDS)
        after = observe.pss_bytes(observe.with_children(params["pids"].values()))
        nursery = observe.nursery(settings.STATE_DIR)
        shims = nursery.children()
        agents = [child for shim in shims for child in shim.children(recursive=True)]
        parts = {
            "shim_mb": observe.pss_bytes(shims) / len(shims) / _MB,
            "nursery_share_mb": observe.pss_bytes([nursery]) / len(shims) / _MB,
            "worker_growth_mb": max(0, after - before) / count / _MB,
        }
        floor = observe.pss_bytes(agents) / len(agents) / _MB
    except SkippedError as error:
        return [Figure(name=params["name"], unit="MB", goal=GOAL_MB, note=f"skipped: {error}")]
    value = sum(parts.values())
    return [
        Figure(
            name=params["name"],
            unit="MB",
            value=value,
            floor=floor,
            goal=GOAL_MB,
            met=value <= GOAL_MB,
            extra={
                "stretch_goal": STRETCH_MB,
                "stretch_met": value <= STRETCH_MB,
                "agents": len(agents),
                "shims": len(shims),
                "workers_before_mb": before / _MB,
                **parts,
            },
        )
    ]
