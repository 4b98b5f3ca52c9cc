"""Law 2 under many processes on one nested path, some killed with -9 between reserve and spawn, on both databases."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.factories import make_git_repository
from tests.services import forks

SECONDS = 3
MAKE = """
from pathlib import Path
from grid.models import Host
from coordinator.money import budgets
from coordinator.models import Envelope
from tests.factories import make_agent, make_child
root = make_agent(Path({path!r}))
child = make_child(root)
make_child(child), make_child(root)
Envelope.objects.update(max_live=None, executions_limit=None, wall_limit_seconds=None)
Envelope.objects.filter(kind="tree").update(
    max_live=6, executions_limit=60, wall_limit_seconds=1200, tool_calls_limit=150, usd_limit_micros=1500, tokens_limit=9000)
Envelope.objects.filter(key="agent:2").update(executions_limit=25, usd_limit_micros=300, tool_calls_limit=60)
fleet = Envelope.objects.get(kind="fleet")
budgets.ensure(kind="day", key="fleet:day:2026-11-28", parent=fleet, limits={{"executions_limit": 45}})
Host.objects.create(name="h", slots=1000), Host.objects.create(name="late", slots=100000)
"""


def hammer(stack: Any, tmp_path: Path, *, processes: int, guard: str = "") -> dict[str, Any]:
    repository = make_git_repository(tmp_path / "repository")
    stack.manage("shell", "-v0", "-c", MAKE.format(path=str(repository)), timeout=120)
    report: dict[str, Any]
    (report,) = forks.run("tests.services.budget_hammer", processes, SECONDS, guard, env=stack.env)
    return report


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("database", "processes"), [("sqlite", 8), ("postgres", 16)])
def test_no_limit_is_passed_and_nothing_is_lost_or_released_twice(new_stack, tmp_path, database, processes):
    report = hammer(new_stack(database=database, is_replayed=False), tmp_path, processes=processes)
    assert report["broken"] == report["broken_at_the_end"] == []
    assert report["held"] == []
    assert report["root_is_its_ledger"]
    # Each run that was committed is settled once; what died before its commit has left nothing.
    assert report["settled"] == report["reserved"] <= report["runs"]
    assert report["orphans"] == 0
    # The test is worth something only if the processes met, and some died.
    assert report["kills"] >= 1, report
    assert min(report["counts"].get(name, 0) for name in ("launched", "settled", "called")) > 5, report
    assert report["counts"].get("no room", 0) + report["counts"].get("no money", 0) > 0, report
    assert report["looks"] >= 5
    assert not [what for what in report["counts"] if what.startswith("database")], report


@pytest.mark.timeout(240)
@pytest.mark.parametrize("guard", ["room", "once"])
def test_the_hammer_notices_a_missing_guard(new_stack, tmp_path, guard):
    """The mutation run: without the guard the same test must be red."""
    report = hammer(new_stack(database="postgres", is_replayed=False), tmp_path, processes=8, guard=guard)
    is_red = bool(report["broken"] or report["broken_at_the_end"] or report["settled"] != report["reserved"])
    assert is_red or any(what.startswith("database") for what in report["counts"]), report


RUN = """
import json
from datetime import timedelta
from pathlib import Path
from django.utils import timezone
from coordinator.rules import capability
from coordinator.rules.capability import EVERYTHING
from coordinator.models import Agent
from grid import bearers
from grid.models import Execution
from tests.factories import make_agent, make_execution
agent = make_agent(Path({path!r}))
run = make_execution(agent.subject, root=agent.root_key)
until = timezone.now() + timedelta(hours=1)
Execution.objects.filter(pk=run.pk).update(state="running", token=1, host="elsewhere", lease_until=until, started_at=timezone.now())
Agent.objects.filter(pk=agent.pk).update(execution_id=run.pk, state="running", capability=capability.as_json(EVERYTHING))
print(json.dumps(bearers.mint(run.pk, fence=1)))
"""
CALLS = """
import json
from coordinator.models import Envelope, ModelCall
tree = Envelope.objects.get(kind="tree")
print(json.dumps([[[call.state, call.reason, call.is_estimated] for call in ModelCall.objects.all()],
                  tree.usd_reserved_micros, tree.usd_spent_micros]))
"""


@pytest.mark.timeout(180)
def test_a_web_killed_in_the_middle_of_a_model_call_holds_its_money_for_a_minute_at_most(new_stack, tmp_path):
    repository = make_git_repository(tmp_path / "repository")
    with socket.create_server(("127.0.0.1", 0)) as provider:  # takes connections and never answers
        url = f"http://127.0.0.1:{provider.getsockname()[1]}"
        extra = {"GATEWAY_PROVIDERS": "anthropic", "GATEWAY_ANTHROPIC_URL": url, "GATEWAY_ANTHROPIC_API_KEY": "sk-x"}
        stack = new_stack(extra_env=extra, is_replayed=False).start("web", "control", "beat")
        token = json.loads(stack.manage("shell", "-v0", "-c", RUN.format(path=str(repository))).stdout)
        threading.Thread(target=_call, args=(stack.port, token), daemon=True).start()

        def calls() -> Any:
            return json.loads(stack.manage("shell", "-v0", "-c", CALLS).stdout)

        (call,), held, _ = stack.wait_until(lambda: found if (found := calls())[0] else None, "a call is under way")
        assert call == ["reserved", "", False]
        assert held > 0
        # As long as it lives it is left alone, however long its provider takes: the run of the call is live all the time.
        stack.kill9("web")
        found = stack.wait_until(
            lambda: found if (found := calls())[1] == 0 else None,
            "the dead gateway's call is released",
            timeout=60,
            pause=1,
        )
        assert found == [[["settled", "its gateway is dead", True]], 0, held]


def _call(port: int, token: str) -> None:
    body = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(
            f"http://127.0.0.1:{port}/gateway/anthropic/v1/messages",
            json=body,
            headers={"x-api-key": token},
            timeout=120,
        )
