"""A program that goes on without the grid's tools, and looks as if all were well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.public_types import AgentState, Source
from coordinator.web.agent_door import Door
from coordinator.web.rates import Rates
from grid.models import Execution
from tests.factories import make_agent
from tests.integration.coordinator.agent_runs import running

PROGRAM = """#!/bin/sh
echo work > work.txt
echo '{"type":"result","status":"success","stats":{}}'
"""


@pytest.fixture
def agent(tmp_path: Path, repository: Path, settings) -> Agent:
    """Runs a program that says it has succeeded; nobody answers where the tools should be."""
    settings.GRID_AGENT_URL = "http://127.0.0.1:9"
    settings.COORDINATOR_MAX_ATTEMPTS = 1
    program = tmp_path / "gemini"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    row = make_agent(repository)
    options = {"model": "gemini-2.5-flash", "program": str(program)}
    Agent.objects.filter(pk=row.pk).update(spec={"adapter": "gemini", "options": options})
    return Agent.objects.get(pk=row.pk)


def test_it_has_failed_although_it_exits_with_0(grid_here, agent):
    dispatch.nudge(agent.pk, source=Source.OPERATOR)
    grid_here.until_quiet()
    agent.refresh_from_db()
    assert agent.state == AgentState.FAILED
    assert "never connected to the grid's tools at http://127.0.0.1:9/mcp" in agent.blocked_reason


@pytest.mark.django_db(transaction=True)
def test_a_connection_counts_although_the_database_went_away_while_it_was_noted(repository: Path) -> None:
    run = running(make_agent(repository))
    door = Door(Rates(per_second=20, burst=50))

    def away(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE"):
            raise OperationalError("the connection was lost")
        return execute(sql, *rest)

    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        door.admit(run.headers["Authorization"])
    door.admit(run.headers["Authorization"])
    assert Execution.objects.get(pk=run.execution_id).connected_at is not None
