"""Many processes that nudge, launch, claim, end and apply the same issues as fast as they can.

    python -m tests.services.hammer PROCESSES SECONDS

Loads Django once, forks, and lets all begin together. Prints one JSON object for each process, on a line of its own: how
much it did, and the subjects it ever saw with two live executions. The exit code is 0 when all went well.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import django

django.setup()

from django.db import transaction  # noqa: E402 - Django must be set up first
from django.db.models import Count  # noqa: E402

from coordinator.ending import outcomes  # noqa: E402
from coordinator.launching import dispatch  # noqa: E402
from coordinator.models import Agent  # noqa: E402
from coordinator.public_types import Source  # noqa: E402
from grid import executions  # noqa: E402
from grid import public_api as grid  # noqa: E402
from grid.models import Execution  # noqa: E402
from grid.public_types import LIVE, ON_HOST, Result, State  # noqa: E402
from tests.factories import launch_spec  # noqa: E402
from tests.services import forks  # noqa: E402

ACTS = 25


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


def hammer(seed: int, seconds: float) -> dict[str, Any]:
    """What one process did."""
    rng = random.Random(seed)
    agents = list(Agent.objects.all())
    host = f"h{seed % 4}"
    seen: set[str] = set()

    def act_and_look() -> str:
        did = act(rng, agents, host)
        seen.update(doubles())
        return did

    counts = forks.again_and_again(act_and_look, seconds=seconds, least=ACTS)
    return {"counts": counts, "doubles": sorted(seen)}


def main(count: int, seconds: float) -> int:
    """0 when all processes did their work."""
    return forks.report(forks.all_at_once(count, lambda seed: hammer(seed, seconds)))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
