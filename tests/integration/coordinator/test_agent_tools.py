"""The grid's tools through the real application: MCP with the official client, REST, gridctl; and what a hostile agent tries."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.utils import timezone
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from coordinator.ending import outbox
from coordinator.models import Agent, Message, Nudge, UpgradeRequest
from coordinator.public_types import MessageKind
from coordinator.rules import capability as capabilities
from coordinator.talk import messages
from coordinator.teamwork import upgrades
from coordinator.web import agent_door
from coordinator.web.rates import Rates
from grid import bearers, gridctl
from grid.models import Event, Execution
from grid.public_types import OutcomeKind
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import Running, end, running
from tests.integration.coordinator.web_here import Web, web_here
from tracker import public_api as tracker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_git_repository(tmp_path_factory.mktemp("app") / "app")


@pytest.fixture
def web(transactional_db: None) -> Iterator[Web]:
    with web_here() as server:
        yield server


@pytest.fixture
def run(repository: Path) -> Running:
    return running(make_agent(repository))


def events(run: Running, *kinds: str) -> list[dict[str, Any]]:
    rows = Event.objects.filter(stream=f"execution:{run.execution_id}", kind__in=kinds).order_by("seq")
    return [{"kind": row.kind, **row.body} for row in rows]


def hold(run: Running, *tools: str) -> None:
    """Let the agent's capability hold just these tools."""
    held = capabilities.from_json(run.agent.capability)
    narrow = capabilities.as_json(held) | {"tools": sorted(tools)}
    Agent.objects.filter(pk=run.agent_id).update(capability=narrow)


