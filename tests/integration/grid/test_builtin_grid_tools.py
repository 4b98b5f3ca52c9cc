"""The built-in agent as a real subprocess beside a real MCP server, with mixins, and with messages while it runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grid.agents import registry
from grid.agents.base import TOKEN_ENV
from tests.unit.grid.agents.support.grid_server import TOKEN, GridServer, grid_server
from tests.unit.grid.agents.support.runs import Place, Ran

FINISH = {"call": "finish", "args": {"outcome": "done", "summary": "All done."}}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
    return Place(root=tmp_path)


@pytest.fixture
def grid() -> Iterator[GridServer]:
    with grid_server() as server:
        yield server


def play(place: Place, grid: GridServer | None, *steps: dict[str, Any], token: str = TOKEN, **options: Any) -> Ran:
    given = {"model": "scripted", "script": json.dumps({"steps": list(steps)}), **options}
    if grid is not None:
        given |= {"grid_url": grid.url, "grid_tools": ["get_children", "report_state"]}
    return place.run("builtin", given, env={TOKEN_ENV: token})


def results(ran: Ran) -> list[tuple[str, bool, str]]:
    return [(body["name"], body["ok"], body["text"]) for body in ran.bodies("tool.result")]


def test_grid_tools_are_called_like_local_ones_through_the_mixins(place: Place, grid: GridServer) -> None:
    ran = play(
        place,
        grid,
        {"calls": [{"call": "get_children", "args": {}}, {"call": "list_files", "args": {}}]},
        {"call": "report_state", "args": {"text": "half way"}},
        {"call": "report_state", "args": {"text": 5}},
        {"expect": "valid string", "call": "run_command", "args": {"command": f'echo "[${TOKEN_ENV}]"'}},
        FINISH,
        mixins=["trace", {"budget": {"tool_calls": 4, "warn_percent": 60}}],
    )

    assert ran.verdict.ok, ran.verdict
    assert grid.calls == [("get_children", ""), ("report_state", "half way")]
    assert [name for name, ok, _ in results(ran) if not ok] == ["report_state"]
    assert ("get_children", True, "1.1 running") in results(ran)
    assert any("[budget: 3 of 4 tool calls are used" in text for _, _, text in results(ran))
    traced = [(body["name"], body["ok"]) for body in ran.bodies("tool.trace")]
    assert sorted(traced[:2]) == [("get_children", True), ("list_files", True)]
    assert traced[2:] == [("report_state", True), ("report_state", False), ("run_command", True), ("finish", True)]
    # The token is for the agent's own client: commands do not get it.
    assert results(ran)[-2][2].startswith("exit 0\n[]\n")
    assert TOKEN.encode() not in ran.out


def test_a_tool_that_was_not_granted_is_not_there(place: Place, grid: GridServer) -> None:
    ran = play(place, grid, {"call": "nudge", "args": {}}, {"expect": "Unknown tool name"} | FINISH)
    assert ran.verdict.ok
    assert grid.calls == []  # and `finish` was the local one


def test_a_refused_token_fails_the_run_at_once(place: Place, grid: GridServer) -> None:
    ran = play(place, grid, FINISH, token="agx_somebody-elses")

    assert not ran.verdict.ok
    assert "failed: the grid refused this run's token (HTTP 401)" in ran.verdict.reason
    assert ran.bodies("tool.requested") == []


def test_a_server_out_of_reach_fails_the_run_at_once(place: Place) -> None:
    nowhere = GridServer(url="http://127.0.0.1:9/mcp")
    ran = play(place, nowhere, FINISH)
    assert not ran.verdict.ok
    assert "failed: the grid's tools cannot be had: the grid is out of reach (ConnectError)" in ran.verdict.reason


def test_a_server_that_dies_is_told_to_the_model_and_fails_the_run(place: Place, grid: GridServer) -> None:
    ran = play(
        place,
        grid,
        {"call": "report_state", "args": {"text": "die"}},
        {"expect": "try again later", "call": "get_children", "args": {}},
        {"expect": "out of reach", "call": "write_file", "args": {"path": "a", "content": "kept"}},
        FINISH,
        mixins=[{"retry": {"attempts": 3, "wait_seconds": 0.1}}],
    )

    assert not ran.verdict.ok
    assert "the last call of a grid tool got no answer: the grid is out of reach" in ran.verdict.reason
    assert [ok for _, ok, _ in results(ran)] == [False, False, True, True]
    assert [call for call in grid.calls if call[0] == "report_state"] == [
        ("report_state", "die")
    ]  # never a second time
    assert (place.files.workspace / "a").read_text() == "kept"


def test_a_denied_command_is_refused_and_the_loop_goes_on(place: Place) -> None:
    ran = play(
        place,
        None,
        {"call": "run_command", "args": {"command": "touch a && git push origin"}},
        {"expect": "'git push[*]' is not allowed in this run"} | FINISH,
        mixins=[{"denylist": {"arguments": {"run_command": ["git push*"]}}}],
    )
    assert ran.verdict.ok, ran.verdict
    assert not (place.files.workspace / "a").exists()


def test_only_allowed_tools_are_there(place: Place) -> None:
    ran = play(
        place,
        None,
        {"call": "run_command", "args": {"command": "touch a"}},
        {"expect": "Unknown tool name: 'run_command'"} | FINISH,
        tools=["read_file"],
    )
    assert ran.verdict.ok, ran.verdict
    assert not (place.files.workspace / "a").exists()


def test_a_long_conversation_is_cut_and_goes_on(place: Place) -> None:
    (place.files.workspace / "big").write_text("word " * 1_200)
    reads = [{"call": "read_file", "args": {"path": "big"}}] * 12

    ran = play(place, None, *reads, FINISH, limits={"context_tokens": 4_000})

    assert ran.verdict.ok, ran.verdict
    sizes = [body["usage"]["input_tokens"] for body in ran.bodies("llm.result")]
    assert len(sizes) == 13
    assert max(sizes) < 5_000  # 15,000 and more if it all were kept


def test_messages_are_shown_before_the_next_request_and_acknowledged(place: Place) -> None:
    """Standard input stays open, as the shim's does; the model stops without `finish` until it has heard."""
    script = {"steps": [{"call": "run_command", "args": {"command": "while ! [ -e go ]; do sleep 0.05; done"}}, FINISH]}
    adapter = registry.get("builtin")
    launch = adapter.launch(
        options={"model": "scripted", "script": json.dumps(script)}, files=place.files, prompt="Do it."
    )
    assert launch.live_input
    for name, data in launch.files.items():
        (place.files.home / name).parent.mkdir(parents=True, exist_ok=True)
        (place.files.home / name).write_bytes(data)
    process = subprocess.Popen(
        launch.argv, env=dict(launch.env), cwd=place.files.workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(launch.prompt)
        process.stdin.flush()
        lines = iter(process.stdout.readline, b"")
        for line in lines:
            if b'"requested"' in line:
                break
        messages = [
            {"type": "message", "id": "m1", "text": "Mind the tests.", "from": "agent 4"},
            {"type": "message", "id": "m1", "text": "Mind the tests.", "from": "agent 4"},
            {"type": "message", "id": "m2", "text": ""},
        ]
        process.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        process.stdin.flush()
        time.sleep(0.2)
        (place.files.workspace / "go").touch()
        parser = adapter.parser()
        events = [event for line in lines for event in parser.feed("out", line.decode().rstrip("\n"))]
        assert process.wait(20) == 0  # although its input is still open
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()

    inbox = [event.body for event in events if event.kind == "agent.inbox"]
    assert inbox == [
        {"id": "m2", "state": "refused", "reason": "a message needs 'text', and 'from' is a text"},
        {"id": "m1", "state": "seen"},
    ]
    kinds = [event.kind for event in events]
    assert (
        kinds.index("tool.result")
        < len(kinds) - 1 - kinds[::-1].index("agent.inbox")
        < len(kinds) - 1 - kinds[::-1].index("llm.result")
    )
