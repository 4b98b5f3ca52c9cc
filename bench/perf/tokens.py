"""Agents that seem to run, with the tokens of their runs: whoever measures a door for agents stands in for them."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.utils import timezone

from bench.perf import fleet
from bench.perf.figures import PerfError
from coordinator import public_api as coordinator
from coordinator.public_types import Submission


def running(count: int) -> list[str]:
    """Take issues on and mark their executions as running; returns the bearer token of each. No worker may run."""
    repository = fleet.make_repository(Path(settings.STATE_DIR).parent / "project")
    repository_id = coordinator.add_repository(str(repository)).id
    coordinator.refresh_repository(repository_id)
    found = []
    for number in range(count):
        wanted = Submission(title=f"Speak {number}", adapter="command", options={"argv": ["/bin/true"]})
        agent, _, _ = coordinator.submit(repository_id=repository_id, submission=wanted, actor=fleet.ACTOR)
        if agent.execution_id is None:
            raise PerfError(f"{agent.issue} was not admitted: {agent.decision}")
        bearer = f"agx_{secrets.token_urlsafe(32)}"
        now = timezone.now()
        # As a host and its launcher leave the row; there is none here, so nothing else touches it.
        apps.get_model("grid", "Execution").objects.filter(pk=agent.execution_id).update(
            state="running",
            host="perf",
            token=1,
            claimed_at=now,
            started_at=now,
            lease_until=now + timedelta(hours=1),
            bearer_sha256=hashlib.sha256(bearer.encode()).hexdigest(),
            bearer_fence=1,
        )
        found.append(bearer)
    return found
