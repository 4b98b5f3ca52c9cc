"""Gemini CLI's lines, shortened from recorded ones, and what comes of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from grid.agents import registry
from grid.agents.base import ParsedEvent, RunFiles, Verdict
from grid.agents.errors import InvalidOptionsError
from grid.agents.gemini import GeminiParser
from grid.phases import Ended
from grid.public_types import Outcome, OutcomeKind
from tests.unit.grid.agents.support import doubles
from tests.unit.grid.agents.support.runs import Place

FILES = RunFiles(workspace=Path("/w"), home=Path("/h"), python=sys.executable, path="/usr/bin:/bin")
LEFT = Ended(reason="exited", exit_code=0)
SERVER = {"url": "http://127.0.0.1:8899/mcp", "token_env": "GRID_TOKEN"}


def line(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "timestamp": "2026-11-20T19:45:55.534Z", **fields})


def failed_tool(kind: str, name: str = "run_shell_command") -> list[str]:
    error = {"type": kind, "message": "Tool execution denied by policy."}
    return [
        line("tool_use", tool_name=name, tool_id="t-9", parameters={}),
        line("tool_result", tool_id="t-9", status="error", output="no", error=error),
    ]


STATS = {
    "total_tokens": 2692,
    "input_tokens": 2600,
    "output_tokens": 92,
    "cached": 1600,
    "input": 1000,
    "models": {"gemini-2.5-flash": {"total_tokens": 2692}},
}
END = line("result", status="success", stats=STATS)
RECORDED = [
    line("init", session_id="ab04b747", model="gemini-2.5-flash"),
    line("message", role="user", content="Create hello.txt"),
    line("message", role="assistant", content="I'll create ", delta=True),
    line("message", role="assistant", content="the file.", delta=True),
    line("tool_use", tool_name="run_shell_command", tool_id="t-1", parameters={"command": "ls"}),
    line("tool_result", tool_id="t-1", status="success", output="a\nb"),
    line("message", role="assistant", content="Created hello.txt.", delta=True),
    END,
]
TURN_LIMIT = line(
    "result",
    status="error",
    error={"type": "FatalTurnLimitedError", "message": "Reached max session turns for this session."},
    stats=STATS,
)


def read(*lines: str, err: tuple[str, ...] = ()) -> tuple[GeminiParser, list[ParsedEvent]]:
    parser = GeminiParser()
    events = [event for text in lines for event in parser.feed("out", text)]
    events += [event for text in err for event in parser.feed("err", text)]
    return parser, events


def judged(*lines: str, ended: Ended = LEFT, outcome: Outcome | None = None, err: tuple[str, ...] = ()) -> Verdict:
    parser, _ = read(*lines, err=err)
    return registry.get("gemini").verdict(parser=parser, ended=ended, outcome_file=outcome, changed=True)


def settings(**options: Any) -> dict[str, Any]:
    options = {"model": "gemini-2.5-flash", **options}
    launch = registry.get("gemini").launch(options=options, files=FILES, prompt="p")
    found: dict[str, Any] = json.loads(launch.files[".gemini/settings.json"])
    return found


def test_a_recorded_run_becomes_events() -> None:
    parser, events = read(*RECORDED)

    assert [(event.kind, event.body.get("text")) for event in events] == [
        ("agent.message", "gemini, model gemini-2.5-flash"),
        ("agent.message", "I'll create the file."),
        ("tool.requested", None),
        ("tool.result", "a\nb"),
        ("agent.message", "Created hello.txt."),
        ("llm.result", None),
    ]
    assert events[0].body["session"] == parser.session == "ab04b747"
    assert events[2].body == {"name": "run_shell_command", "id": "t-1", "args": {"command": "ls"}}
    assert events[3].body["name"] == "run_shell_command"
    assert parser.last_text == "Created hello.txt."


def test_usage_counts_cached_tokens_as_input_and_thoughts_as_output() -> None:
    _, events = read(line("result", status="success", stats=STATS | {"total_tokens": 2700}))

    assert events[0].body == {
        "usage": {
            "input_tokens": 2600,
            "output_tokens": 100,
            "cache_read_tokens": 1600,
            "cache_write_tokens": 0,
        },
        "model": "gemini-2.5-flash",
        "final": True,
    }


def test_a_long_message_is_told_in_parts() -> None:
    chunk = line("message", role="assistant", content="x" * 1_500, delta=True)
    _, events = read(*[chunk] * 7, END)

    assert [len(event.body["text"]) for event in events if event.kind == "agent.message"] == [4_500, 4_500, 1_500]


def test_a_recorded_run_is_done_whatever_the_exit_code() -> None:
    done = Outcome(kind=OutcomeKind.DONE, summary="Created hello.txt.")
    for code in (0, 1):
        verdict = judged(*RECORDED, ended=Ended(reason="exited", exit_code=code))
        assert verdict == Verdict(ok=True, outcome=done, reason="ended well with a change")


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        (RECORDED[:-1], 0, "the agent ended without its terminal event"),
        ([], 41, "the agent ended without its terminal event, no authentication (exit 41)"),
        ([line("error", severity="error", message="boom")], 1, "terminal event: boom (exit 1)"),
        ([TURN_LIMIT], 53, "FatalTurnLimitedError: Reached max session turns for this session. (exit 53)"),
        ([TURN_LIMIT], 0, "FatalTurnLimitedError: Reached max session turns for this session."),
        ([line("result", status="error")], 0, "error: no reason given"),
        ([*failed_tool("policy_violation"), END], 0, "the tool 'run_shell_command' was denied"),
        ([*failed_tool("tool_not_registered", "mcp_grid_ping"), END], 0, "the tool 'mcp_grid_ping' was denied"),
    ],
)
def test_a_bad_end_is_a_failure_whatever_the_exit_code(lines: list[str], code: int, reason: str) -> None:
    ended = Ended(reason="exited", exit_code=code)
    verdict = judged(*lines, ended=ended, outcome=Outcome(kind=OutcomeKind.DONE, summary="S."))

    assert not verdict.ok
    assert verdict.reason.endswith(f"{reason}, although the agent reported done")


@pytest.mark.parametrize("kind", ["shell_execute_error", "tool_not_registered"])
def test_a_tool_that_failed_or_never_was_is_no_denial(kind: str) -> None:
    assert judged(*failed_tool(kind), END).ok


def test_a_lost_server_of_tools_is_a_failure_although_the_stream_is_silent() -> None:
    verdict = judged(*RECORDED, err=("MCP issues detected. Run /mcp list for status.",))

    assert verdict.reason == "an MCP server is out of reach: check its address and token"
    assert judged(*RECORDED, "MCP issues detected. Run /mcp list for status.").ok


def test_the_settings_name_variables_instead_of_secrets() -> None:
    given = settings(max_turns=7, mcp={"grid": SERVER})

    assert given["security"]["auth"]["selectedType"] == "gemini-api-key"
    assert given["model"]["maxSessionTurns"] == 7
    assert given["mcpServers"]["grid"] == {
        "httpUrl": "http://127.0.0.1:8899/mcp",
        "headers": {"Authorization": "Bearer $GRID_TOKEN"},
        "trust": True,
    }
    assert "tools" not in given


def test_a_list_of_tools_keeps_those_of_the_servers() -> None:
    given = settings(tools=["read_file", "run_shell_command(git)"], mcp={"grid": SERVER})

    assert given["tools"]["core"] == ["read_file", "run_shell_command(git)", "mcp_grid_*"]


def test_the_prompt_goes_over_standard_input() -> None:
    options = {"model": "gemini-2.5-flash", "base_url": "http://127.0.0.1:9000"}
    launch = registry.get("gemini").launch(options=options, files=FILES, prompt="secret plan")

    assert launch.prompt == b"secret plan"
    assert launch.argv[-2:] == ("-p", "")
    assert launch.env["GOOGLE_GEMINI_BASE_URL"] == "http://127.0.0.1:9000"
    assert launch.env["GEMINI_CLI_HOME"] == "/h"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "model: Field required"),
        ({"model": "-y"}, "model: String should match pattern"),
        ({"model": "g", "base_url": "http://h/$SECRET"}, "base_url: String should match pattern"),
        ({"model": "g", "tools": ["run_shell_command($SECRET)"]}, "tools.0: String should match pattern"),
        ({"model": "g", "tools": "read_file"}, "tools: Input should be a valid list"),
        ({"model": "g", "max_turns": 0}, "max_turns: Input should be greater"),
        ({"model": "g", "mcp": {"grid": {"url": "", "token_env": "T"}}}, "mcp.grid.url"),
        ({"model": "g", "sandbox": True}, "unknown key 'sandbox'; known keys:"),
    ],
)
def test_bad_options_are_refused_with_the_fix(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        registry.get("gemini").validate(options)

    assert "options of the agent 'gemini': " in str(caught.value)
    assert complaint in str(caught.value)


def test_the_flags_and_the_settings_reach_the_program(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    ran = Place(root=tmp_path).run("gemini", doubles.options("gemini", "finish-done"))

    assert ran.verdict.ok, ran.err
    assert [body["usage"]["input_tokens"] for body in ran.bodies("llm.result")] == [20]
