"""A run that is stopped for its money loses nothing that it had finished, and nothing that it had committed."""

from __future__ import annotations

import json
import time
from pathlib import Path

from coordinator import invariants
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.operating import control
from coordinator.public_types import AgentState, Source
from grid import public_api as grid
from grid.models import Execution
from tests.factories import git, make_agent

COMMIT = "git add -A && git -c user.name=a -c user.email=a@b.invalid commit -qm work"
REPORT = (
    "mkdir -p .agentgrid && echo '" + json.dumps({"outcome": "done", "summary": "hi"}) + "' > .agentgrid/outcome.json"
)


def stop_in_the_middle(grid_here, agent: Agent, sign: Path) -> None:
    """Let the agent run until it has left its sign, then take its money away."""
    dispatch.nudge(agent.pk, source=Source.OPERATOR)
    grid_here.until(sign.exists)
    run = Execution.objects.get(subject=agent.subject)
    assert grid.request_stop([run.pk], reason="over_budget") == 1
    grid_here.until_quiet()


def test_work_that_was_reported_done_is_checked_and_published(grid_here, repository: Path, tmp_path: Path):
    sign = tmp_path / "sign"
    command = f"echo hi > hi.txt; {COMMIT}; {REPORT}; touch {sign}; sleep 60"
    agent = make_agent(repository, title="Say hi", command=command, acceptance=["test -s hi.txt"])
    began = time.monotonic()
    stop_in_the_middle(grid_here, agent, sign)
    assert time.monotonic() - began < 50
    assert Agent.objects.get(pk=agent.pk).state == AgentState.DONE
    assert git(repository, "show", f"{agent.branch}:hi.txt") == "hi"
    run = Execution.objects.get(subject=agent.subject)
    assert (run.state, run.stop_reason) == ("succeeded", "")
    assert [check["passed"] for check in (run.result or {})["checks"]] == [True]
    assert invariants.violations() == []


def test_work_without_a_report_waits_for_money_and_goes_on_from_its_commits(
    grid_here, repository: Path, tmp_path: Path
):
    sign = tmp_path / "sign"
    again = f"test -e hi.txt && {{ echo more > more.txt; {REPORT}; exit 0; }}"
    agent = make_agent(repository, command=f"{again}; echo hi > hi.txt; {COMMIT}; touch {sign}; sleep 60")
    stop_in_the_middle(grid_here, agent, sign)
    row = Agent.objects.get(pk=agent.pk)
    assert (row.state, row.attempts) == (AgentState.BLOCKED, 0)
    assert "budget raise" in row.blocked_reason
    assert row.head
    control.nudge(agent.pk, actor="me")
    grid_here.until_quiet()
    assert Agent.objects.get(pk=agent.pk).state == AgentState.DONE
    assert git(repository, "show", f"{agent.branch}:hi.txt") == "hi"
    assert git(repository, "show", f"{agent.branch}:more.txt") == "more"


def test_a_run_that_calls_more_tools_than_it_may_is_stopped_and_keeps_its_commits(
    grid_here, repository: Path, settings
):
    settings.COORDINATOR_TOOL_CALLS = 3
    steps = [
        {"call": "write_file", "args": {"path": "hi.txt", "content": "hi"}},
        {"call": "run_command", "args": {"command": COMMIT}},
        {"call": "list_files", "args": {}},
        {"call": "run_command", "args": {"command": "sleep 60"}},
        {"call": "finish", "args": {"outcome": "done", "summary": "never said"}},
    ]
    agent = make_agent(repository)
    spec = {"adapter": "builtin", "options": {"model": "scripted", "script": json.dumps({"steps": steps})}}
    Agent.objects.filter(pk=agent.pk).update(spec=spec)
    dispatch.nudge(agent.pk, source=Source.OPERATOR)
    grid_here.until_quiet()
    run, row = Execution.objects.get(subject=agent.subject), Agent.objects.get(pk=agent.pk)
    assert (run.state, row.state, row.attempts) == ("over_budget", AgentState.BLOCKED, 0)
    assert "it called 4 tools, and the run might call 3" in row.blocked_reason
    assert git(repository, "cat-file", "-t", "HEAD") == "commit"
    assert row.head
    envelope = agent.envelope
    envelope.refresh_from_db()
    assert (envelope.tool_calls_spent, envelope.tool_calls_reserved) == (4, 0)
    assert invariants.violations() == []