def test_the_official_client_lists_and_calls_and_leaves_events(web, run):
    async def talk() -> tuple[list[str], Any, Any]:
        async with (
            httpx2.AsyncClient(headers=run.headers) as client,
            streamable_http_client(f"{web.url}/mcp", http_client=client) as (read, write),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            listed = await session.list_tools()
            good = await session.call_tool("report_state", {"status": "reading", "done": 1, "total": 3})
            bad = await session.call_tool("nudge", {"who": run.token})
            return [tool.name for tool in listed.tools], good, bad

    names, good, bad = asyncio.run(talk())
    assert {"spawn_agents", "get_children", "finish"} <= set(names)
    assert (good.is_error, good.structured_content) == (False, {"reported": "reading"})
    assert bad.is_error and "agent: Field required" in bad.content[0].text
    told = events(run, "tool.requested", "tool.result")
    assert [(row["kind"], row["name"]) for row in told] == [
        ("tool.requested", "report_state"),
        ("tool.result", "report_state"),
        ("tool.requested", "nudge"),
        ("tool.result", "nudge"),
    ]
    assert [row["ok"] for row in told if row["kind"] == "tool.result"] == [True, False]
    assert run.token not in json.dumps(told) and told[2]["args"] == {"who": "agx_…"}
    assert Execution.objects.get(pk=run.execution_id).connected_at is not None


def test_only_tokens_of_running_executions_open_anything(web, run, repository):
    other = running(make_agent(repository, title="Another"))
    stale = {"Authorization": f"Bearer {bearers.mint(other.execution_id, fence=other.fence)}"}
    end(other, OutcomeKind.BLOCKED)
    expired = running(make_agent(repository, title="Expired"))
    Execution.objects.filter(pk=expired.execution_id).update(lease_until=timezone.now() - timedelta(seconds=1))
    strangers = [{}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer agx_wrong"}, stale, expired.headers]
    for headers in strangers:
        for method, path in (("POST", "/mcp"), ("GET", "/api/agent/v1/tools"), ("POST", "/api/agent/v1/tools/finish")):
            status, _, answered = web.request(method, path, headers=headers, body=b"{}" if method == "POST" else None)
            assert (status, answered["www-authenticate"][:6]) == (401, "Bearer"), (headers, path)
    assert Execution.objects.get(pk=expired.execution_id).connected_at is None
    assert web.rest(run.headers, "report_state", status="here")[0] == 200


def test_tools_beyond_the_capability_are_neither_listed_nor_callable(web, run):
    hold(run, "get_children", "finish", "run_command")
    listed = web.request("GET", "/api/agent/v1/tools", headers=run.headers)[1]["tools"]
    assert [tool["name"] for tool in listed] == ["get_children", "finish"]
    _, answer = web.rpc(run.headers, "tools/list")
    assert [tool["name"] for tool in answer["result"]["tools"]] == ["get_children", "finish"]
    children = [{"key": "a", "title": "A"}]
    status, said = web.rest(run.headers, "spawn_agents", children=children)
    assert status == 404 and "you have get_children, finish" in said["error"]
    _, answer = web.rpc(run.headers, "tools/call", {"name": "spawn_agents", "arguments": {"children": children}})
    assert answer["result"]["isError"] and "no tool 'spawn_agents'" in answer["result"]["content"][0]["text"]
    assert len(events(run, "tool.requested")) == 2, "what was refused is recorded, too"
    assert not Agent.objects.filter(parent_id=run.agent_id).exists()


@pytest.mark.parametrize(
    ("name", "key", "rest"),
    [("nudge", "agent", {}), ("send_message", "to", {"text": "hi"}), ("answer_upgrade", "request", {"grant": True})],
)
def test_what_belongs_to_others_is_answered_for_like_what_does_not_exist(web, run, repository, name, key, rest):
    mine = make_child(run.agent)
    grandchild = make_child(mine)
    other = make_agent(repository, title="Another")
    foreign: list[Any] = [str(row.pk) for row in (make_child(other), other, grandchild, run.agent)]
    unknown: list[Any] = ["999999", "x" * 30, "1e3", "-1"]
    if name == "answer_upgrade":
        asked = [upgrades.request(pk, wish={"depth": 90}, reason="x").id for pk in map(int, foreign)]
        foreign, unknown = asked, [999_999]
    answers = [web.rest(run.headers, name, **{key: who}, **rest) for who in [*foreign, *unknown]]
    assert {status for status, _ in answers} == {422}
    assert len({answer["error"] for _, answer in answers}) == 1, answers
    assert not Message.objects.filter(post__sender=f"agent:{run.agent_id}").exists()
    assert not UpgradeRequest.objects.exclude(state="open").exists()
    assert not Nudge.objects.filter(agent__in=[grandchild, other], source="parent").exists()


def test_giant_and_broken_arguments_are_refused_and_bounded(web, run):
    giant = json.dumps({"status": "x" * 2_000_000}).encode()
    status, said, _ = web.request("POST", "/api/agent/v1/tools/report_state", headers=run.headers, body=giant)
    assert status == 413 and "1000000 bytes" in said["error"]
    headers = {**run.headers, "Content-Type": "application/json", "Accept": "application/json"}
    assert web.request("POST", "/mcp", headers=headers, body=giant)[0] == 413
    assert web.rest(run.headers, "report_state", status="x", note="n" * 900_000)[0] == 422
    recorded = Event.objects.get(stream=f"execution:{run.execution_id}", kind="tool.requested")
    assert len(json.dumps(recorded.body)) <= 16 * 1024 and recorded.body["truncated"]
    for body in (b"{", b"[1]", b'"x"', b"\xff", b"[" * 100_000):
        assert web.request("POST", "/api/agent/v1/tools/finish", headers=run.headers, body=body)[0] == 400
    assert web.rest(run.headers, "report_state", status="a nul \0")[0] == 200
    assert web.rest(run.headers, "report_state", status="half a pair \ud800")[0] == 422


def test_too_many_calls_get_clear_refusals_and_one_event_a_second(web, run, monkeypatch):
    # Slower than in production, so that a busy machine can overrun it.
    monkeypatch.setattr(agent_door.door, "_rates", Rates(per_second=2, burst=5))

    def one(number: int) -> int:
        if number % 2:
            return web.rpc(run.headers, "tools/list")[0]
        return web.request("GET", "/api/agent/v1/tools", headers=run.headers)[0]

    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(one, range(200)))
    took = time.monotonic() - began
    refused = statuses.count(429)
    assert set(statuses) == {200, 429} and statuses.count(200) <= 5 + 2 * (took + 1)
    while (answer := web.request("GET", "/api/agent/v1/tools", headers=run.headers))[0] == 200:
        pass
    assert "2 a second are answered" in answer[1]["error"] and int(answer[2]["retry-after"]) >= 1
    refused += 1
    deadline = time.monotonic() + 20
    while sum(row["refused"] for row in events(run, "tool.refused")) < refused and time.monotonic() < deadline:
        time.sleep(0.1)
    told = events(run, "tool.refused")
    assert sum(row["refused"] for row in told) == refused
    assert len(told) <= time.monotonic() - began + 1


def test_a_name_of_the_server_that_is_not_ours_is_refused(web, run):
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert web.request("POST", "/mcp", headers={**run.headers, **headers}, body=b"{}")[0] == 421
    assert web.request("GET", "/mcp", headers=run.headers)[0] == 405


def test_both_doors_share_one_schema_for_every_tool(web, run):
    rest = web.request("GET", "/api/agent/v1/tools", headers=run.headers)[1]["tools"]
    _, answer = web.rpc(run.headers, "tools/list")
    assert [(t["name"], t["description"], t["inputSchema"]) for t in answer["result"]["tools"]] == [
        (t["name"], t["description"], t["arguments"]) for t in rest
    ]


def test_children_are_spawned_shown_and_talked_to(web, run):
    children = [{"key": "parser", "title": "Add a parser", "body": "All of it."}]
    status, said = web.rest(run.headers, "spawn_agents", children=children)
    assert (status, said["result"]["asked"]) == (200, ["parser"])
    assert web.rest(run.headers, "spawn_agents", children=children)[1]["result"]["known"] == ["parser"]
    pending = web.rest(run.headers, "get_children")[1]["result"]
    assert pending == {"children": [], "pending": [{"key": "parser", "state": "is being made"}]}
    outbox.drain(run.agent.repository_id)
    more = [
        {"key": "docs", "title": "Describe it", "blocked_by": ["tests", "parser"]},
        {"key": "tests", "title": "Test it", "blocked_by": ["parser"]},
    ]
    assert web.rest(run.headers, "spawn_agents", children=more)[1]["result"]["asked"] == ["docs", "tests"]
    outbox.drain(run.agent.repository_id)
    waiting = {row.issue.title: tracker.open_blockers(row.issue_id) for row in Agent.objects.filter(depth=1)}
    assert {title: len(refs) for title, refs in waiting.items()} == {"Add a parser": 0, "Describe it": 2, "Test it": 1}
    lost = [{"key": "x", "title": "X", "blocked_by": ["no-such"]}]
    assert "no sibling with the key 'no-such'" in web.rest(run.headers, "spawn_agents", children=lost)[1]["error"]
    child = web.rest(run.headers, "get_children")[1]["result"]["children"][0]
    assert (child["key"], child["title"], child["used"]["runs"]) == ("parser", "Add a parser", 0)
    status, said = web.rest(run.headers, "send_message", to=child["agent"], text="mind the tests")
    assert (status, said["result"]["state"]) == (200, "queued")
    lower = running(Agent.objects.get(pk=int(child["agent"])))
    reported = web.rest(lower.headers, "report_state", status="testing", done=2, total=5)[1]
    assert reported["notes"] == ["Message from your parent:\nmind the tests"], "its prompt was made before"
    assert web.rest(lower.headers, "send_message", to="parent", text="half way")[0] == 200
    told = web.rest(run.headers, "get_children")[1]
    assert told["result"]["children"][0]["says"] == "testing, 2 of 5"
    assert told["notes"] == [f"Message from agent {child['agent']}, one of your children:\nhalf way"]
    row = Message.objects.get(post__text="half way")
    assert (row.state, row.channel, row.execution_id) == ("seen", "tool", run.execution_id)
    assert web.rest(run.headers, "nudge", agent=child["agent"])[1]["result"]["reason"].startswith("execution")


def test_messages_come_with_the_next_mcp_answer_once(web, run):
    messages.tell(run.agent_id, sender="cli:ann", text="use tabs")
    call = {"name": "report_state", "arguments": {"status": "x"}}
    first = web.rpc(run.headers, "tools/call", call)[1]["result"]["content"]
    assert [block["text"] for block in first[1:]] == ["Message from ann (an operator):\nuse tabs"]
    assert len(web.rpc(run.headers, "tools/call", call)[1]["result"]["content"]) == 1
    inbox = web.rest(run.headers, "read_inbox")[1]["result"]["messages"]
    assert [(row["from"], row["text"], row["new"]) for row in inbox] == [("ann (an operator)", "use tabs", False)]


def test_what_comes_with_a_runs_last_word_waits_for_another_run(web, run):
    messages.tell(run.agent_id, sender="cli:ann", text="use tabs")
    refused = web.rest(run.headers, "finish", outcome="split", children=[])[1]
    assert refused["notes"] == ["Message from ann (an operator):\nuse tabs"], "it goes on"
    messages.tell(run.agent_id, sender="cli:ann", text="which one?", kind=MessageKind.QUESTION)
    (note,) = web.rest(run.headers, "finish", outcome="blocked", summary="stuck")[1]["notes"]
    assert note.startswith("1 message waits for you. Call read_inbox")
    assert Message.objects.get(post__text="which one?").state == "queued"
    assert web.rest(run.headers, "read_inbox")[1]["result"]["messages"][-1]["text"] == "which one?"
    assert web.rest(run.headers, "finish", outcome="blocked", summary="stuck")[1]["notes"] == []


def test_finish_is_checked_and_kept_for_the_judge(web, run, settings):
    settings.COORDINATOR_MAX_CHILDREN = 1
    many = [{"key": key, "title": key} for key in ("a", "b")]
    for wrong in (
        {"outcome": "done", "children": many},
        {"outcome": "split", "children": []},
        {"outcome": "split", "children": many},
        {"outcome": "split", "children": [{"key": "A b", "title": "x"}]},
    ):
        assert web.rest(run.headers, "finish", **wrong)[0] == 422, wrong
    assert Execution.objects.get(pk=run.execution_id).report is None
    assert web.rest(run.headers, "finish", outcome="done", summary="first")[0] == 200
    assert web.rest(run.headers, "finish", outcome="blocked", summary="which one?")[0] == 200
    assert Execution.objects.get(pk=run.execution_id).report["summary"] == "which one?"


def test_the_profiles_limit_of_calls_counts_in_the_database(web, run):
    row = Execution.objects.get(pk=run.execution_id)
    row.spec["profile"] = {
        "mixins": [{"budget": {"tool_calls": 2}}, {"denylist": {"tools": ["send_message"]}}, "trace"],
    }
    row.save(update_fields=["spec"])
    assert "not allowed in this run" in web.rest(run.headers, "send_message", to="parent", text="x")[1]["error"]
    assert [web.rest(run.headers, "get_children")[0] for _ in range(2)] == [200, 422]
    assert web.rest(run.headers, "finish", outcome="done")[0] == 200, "an agent can always end well"


def test_gridctl_speaks_for_an_agent_from_its_home_alone(web, run, tmp_path):
    folder = gridctl.place(tmp_path, python="/nowhere/python")
    env = {
        "PATH": f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "AGENTGRID_URL": web.url,
        "AGENTGRID_TOKEN": run.token,
    }

    def call(*argv: str, token: str = run.token) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["gridctl", *argv],
            env={**env, "AGENTGRID_TOKEN": token},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    listed = call("tools")
    assert listed.returncode == 0 and "spawn_agents" in listed.stdout
    messages.tell(run.agent_id, sender="cli:ann", text="use tabs")
    said = call("report_state", "--status", "reading", "--done", "1")
    assert (said.returncode, json.loads(said.stdout)) == (0, {"reported": "reading"})
    assert "use tabs" in said.stderr
    refused = call("call", "nudge", '{"agent": "999"}')
    assert (refused.returncode, refused.stdout) == (1, "") and "no such agent" in refused.stderr
    assert call("tools", token="agx_wrong").returncode == 3
    assert call("no_such_tool").returncode == 1
    env["AGENTGRID_URL"] = "http://127.0.0.1:1"
    assert call("tools").returncode == 4
    assert os.listdir(tmp_path) == ["bin"]
