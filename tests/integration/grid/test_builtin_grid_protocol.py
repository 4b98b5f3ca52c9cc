"""The built-in agent's client of the grid's tools against a server that says whatever a test wants, also nonsense."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from grid.agents.builtin.grid_tools import GridLostError, GridServer
from grid.agents.builtin.options import Options
from grid.agents.builtin.report import Report
from grid.agents.builtin.session import Session
from grid.agents.builtin.workspace import Workspace
from grid.toolkit import calling
from grid.toolkit.errors import ToolRefusedError, ToolUnavailableError

type Answer = tuple[int, str, str]
"""Status, content type, body."""

TOOLS = [
    {"name": "nudge", "description": "Nudge.", "inputSchema": {"type": "object", "properties": {"why": {}}}},
    {"name": "get_children", "annotations": {"readOnlyHint": True}},
    {"name": "secret", "description": "Not granted."},
]


def said(number: int, result: dict[str, Any]) -> Answer:
    return 200, "application/json", json.dumps({"jsonrpc": "2.0", "id": number, "result": result})


@dataclass
class Fake:
    """A server whose answers to `tools/call` a test sets; the rest is answered as it should be."""

    url: str = ""
    on_call: Callable[[int], Answer] = lambda number: said(number, {"content": [{"type": "text", "text": "ok"}]})
    failures: list[int] = field(default_factory=list)
    """Statuses of the first answers, before it works."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def answer(self, message: dict[str, Any], headers: dict[str, str]) -> Answer:
        method, number = message["method"], message.get("id", 0)
        self.asked.append((method, headers))
        if self.failures:
            return self.failures.pop(0), "text/plain", "no"
        if method == "initialize":
            return said(number, {"protocolVersion": "2025-03-26"})
        if method == "tools/list":
            first = "cursor" not in message["params"]
            return said(number, {"tools": TOOLS[:1], "nextCursor": "2"} if first else {"tools": TOOLS[1:]})
        return (202, "text/plain", "") if method.startswith("notifications/") else self.on_call(number)


@pytest.fixture
def fake() -> Iterator[Fake]:
    server_side = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, kind, body = server_side.answer(message, headers)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server_side.url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server_side
    server.shutdown()
    server.server_close()


@pytest.fixture
def session(tmp_path: Any) -> Iterator[Session]:
    workspace = Workspace(tmp_path)
    yield Session(options=Options(model="ollama:x"), workspace=workspace, report=Report(1), command_env={})
    workspace.close()


def ask(fake: Fake, session: Session, name: str = "nudge") -> Any:
    """Connect and call one tool."""

    async def once() -> Any:
        server = GridServer(url=fake.url, token="agx_t")
        try:
            tools = {tool.name: tool for tool in await server.tools(["nudge", "get_children"])}
            assert sorted(tools) == ["get_children", "nudge"]
            assert tools["get_children"].is_repeatable
            assert not tools["nudge"].is_repeatable
            assert tools["nudge"].schema == TOOLS[0]["inputSchema"]
            return await calling.call(tools[name], {}, context=session)
        finally:
            await server.close()

    return asyncio.run(once())


def test_the_hello_settles_the_version_and_each_request_shows_the_token(fake: Fake, session: Session) -> None:
    session.grid_problem = "an earlier one"

    assert ask(fake, session) == "ok"

    methods = [method for method, _ in fake.asked]
    assert methods == ["initialize", "notifications/initialized", "tools/list", "tools/list", "tools/call"]
    assert {headers["authorization"] for _, headers in fake.asked} == {"Bearer agx_t"}
    assert {headers.get("mcp-protocol-version") for _, headers in fake.asked[1:]} == {"2025-03-26"}
    assert session.grid_problem == ""


def test_a_grid_that_is_just_restarting_is_asked_again(fake: Fake, session: Session) -> None:
    fake.failures = [503]
    assert ask(fake, session) == "ok"


def test_a_refused_token_is_final_at_once(fake: Fake, session: Session) -> None:
    fake.failures = [401] * 9
    with pytest.raises(GridLostError, match=r"refused this run's token \(HTTP 401\)"):
        ask(fake, session)
    assert len(fake.asked) == 1


def test_a_token_that_dies_in_the_middle_ends_the_run(fake: Fake, session: Session) -> None:
    fake.on_call = lambda number: (401, "text/plain", "")
    with pytest.raises(GridLostError):
        ask(fake, session)


def stream(number: int) -> Answer:
    other = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
    mine = json.loads(said(number, {"content": [{"type": "text", "text": "streamed"}]})[2])
    events = f": hi\r\n\r\ndata: {json.dumps(other)}\r\n\r\nevent: message\r\ndata: {json.dumps(mine)}\r\n\r\n"
    return 200, "text/event-stream; charset=utf-8", events


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}, "a\nb"),
        ({"content": [], "structuredContent": {"n": 1}}, {"n": 1}),
        ({"content": "nonsense"}, "(nothing)"),
        ({}, "(nothing)"),
    ],
)
def test_what_a_tool_answers_is_told(fake: Fake, session: Session, result: dict[str, Any], expected: Any) -> None:
    fake.on_call = lambda number: said(number, result)
    assert ask(fake, session) == expected


def test_an_answer_may_come_as_a_stream(fake: Fake, session: Session) -> None:
    fake.on_call = stream
    assert ask(fake, session) == "streamed"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"result": {"isError": True, "content": [{"type": "text", "text": "budget spent"}]}}, "budget spent"),
        ({"result": {"isError": True}}, "nudge failed without a reason"),
        ({"error": {"message": "unknown tool"}}, "the grid refuses tools/call: unknown tool"),
        ({"error": "odd"}, "the grid refuses tools/call: no reason given"),
    ],
)
def test_a_refusal_is_told_and_is_no_problem_of_the_grid(
    fake: Fake, session: Session, answer: dict[str, Any], words: str
) -> None:
    fake.on_call = lambda number: (200, "application/json", json.dumps({"id": number, **answer}))
    session.grid_problem = "an earlier one"
    with pytest.raises(ToolRefusedError, match=words) as caught:
        ask(fake, session)
    assert not isinstance(caught.value, ToolUnavailableError)
    assert session.grid_problem == ""


@pytest.mark.parametrize(
    "answer",
    [
        (500, "text/plain", "boom"),
        (429, "text/plain", "slow down"),
        (404, "text/html", "<html>"),
        (302, "text/plain", ""),
        (200, "application/json", "{"),
        (200, "application/json", '{"id": "other", "result": {}}'),
        (200, "application/json", "[" * 100_000),
        (200, "text/event-stream", "data: {\n\n"),
        (200, "application/json", '{"result": "' + "x" * (4 << 20) + '"}'),
    ],
)
def test_no_usable_answer_is_remembered_as_a_problem(fake: Fake, session: Session, answer: Answer) -> None:
    fake.on_call = lambda number: answer
    with pytest.raises(ToolUnavailableError):
        ask(fake, session)
    assert "try again later" in session.grid_problem
