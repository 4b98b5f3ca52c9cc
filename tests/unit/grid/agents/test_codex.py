"""Codex's lines, shortened from recorded ones, and what comes of them."""

from __future__ import annotations

import itertools
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from grid.agents import registry
from grid.agents.base import ParsedEvent, RunFiles, Verdict
from grid.agents.codex_stream import CodexParser
from grid.agents.errors import InvalidOptionsError
from grid.phases import Ended
from grid.public_types import OutcomeKind
from tests.unit.grid.agents.support import doubles
from tests.unit.grid.agents.support.runs import Place

FILES = RunFiles(workspace=Path("/w"), home=Path("/h"), python=sys.executable, path="/usr/bin:/bin")
LEFT = Ended(reason="exited", exit_code=0)
FAILED = Ended(reason="exited", exit_code=1)
SESSION = "01a1fa74-6176-7a51-a5b2-784ddba7f14e"
SERVER = {"url": "http://127.0.0.1:8899/mcp", "token_env": "GRID_TOKEN"}
MODEL = "gpt-5.2"


def line(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def item(state: str, number: int, kind: str, **fields: Any) -> str:
    return line(f"item.{state}", item={"id": f"item_{number}", "type": kind, **fields})


def ping(number: int, **fields: Any) -> str:
    given = {"server": "grid", "tool": "ping", "arguments": {"text": "hi"}, "result": None, "error": None}
    return item("completed", number, "mcp_tool_call", **{**given, "status": "completed", **fields})


def unanswered(number: int, message: str) -> str:
    return ping(number, error={"message": message}, status="failed")


def completed(fresh: int = 2600, out: int = 92) -> str:
    return line("turn.completed", usage={"input_tokens": fresh, "cached_input_tokens": 1600, "output_tokens": out})


ANSWER = {"content": [{"type": "text", "text": "pong"}]}
COMMAND = "/bin/bash -lc 'echo hello > hello.txt'"
WORK = [
    line("thread.started", thread_id=SESSION),
    item("completed", 0, "error", message="Model metadata for `gpt-5.2` not found."),
    line("turn.started"),
    item("completed", 1, "agent_message", text="I'll create the file."),
    item("started", 2, "command_execution", command=COMMAND, exit_code=None, status="in_progress"),
    item("completed", 2, "command_execution", command=COMMAND, aggregated_output="", exit_code=0, status="completed"),
    ping(3, result=ANSWER),
    item("completed", 4, "agent_message", text="Created hello.txt."),
]
RECORDED = [*WORK, completed()]


def feed(lines: list[str], *, stderr: str = "") -> tuple[CodexParser, list[ParsedEvent]]:
    parser = CodexParser()
    events = [event for given in lines for event in parser.feed("out", given)]
    return parser, events + parser.feed("err", stderr)


def judged(lines: list[str], *, ended: Ended = LEFT, stderr: str = "", changed: bool = True) -> Verdict:
    parser, _ = feed(lines, stderr=stderr)
    return registry.get("codex").verdict(parser=parser, ended=ended, outcome_file=None, changed=changed)


def total(events: list[ParsedEvent], name: str) -> int:
    return sum(event.body["usage"][name] for event in events if event.kind == "llm.result")


def test_a_recorded_run_becomes_events() -> None:
    parser, events = feed(RECORDED)

    assert parser.session == SESSION
    assert [event.kind for event in events] == [
        "agent.message",
        "agent.error",
        "agent.message",
        "tool.requested",
        "tool.result",
        "tool.requested",
        "tool.result",
        "agent.message",
        "llm.result",
    ]
    assert events[3].body == {"name": "command_execution", "id": "item_2", "args": {"command": COMMAND}}
    assert events[4].body["exit_code"] == 0
    assert events[5].body == {"name": "grid.ping", "id": "item_3", "args": {"text": "hi"}}
    assert events[6].body["text"] == ANSWER["content"]
    verdict = judged(RECORDED)
    assert verdict.ok
    assert verdict.outcome is not None
    assert (verdict.outcome.kind, verdict.outcome.summary) == (OutcomeKind.DONE, "Created hello.txt.")


def test_usage_grows_over_the_turns_and_counts_once() -> None:
    _, events = feed([*RECORDED, line("turn.started"), completed(2700, 112)])

    assert total(events, "input_tokens") == 2700
    assert total(events, "cache_read_tokens") == 1600
    assert total(events, "output_tokens") == 112
    assert events[-1].body["usage"]["input_tokens"] == 100


def test_what_a_session_used_before_is_not_counted_again() -> None:
    earlier = {"input_tokens": 2500, "output_tokens": 72, "cache_read_tokens": 1600, "cache_write_tokens": 0}
    marker = line("agentgrid.resumed", session=SESSION, usage=earlier)

    _, events = feed([marker, *RECORDED])
    assert events[-1].body["usage"] == {
        "input_tokens": 100,
        "output_tokens": 20,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
    }
    assert events[-1].body["session_usage"]["input_tokens"] == 2600

    # Only our own first line is believed.
    _, events = feed([WORK[0], marker, *RECORDED[1:]])
    assert total(events, "input_tokens") == 2600


@pytest.mark.parametrize("ended", [LEFT, FAILED])
def test_a_failed_turn_is_a_failure_whatever_the_exit_code(ended: Ended) -> None:
    message = "unexpected status 401 Unauthorized: bad key"
    lines = [*WORK, line("error", message="Reconnecting... 1/1"), line("turn.failed", error={"message": message})]

    verdict = judged(lines, ended=ended)

    assert not verdict.ok
    assert verdict.reason == f"the turn failed: {message}" + ("" if ended.ok else " (exit 1)")
    assert feed(lines)[1][-1].body["final"] is True


def test_a_good_terminal_event_excuses_the_exit_code() -> None:
    assert judged(RECORDED, ended=FAILED).ok


def test_a_turn_that_never_ended_is_a_failure() -> None:
    assert judged(WORK).reason == "the agent ended without its terminal event"
    assert not judged([*RECORDED, line("turn.started")]).ok


def test_a_dead_mcp_server_is_told_of_on_standard_error_only() -> None:
    why = "Error: required MCP servers failed to initialize: grid"

    assert judged([], stderr=why, ended=FAILED).reason == f"the agent ended without its terminal event: {why} (exit 1)"


@pytest.mark.parametrize(
    "denial",
    [
        unanswered(9, "MCP tool call requires approval, but approval policy is never"),
        ping(9, status="declined"),
    ],
)
def test_a_denied_tool_is_a_failure_although_the_exit_code_is_0(denial: str) -> None:
    verdict = judged([*WORK, denial, ping(10, result=ANSWER), completed()])

    assert not verdict.ok
    assert verdict.reason == "the tool 'grid.ping' was denied"


def test_a_declined_command_is_a_failure_although_the_exit_code_is_0() -> None:
    declined = item("completed", 9, "command_execution", command="rm -rf /", exit_code=None, status="declined")

    assert judged([*WORK, declined, completed()]).reason == "the tool 'command_execution' was denied"


def test_a_server_that_stopped_answering_is_a_failure_unless_it_came_back() -> None:
    dead = unanswered(9, "Transport closed")

    assert judged([*WORK, dead, completed()]).reason == (
        "the last call of the MCP server 'grid' got no answer: Transport closed"
    )
    assert judged([*WORK, dead, ping(10, result=ANSWER), completed()]).ok


def test_a_command_that_fails_is_the_agents_own_business() -> None:
    failed = item("completed", 9, "command_execution", command="false", exit_code=1, status="failed")
    _, events = feed([*WORK, failed, completed()])

    assert judged([*WORK, failed, completed()]).ok
    assert [event.body["ok"] for event in events if event.kind == "tool.result"] == [True, True, False]


@pytest.mark.parametrize(
    "broken",
    [
        line("item.completed", item=[]),
        line("item.completed", item={"type": "mcp_tool_call", "error": "x", "result": 5, "server": None}),
        line("item.started", item={"type": ["command_execution"]}),
        line("turn.failed", error="x"),
        line("error", message={}),
        line("thread.started", thread_id=5),
        line("agentgrid.resumed", usage=[]),
    ],
)
def test_lines_of_a_wrong_shape_are_survived(broken: str) -> None:
    assert not judged([broken]).ok


@pytest.mark.parametrize("usage", [None, [], {"input_tokens": "many", "output_tokens": -5}])
def test_usage_of_a_wrong_shape_counts_as_nothing(usage: Any) -> None:
    _, events = feed([line("turn.completed", usage=usage)])

    assert set(events[-1].body["usage"].values()) == {0}


def settings(argv: tuple[str, ...]) -> dict[str, Any]:
    """What the `-c` arguments say, read as Codex reads them."""
    given = [value for flag, value in itertools.pairwise(argv) if flag == "-c"]
    return tomllib.loads("\n".join(given))


def test_the_command_line_holds_no_prompt_and_no_token() -> None:
    options = {
        "model": MODEL,
        "base_url": "http://127.0.0.1:9000/v1",
        "key_env": "GATEWAY_KEY",
        "mcp": {"grid": SERVER},
        "sandbox": "read-only",
    }
    launch = registry.get("codex").launch(options=options, files=FILES, prompt="Grüße")

    assert launch.prompt == "Grüße".encode()
    assert not any("Grüße" in word for word in launch.argv)
    assert launch.argv[:2] == ("codex", "exec")
    assert launch.argv[-2:] == ("--ephemeral", "-")
    given = settings(launch.argv)
    assert given["sandbox_mode"] == "read-only"
    assert given["model_provider"] == "grid"
    assert given["model_providers"]["grid"]["base_url"] == "http://127.0.0.1:9000/v1"
    assert given["model_providers"]["grid"]["env_key"] == "GATEWAY_KEY"
    assert given["mcp_servers"]["grid"] == {
        "url": "http://127.0.0.1:8899/mcp",
        "bearer_token_env_var": "GRID_TOKEN",
        "required": True,
        "default_tools_approval_mode": "approve",
    }
    home = Path(launch.env["CODEX_HOME"])
    assert str(home.relative_to("/h") / ".keep") in launch.files
    assert not home.is_relative_to(launch.env["TMPDIR"])


def test_text_in_options_stays_text_in_the_settings() -> None:
    url = 'http://127.0.0.1:9000/v1?a="],b=\\é'
    launch = registry.get("codex").launch(options={"model": MODEL, "base_url": url}, files=FILES, prompt="p")

    assert settings(launch.argv)["model_providers"]["grid"]["base_url"] == url


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "model: Field required"),
        ({"model": "-x"}, "model: String should match"),
        ({"model": MODEL, "extra_args": ["--oss"]}, "unknown key 'extra_args'; known keys: base_url,"),
        ({"model": MODEL, "sandbox": "none"}, "sandbox: Input should be 'read-only', 'workspace-write'"),
        ({"model": MODEL, "base_url": ""}, "'base_url' is empty: leave it out for OpenAI's own"),
        ({"model": MODEL, "key_env": "sk-secret"}, "key_env: String should match"),
        ({"model": MODEL, "mcp": {"grid": {"url": "http://h/mcp"}}}, "mcp.grid.token_env: Field required"),
        ({"model": MODEL, "resume": {"session": SESSION}}, "'resume' needs 'state_dir'"),
        (
            {"model": MODEL, "state_dir": "/s", "resume": {"session": SESSION, "usage": {"input_tokens": -1}}},
            "resume.usage.input_tokens: Input should be greater",
        ),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOptionsError) as raised:
        registry.get("codex").validate(options)
    assert words in str(raised.value)
    assert str(raised.value).startswith("options of the agent 'codex': ")


def test_a_session_is_taken_up_and_only_what_is_new_is_counted(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "kept").mkdir()
    place = Place(root=tmp_path)
    options = doubles.options("codex", "finish-done", state_dir=str(tmp_path / "kept"), mcp={"grid": SERVER})
    first = place.run("codex", options)
    (used,) = first.bodies("llm.result")

    resume = {"session": SESSION, "usage": used["session_usage"]}
    second = place.run("codex", {**options, "resume": resume})

    assert first.verdict.ok
    assert second.verdict.ok, second.verdict
    assert second.bodies("agent.message")[0]["session"] == SESSION
    assert (total(first.events, "input_tokens"), total(second.events, "input_tokens")) == (30, 20)
    assert total(second.events, "output_tokens") == 4
