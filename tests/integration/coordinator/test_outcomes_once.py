"""Several workers that apply the end of one execution at the same moment: it has one effect."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from coordinator.ending import outcomes
from coordinator.launching import dispatch
from coordinator.models import Agent, Nudge
from coordinator.public_types import Source
from grid import executions, lifecycle
from grid.models import Event, Host
from grid.public_types import Result, State
from tests.factories import make_agent, make_git_repository

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS = 6


def test_an_end_is_applied_once_however_many_apply_it(tmp_path: Path) -> None:
    agent = make_agent(make_git_repository(tmp_path / "app"))
    dispatch.nudge(agent.pk, source=Source.OPERATOR)
    agent.refresh_from_db()
    Host.objects.create(name="h", slots=1)
    assert agent.execution_id is not None
    run = executions.claim(agent.execution_id, host="h")
    assert run is not None
    lifecycle.move(run.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started")
    assert executions.end(run.pk, token=run.token, state=State.FAILED, reason="ended", result=Result())
    before = Event.objects.filter(stream=agent.stream, kind="agent.state-changed").count()
    # All of them read the agent while its end was not applied yet.
    views = [Agent.objects.select_related("envelope", "repository", "issue").get(pk=agent.pk) for _ in range(WORKERS)]
    view = executions.view(type(run).objects.get(pk=run.pk))

    def apply(stale: Agent) -> None:
        try:
            outcomes._apply(stale, view)
        finally:
            connection.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(apply, views))
    agent.refresh_from_db()
    assert (agent.state, agent.attempts, agent.is_applied) == ("queued", 1, True)
    assert Event.objects.filter(stream=agent.stream, kind="agent.state-changed").count() == before + 1
    assert Nudge.objects.filter(agent=agent, source=Source.RETRY).count() == 1
