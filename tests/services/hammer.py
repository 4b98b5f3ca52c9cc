"""One of many processes that nudge, launch, claim, end and apply the same issues as fast as they can.

    python -m tests.services.hammer SEED SECONDS

Prints one JSON object: how much it did, and the subjects it ever saw with two live executions.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

import django

django.setup()

from django.db import OperationalError, transaction  # noqa: E402 - Django must be set up first
from django.db.models import Count  # noqa: E402

from coordinator import dispatch, outcomes  # noqa: E402
from coordinator.models import Agent  # noqa: E402
from coordinator.public_types import Source  # noqa: E402
from grid import executions  # noqa: E402
from grid import public_api as grid  # noqa: E402
from grid.models import Execution  # noqa: E402
from grid.public_types import LIVE, ON_HOST, Result, State  # noqa: E402
from tests.factories import launch_spec  # noqa: E402


def doubles() -> list[str]:
    """Subjects with more than one live execution right now."""
    rows = Execution.objects.filter(state__in=sorted(LIVE)).values("subject").annotate(n=Count("pk")).filter(n__gt=1)
    return [row["subject"] for row in rows]


def act(rng: random.Random, agents: list[Agent], host: str) -> str:
    """Do one thing to one issue."""
    agent = rng.choice(agents)
    match rng.choice(["nudge", "nudge", "launch", "launch", "claim", "claim", "end"]):
        case "nudge":
            return str(dispatch.nudge(agent.pk, source=rng.choice([Source.OPERATOR, Source.WEBHOOK])).answer)
        case "launch":  # past the coordinator: the grid's own law must hold without its help
            with transaction.atomic():
                return "launched" if grid.launch(launch_spec(agent.subject)) else "refused by the constraint"
        case "claim":
            waiting = executions.next_queued(limit=16)
            return "claimed" if waiting and executions.claim(rng.choice(waiting), host=host) else "not claimed"
        case _:
            row = Execution.objects.filter(state__in=sorted(ON_HOST), host=host).first()
            if row is None or not executions.end(
                row.pk, token=row.token, state=State.INTERRUPTED, reason="hammered", result=Result()
            ):
                return "not ended"
            outcomes.apply(row.pk)
            return "ended"


def main(seed: int, seconds: float) -> dict[str, Any]:
    rng = random.Random(seed)
    agents = list(Agent.objects.all())
    host = f"h{seed % 4}"
    counts: dict[str, int] = {}
    seen: set[str] = set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            did = act(rng, agents, host)
        except OperationalError as error:
            did = f"database: {str(error)[:60]}"
        counts[did] = counts.get(did, 0) + 1
        seen.update(doubles())
    return {"counts": counts, "doubles": sorted(seen)}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), float(sys.argv[2]))))
