"""Updates of ACP agents, shortened from recorded ones, and our client with a stand-in for the agent behind it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from grid.agents import registry
from grid.agents.acp import AcpParser
from grid.agents.acp_client.permissions import Answer, decide
from grid.agents.base import ParsedEvent, RunFiles, Verdict
from grid.agents.errors import InvalidOptionsError
from grid.phases import Ended
from grid.public_types import Outcome, OutcomeKind
from tests.unit.grid.agents.support import doubles
from tests.unit.grid.agents.support.runs import Place, Process, Ran

FILES = RunFiles(workspace=Path("/w"), home=Path("/h"), python=sys.executable, path="/usr/bin:/bin")
LEFT = Ended(reason="exited", exit_code=0)
SERVER = {"url": "http://127.0.0.1:8899/mcp", "token_env": "GRID_TOKEN"}
OFFERED = [("always", "allow_always"), ("yes", "allow_once"), ("no", "reject_once"), ("never", "reject_always")]

Json = dict[str, Any]


def chunk(words: str, kind: str = "agent_message_chunk") -> Json:
    return {"content": {"text": words, "type": "text"}, "messageId": "m-1", "sessionUpdate": kind}


def call(**fields: Any) -> Json:
    return {"toolCallId": "c-1", "sessionUpdate": "tool_call", **fields}


def update(**fields: Any) -> Json:
    return call(**fields) | {"sessionUpdate": "tool_call_update"}


def content(words: str) -> list[Json]:
    return [{"content": {"text": words, "type": "text"}, "type": "content"}]


START = {"type": "start", "agent": "OpenCode 1.18.33", "session": "ses_1"}
END = {"type": "result", "status": "ok", "stop_reason": "end_turn", "error": "", "usage": {}}
COMMAND = {"command": "ls"}
RECORDED = {
    "claude": [
        call(title="Terminal", kind="execute", status="pending", content=[], rawInput={}),
        update(title="ls", kind="execute", content=[], rawInput=COMMAND),
        {"used": 1660, "size": 1_000_000, "sessionUpdate": "usage_update"},
        update(_meta={"claudeCode": {"toolName": "Bash"}}),
        update(status="completed", content=content("a"), rawOutput="a"),
    ],
    "codex": [
        call(title="ls", kind="execute", status="in_progress", rawInput=COMMAND),
        update(status="completed", rawOutput={"stdout": "a", "exit_code": 0}),
    ],
    "opencode": [
        call(title="bash", kind="execute", status="pending", rawInput={"cwd": "/workspace"}),
        update(title="ls", kind="execute", status="in_progress", rawInput=COMMAND),
        update(title="ls", kind="execute", status="in_progress", rawInput=COMMAND),
        update(title="ls", status="completed", content=content("a"), rawOutput={"output": "a"}),
    ],
    "gemini": [
        call(title="ls", kind="execute", status="in_progress", content=content("[cwd]"), locations=[]),
        update(title="ls", kind="execute", status="completed", content=content("a"), locations=[]),
    ],
}


def read(*lines: Json) -> tuple[AcpParser, list[ParsedEvent]]:
    parser = AcpParser()
    return parser, [event for line in lines for event in parser.feed("out", json.dumps(line))]


def judged(*lines: Json, ended: Ended = LEFT, outcome: Outcome | None = None) -> Verdict:
    parser, _ = read(*lines)
    return registry.get("acp").verdict(parser=parser, ended=ended, outcome_file=outcome, changed=True)


@pytest.mark.parametrize("agent", RECORDED)
def test_each_agents_way_to_tell_of_a_call_becomes_one_call_and_one_result(agent: str) -> None:
    _, events = read(START, chunk("I'll "), chunk("look."), *RECORDED[agent], chunk("Done."), END)

    assert [(event.kind, event.body.get("text")) for event in events if event.kind == "agent.message"] == [
        ("agent.message", "OpenCode 1.18.33, over ACP"),
        ("agent.message", "I'll look."),
        ("agent.message", "Done."),
    ]
    (asked,) = (event.body for event in events if event.kind == "tool.requested")
    (result,) = (event.body for event in events if event.kind == "tool.result")
    assert asked["name"] == result["name"] == "ls"
    assert asked["args"] == (None if agent == "gemini" else COMMAND)
    answer = {"stdout": "a", "exit_code": 0} if agent == "codex" else "a"
    assert result == {"name": "ls", "id": "c-1", "ok": True, "text": answer}


def test_a_failed_call_is_told_as_one() -> None:
    _, events = read(call(title="ls", status="pending"), update(status="failed", content=content("boom")))

    assert [event.kind for event in events] == ["tool.requested", "tool.result"]
    assert events[1].body == {"name": "ls", "id": "c-1", "ok": False, "text": "boom"}


def test_thoughts_are_kept_apart_from_messages() -> None:
    parser, events = read(chunk("Hm. ", "agent_thought_chunk"), chunk("Hello."), END)

    assert [event.body for event in events] == [{"text": "Hm. ", "thought": True}, {"text": "Hello."}]
    assert parser.last_text == "Hello."


@pytest.mark.parametrize(
    ("usage", "input_tokens"),
    [
        ({"totalTokens": 2692, "inputTokens": 1000, "outputTokens": 92, "cachedReadTokens": 1600}, 2600),
        ({"totalTokens": 1312, "inputTokens": 1300, "outputTokens": 12, "cachedReadTokens": 1200}, 1300),
    ],
)
def test_cached_tokens_count_as_input_however_an_agent_counts(usage: Json, input_tokens: int) -> None:
    _, events = read(END | {"usage": usage})

    assert events[0].body["usage"]["input_tokens"] == input_tokens
    assert events[0].body["usage"]["cache_read_tokens"] == usage["cachedReadTokens"]


def test_the_cost_is_the_last_one_told_not_the_sum() -> None:
    costs = [{"cost": {"amount": cost, "currency": "USD"}, "sessionUpdate": "usage_update"} for cost in (0.01, 0.0161)]
    _, events = read(*costs, END)

    assert [event.body["cost_usd"] for event in events] == [0.0161]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([chunk("Done.")], "the agent ended without its terminal event"),
        ([END | {"status": "failed", "error": "the model refused"}], "failed: the model refused"),
        ([END | {"status": 5}], "failed: no reason given"),
        (
            [{"type": "permission", "allowed": False, "kind": "edit", "title": "write"}, END],
            "the tool call 'write' was denied",
        ),
    ],
)
def test_exit_0_does_not_hide_a_bad_end(lines: list[Json], reason: str) -> None:
    assert judged(*lines) == Verdict(ok=False, outcome=None, reason=reason)


def test_a_good_end_is_done_in_the_agents_own_words() -> None:
    done = Outcome(kind=OutcomeKind.DONE, summary="Created hello.txt.")

    assert judged(chunk("Created "), chunk("hello.txt."), END).outcome == done


def test_what_is_allowed_is_allowed_once() -> None:
    assert decide("edit", OFFERED, {"edit"}) == Answer(allowed=True, option_id="yes")
    assert decide("edit", OFFERED[:1], {"edit"}) == Answer(allowed=True, option_id="always")
    assert decide(None, OFFERED, {"other"}) == Answer(allowed=True, option_id="yes")


def test_what_is_not_allowed_is_refused_whatever_is_offered() -> None:
    assert decide("edit", OFFERED, {"read"}) == Answer(allowed=False, option_id="no")
    assert decide(None, OFFERED, {"edit"}) == Answer(allowed=False, option_id="no")
    assert decide("edit", OFFERED[:2], {"read"}) == Answer(allowed=False, option_id=None)
    assert decide("edit", OFFERED[2:], {"edit"}) == Answer(allowed=False, option_id=None)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "argv: Field required"),
        ({"argv": []}, "argv: List should have at least 1 item"),
        ({"argv": [" "]}, "argv: its first entry is empty: name the program"),
        ({"argv": "opencode acp"}, "argv: Input should be a valid list"),
        ({"argv": ["a\0"]}, "argv.0: String should match pattern"),
        ({"argv": ["a"], "allow": ["write"]}, "allow.0: Input should be 'read', 'edit'"),
        ({"argv": ["a"], "allowed": ["edit"]}, "unknown key 'allowed'; did you mean 'allow'?"),
        ({"argv": ["a"], "mcp": {"grid": {"url": "ftp://h", "token_env": "T"}}}, "must be an http or https URL"),
    ],
)
def test_bad_options_are_refused_with_the_fix(options: Json, complaint: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        registry.get("acp").validate(options)

    assert "options of the agent 'acp': " in str(caught.value)
    assert complaint in str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
    return Place(root=tmp_path)


def run(place: Place, scenario: str, **more: Any) -> Ran:
    env = more.pop("env", None)
    return place.run("acp", doubles.options("acp", scenario, **more), env=env)


def test_a_whole_session(place: Place) -> None:
    prompt = "Grüße\n" * 40_000
    ran = place.run("acp", doubles.options("acp", "finish-done"), prompt=prompt)

    assert ran.verdict.ok, ran.err
    assert (place.root / "got").read_text() == prompt
    assert [event.kind for event in ran.events] == [
        "agent.message",
        "tool.requested",
        "tool.result",
        "agent.message",
        "llm.result",
    ]
    assert ran.bodies("agent.message")[1] == {"text": "I stop here."}
    assert ran.bodies("llm.result") == [
        {
            "usage": {"input_tokens": 15, "output_tokens": 2, "cache_read_tokens": 5, "cache_write_tokens": 0},
            "cost_usd": 0.25,
            "final": True,
        }
    ]


def test_the_agent_is_asked_again_for_every_call(place: Place) -> None:
    ran = run(place, "ask")

    assert ran.verdict.ok, ran.err
    assert (place.root / "chosen").read_text() == "yes"


def test_a_kind_of_call_that_is_not_allowed_is_refused_and_fails_the_run(place: Place) -> None:
    ran = run(place, "ask", allow=["read", "execute"])

    assert (place.root / "chosen").read_text() == "no"
    assert not place.has_changed()
    assert ran.ended.exit_code == 0
    assert ran.verdict.reason == "the tool call 'write' was denied"
    assert ran.bodies("agent.error")[0]["text"] == "denied: write (edit)"


def test_a_server_of_tools_is_handed_on_with_its_token_from_the_environment(place: Place) -> None:
    ran = run(place, "finish-done", mcp={"grid": SERVER}, env={"GRID_TOKEN": "canary"})

    assert ran.verdict.ok, ran.err
    (server,) = json.loads((place.root / "mcp").read_text())
    assert server["url"] == SERVER["url"]
    assert server["headers"] == [{"name": "Authorization", "value": "Bearer canary"}]
    assert "canary" not in (place.files.home / ".agentgrid/acp.json").read_text()
    assert b"canary" not in ran.out + ran.err


def test_a_server_of_tools_that_cannot_be_used_stops_the_run_before_it_begins(place: Place) -> None:
    ran = run(place, "finish-done", mcp={"grid": SERVER})
    assert "the variable GRID_TOKEN with the token for the MCP server 'grid' is not set" in ran.verdict.reason

    ran = run(place, "no-http", mcp={"grid": SERVER}, env={"GRID_TOKEN": "t"})
    assert "this agent takes no MCP servers over HTTP: leave 'mcp' out" in ran.verdict.reason
    assert not place.has_changed()


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["/nowhere/agent"], "cannot start '/nowhere/agent': No such file or directory"),
        (["/bin/true"], "the agent left before the end of its turn: exit 0"),
        (["/bin/sh", "-c", "kill -9 $$"], "the agent left before the end of its turn: signal 9"),
        (["/bin/sh", "-c", "echo hello; exit 4"], "the agent left before the end of its turn: exit 4"),
        ([*doubles.options("acp", "cut")["argv"]], "the model's answer was cut off at its longest"),
    ],
)
def test_a_session_that_breaks_says_why(place: Place, argv: list[str], reason: str) -> None:
    ran = place.run("acp", {"argv": argv})

    assert not ran.verdict.ok
    assert ran.verdict.reason == f"failed: {reason} (exit 1)"


@pytest.mark.parametrize("scenario", ["wait", "hang", "mute"])
def test_a_signal_cancels_the_turn_and_leaves_no_process(place: Place, scenario: str) -> None:
    def stop(process: Process) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not (place.root / ("got" if scenario != "mute" else "busy")).exists():
            time.sleep(0.05)
            if scenario == "mute" and Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text():
                (place.root / "busy").touch()
        agents.extend(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))
        os.killpg(process.pid, signal.SIGTERM)

    agents: list[int] = []
    ran = place.run("acp", doubles.options("acp", scenario), meanwhile=stop)

    words = {
        "wait": "stopped by a signal",
        "hang": "stopped by a signal; the agent did not end its turn",
        "mute": "stopped by a signal before the prompt was given",
    }[scenario]
    assert ran.verdict.reason == f"interrupted: {words} (exit 1)"
    assert len(agents) == 1
    assert not Path(f"/proc/{agents[0]}").exists()
    assert ran.seconds < 12
