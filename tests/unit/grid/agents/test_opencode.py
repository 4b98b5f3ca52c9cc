"""OpenCode's lines, shortened from recorded ones, and what comes of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from grid.agents import registry
from grid.agents.base import ParsedEvent, RunFiles, Verdict
from grid.agents.errors import InvalidOptionsError
from grid.agents.opencode import OpencodeParser
from grid.phases import Ended
from grid.public_types import Outcome, OutcomeKind
from tests.unit.grid.agents.support import doubles
from tests.unit.grid.agents.support.runs import Place

FILES = RunFiles(workspace=Path("/w"), home=Path("/h"), python=sys.executable, path="/usr/bin:/bin")
LEFT = Ended(reason="exited", exit_code=0)
SERVER = {"url": "http://127.0.0.1:8899/mcp", "token_env": "GRID_TOKEN"}
DENIED = "The user has specified a rule which prevents you from using this specific tool call. Here are some …"


def line(kind: str, **part: Any) -> str:
    return json.dumps({"type": kind, "timestamp": 1, "sessionID": "ses_e058", "part": part})


def finish(step: str, reason: str, cost: float, *, new: int, read: int = 0, written: int = 0, output: int = 12) -> str:
    tokens = {"total": 0, "input": new, "output": output, "reasoning": 3, "cache": {"write": written, "read": read}}
    return line("step_finish", id=step, reason=reason, tokens=tokens, cost=cost)


def tool(status: str, **state: Any) -> str:
    return line("tool_use", tool="bash", callID="call_1", state={"status": status, "input": {"command": "ls"}, **state})


RECORDED = [
    line("step_start", id="prt_1"),
    line("text", id="prt_2", text="I'll create the file."),
    tool("completed", output="(no output)", time={"start": 100, "end": 196}),
    finish("prt_3", "tool-calls", 0.00342, new=800, read=400, output=60),
    line("step_start", id="prt_4"),
    line("text", id="prt_5", text="Created hello.txt."),
    finish("prt_6", "stop", 0.00084, new=100, read=1200, written=7),
]
REFUSED = json.dumps(
    {
        "type": "error",
        "sessionID": "ses_e058",
        "error": {"name": "APIError", "data": {"message": "bad key", "statusCode": 401, "isRetryable": False}},
    }
)
LOST_SERVER = 'timestamp=2026-11-21T08:14:19Z level=WARN run=1 message="server unavailable" key=grid status=failed'


def read(*lines: str, err: tuple[str, ...] = ()) -> tuple[OpencodeParser, list[ParsedEvent]]:
    parser = OpencodeParser()
    events = [event for text in lines for event in parser.feed("out", text)]
    events += [event for text in err for event in parser.feed("err", text)]
    return parser, events


def judged(*lines: str, ended: Ended = LEFT, outcome: Outcome | None = None, err: tuple[str, ...] = ()) -> Verdict:
    parser, _ = read(*lines, err=err)
    return registry.get("opencode").verdict(parser=parser, ended=ended, outcome_file=outcome, changed=True)


def config(**options: Any) -> dict[str, Any]:
    launch = registry.get("opencode").launch(options={"model": "openai/gpt-5", **options}, files=FILES, prompt="p")
    found: dict[str, Any] = json.loads(launch.env["OPENCODE_CONFIG_CONTENT"])
    return found


def test_a_recorded_run_becomes_events() -> None:
    parser, events = read(*RECORDED)

    assert [event.kind for event in events] == [
        "agent.message",
        "agent.message",
        "tool.requested",
        "tool.result",
        "llm.result",
        "agent.message",
        "llm.result",
    ]
    assert events[0].body["session"] == parser.session == "ses_e058"
    assert events[2].body == {"name": "bash", "id": "call_1", "args": {"command": "ls"}}
    assert events[3].body == {"name": "bash", "id": "call_1", "ok": True, "text": "(no output)", "ms": 96}
    assert parser.last_text == "Created hello.txt."


def test_cached_tokens_count_as_input_and_each_step_counts_once() -> None:
    _, events = read(*RECORDED, RECORDED[-1])

    bodies = [event.body for event in events if event.kind == "llm.result"]
    assert [body["cost_usd"] for body in bodies] == [0.00342, 0.00084]
    assert bodies[1]["usage"] == {
        "input_tokens": 1307,
        "output_tokens": 15,
        "cache_read_tokens": 1200,
        "cache_write_tokens": 7,
    }


def test_an_unknown_price_is_not_told_as_free() -> None:
    _, events = read(finish("prt_1", "stop", 0, new=5))

    assert "cost_usd" not in events[-1].body


def test_a_recorded_run_is_done_in_the_agents_own_words() -> None:
    verdict = judged(*RECORDED)

    assert verdict == Verdict(
        ok=True,
        outcome=Outcome(kind=OutcomeKind.DONE, summary="Created hello.txt."),
        reason="ended well with a change",
    )


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "the agent ended without a finished step"),
        ([REFUSED], "APIError 401: bad key"),
        ([*RECORDED, REFUSED], "APIError 401: bad key"),
        (RECORDED[:4], "the agent ended after a step with the reason 'tool-calls'"),
        ([*RECORDED, RECORDED[0]], "the agent ended after a step with the reason 'unfinished'"),
        ([finish("p", "length", 0, new=1)], "the agent ended after a step with the reason 'length'"),
        ([tool("error", error=DENIED), RECORDED[-1]], "the tool 'bash' was denied"),
        (
            [tool("error", error="The user rejected permission to use this specific tool call."), RECORDED[-1]],
            "the tool 'bash' was denied",
        ),
    ],
)
def test_exit_0_does_not_hide_a_bad_end(lines: list[str], reason: str) -> None:
    done = Outcome(kind=OutcomeKind.DONE, summary="S.")

    assert judged(*lines) == Verdict(ok=False, outcome=None, reason=reason)
    assert judged(*lines, outcome=done).reason == f"{reason}, although the agent reported done"
    assert not judged(*lines, outcome=done).ok


def test_a_good_last_step_does_not_hide_a_bad_exit() -> None:
    verdict = judged(*RECORDED, ended=Ended(reason="exited", exit_code=1))

    assert not verdict.ok
    assert verdict.reason == "the agent's last step ended well, its program did not (exit 1)"


def test_a_tool_that_merely_failed_is_no_denial() -> None:
    assert judged(tool("error", error="ENOENT: no such file"), RECORDED[-1]).ok


def test_a_lost_server_of_tools_is_a_failure_although_the_stream_is_silent() -> None:
    assert judged(*RECORDED, err=(LOST_SERVER,)).reason == "an MCP server is out of reach: check its address and token"
    assert judged(*RECORDED, err=(f"the agent says {LOST_SERVER}",)).ok


def test_a_cry_for_help_stands_beside_a_bad_end() -> None:
    blocked = Outcome(kind=OutcomeKind.BLOCKED, summary="Which one?")

    assert judged(REFUSED, outcome=blocked) == Verdict(ok=True, outcome=blocked, reason="blocked: Which one?")


def test_the_whole_configuration_is_in_one_variable_and_holds_no_secret() -> None:
    given = config(model="m-1", base_url="http://127.0.0.1:9000/v1", key_env="GATEWAY_KEY", mcp={"grid": SERVER})

    assert given["model"] == given["small_model"] == "grid/m-1"
    assert given["enabled_providers"] == ["grid"]
    assert given["provider"]["grid"]["options"] == {
        "baseURL": "http://127.0.0.1:9000/v1",
        "apiKey": "{env:GATEWAY_KEY}",
    }
    assert given["provider"]["grid"]["models"]["m-1"]["limit"] == {"context": 200_000, "output": 8_000}
    assert given["mcp"]["grid"] == {
        "type": "remote",
        "url": "http://127.0.0.1:8899/mcp",
        "headers": {"Authorization": "Bearer {env:GRID_TOKEN}"},
        "oauth": False,
    }


def test_only_the_tools_named_are_allowed() -> None:
    assert config()["permission"] == {"*": "allow"}
    given = config(tools=["bash(git *)", "read", "bash(ls)", "edit(*.py)", "edit"], mcp={"grid": SERVER})
    assert list(given["permission"].items()) == [
        ("*", "deny"),
        ("bash", {"*": "deny", "git *": "allow", "ls": "allow"}),
        ("read", "allow"),
        ("edit", "allow"),
        ("grid_*", "allow"),
    ]


def test_the_prompt_goes_over_standard_input() -> None:
    launch = registry.get("opencode").launch(options={"model": "openai/gpt-5"}, files=FILES, prompt="secret plan")

    assert launch.prompt == b"secret plan"
    assert not any("secret plan" in argument for argument in launch.argv)
    assert launch.argv[0] == "opencode"
    assert "--print-logs" in launch.argv, "without its log nobody learns of a lost MCP server"
    assert launch.env["XDG_CONFIG_HOME"].startswith("/h/")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "model: Field required"),
        ({"model": "gpt-5"}, "model must be '<provider>/<model>', or give 'base_url'"),
        ({"model": "--help"}, "model: String should match pattern"),
        ({"model": "a/{file:/etc/passwd}"}, "model: String should match pattern"),
        ({"model": "a/b", "base_url": "http://h/{env:SECRET}"}, "base_url: String should match pattern"),
        ({"model": "a/b", "base_url": "file:///etc/passwd"}, "base_url: must be an http or https URL"),
        ({"model": "a/b", "base_url": "http://u:p@h/v1"}, "base_url: may not hold a user or password"),
        ({"model": "a/b", "key_env": "sk-real-key"}, "key_env: String should match pattern"),
        ({"model": "a/b", "tools": ["bash({env:SECRET})"]}, "tools.0: String should match pattern"),
        ({"model": "a/b", "mcp": {"my_grid": SERVER}}, "mcp.my_grid"),
        ({"model": "a/b", "mcp": {"grid": {"url": "http://h/mcp", "token": "t"}}}, "unknown key 'token'"),
        ({"model": "a/b", "args": ["--share"]}, "unknown key 'args'; known keys:"),
        ({"model": "a/b", "modle": "x"}, "unknown key 'modle'; did you mean 'model'?"),
        ({"model": "a/b", "program": ""}, "program: String should match pattern"),
        ({"model": "a/b", "program": "./opencode"}, "program: String should match pattern"),
        ({"model": "a/b", "context_tokens": 1}, "context_tokens: Input should be greater"),
    ],
)
def test_bad_options_are_refused_with_the_fix(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        registry.get("opencode").validate(options)

    assert "options of the agent 'opencode': " in str(caught.value)
    assert complaint in str(caught.value)
    assert "sk-real-key" not in str(caught.value)


def test_the_flags_and_the_prompt_reach_the_program(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    ran = Place(root=tmp_path).run("opencode", doubles.options("opencode", "finish-done"))

    assert ran.verdict.ok, ran.err
    assert [body["usage"]["input_tokens"] for body in ran.bodies("llm.result")] == [15, 15]
