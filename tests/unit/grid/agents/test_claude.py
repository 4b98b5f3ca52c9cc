"""Claude Code's lines, shortened from recorded ones, and what comes of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from grid.agents import claude_stream, registry
from grid.agents.base import ParsedEvent, RunFiles, Verdict, Wiring
from grid.agents.claude_stream import ClaudeParser
from grid.agents.errors import InvalidOptionsError
from grid.phases import Ended
from grid.public_types import OutcomeKind
from tests.unit.grid.agents.support import doubles
from tests.unit.grid.agents.support.runs import Place

FILES = RunFiles(workspace=Path("/w"), home=Path("/h"), python=sys.executable, path="/usr/bin:/bin")
LEFT = Ended(reason="exited", exit_code=0)
FAILED = Ended(reason="exited", exit_code=1)
SESSION = "a65394d4-8884-45cf-85c2-db8a8f038519"
SERVER = {"url": "http://127.0.0.1:8899/mcp", "token_env": "GRID_TOKEN"}
MODEL = "claude-sonnet-4-5"


def line(kind: str, **fields: Any) -> str:
    """The type is not the first key in every line."""
    return json.dumps({"session_id": SESSION, **fields, "type": kind})


def init(status: str = "connected") -> str:
    return line("system", subtype="init", model=MODEL, mcp_servers=[{"name": "grid", "status": status}])


def assistant(message: str, block: dict[str, Any], *, fresh: int, cached: int) -> str:
    usage = {"input_tokens": fresh, "output_tokens": 1, "cache_read_input_tokens": cached}
    return line("assistant", message={"id": message, "model": MODEL, "content": [block], "usage": usage})


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def call(name: str, number: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {"n": number}}


def answer(number: int, content: Any, **fields: Any) -> str:
    block = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content, **fields}
    return line("user", message={"role": "user", "content": [block]})


def result(*, tokens: tuple[int, int, int] = (2600, 1600, 92), cost: float = 0.00966, **fields: Any) -> str:
    fresh, cached, out = tokens
    used = {"inputTokens": fresh, "cacheReadInputTokens": cached, "outputTokens": out, "costUSD": cost}
    # What a resumed session used in all, earlier runs included, which must not count.
    whole = {"inputTokens": 90_000, "outputTokens": 9_000, "costUSD": 9.0}
    good = {"subtype": "success", "is_error": False, "terminal_reason": "completed", "permission_denials": []}
    totals = {"total_cost_usd": 9.0, "modelUsage": {MODEL: whole}, "model_usage_since_last_result": {MODEL: used}}
    return line("result", **{**good, **totals, "usage": {"input_tokens": 0, "output_tokens": 0}, **fields})


WORK = [
    line("system", subtype="ui_invalidate"),
    init(),
    assistant("msg_1", said("I'll create the file."), fresh=1200, cached=400),
    assistant("msg_1", call("Bash", 1), fresh=1200, cached=400),
    answer(1, "(Bash completed with no output)", is_error=False),
    assistant("msg_2", call("mcp__grid__ping", 2), fresh=100, cached=0),
    answer(2, [{"type": "text", "text": "pong"}, {"type": "image", "source": {}}]),
    assistant("msg_3", said("Created hello.txt."), fresh=1300, cached=1200),
]
RECORDED = [*WORK, result(result="Created hello.txt.")]


def feed(lines: list[str], *, stderr: str = "") -> tuple[ClaudeParser, list[ParsedEvent]]:
    parser = ClaudeParser()
    events = [event for given in lines for event in parser.feed("out", given)]
    return parser, events + parser.feed("err", stderr)


def judged(lines: list[str], *, ended: Ended = LEFT, stderr: str = "", changed: bool = True) -> Verdict:
    parser, _ = feed(lines, stderr=stderr)
    return registry.get("claude").verdict(parser=parser, ended=ended, outcome_file=None, changed=changed)


def total(events: list[ParsedEvent], name: str) -> int:
    return sum(event.body["usage"][name] for event in events if event.kind == "llm.result")


def test_a_recorded_run_becomes_events() -> None:
    parser, events = feed(RECORDED)

    assert parser.session == SESSION
    assert [event.kind for event in events] == [
        "agent.message",
        "agent.message",
        "llm.result",
        "tool.requested",
        "tool.result",
        "tool.requested",
        "llm.result",
        "tool.result",
        "agent.message",
        "llm.result",
        "llm.result",
    ]
    assert events[0].body["mcp_servers"] == {"grid": "connected"}
    assert events[0].body["session"] == SESSION
    assert events[4].body == {"name": "Bash", "id": "toolu_1", "ok": True, "text": "(Bash completed with no output)"}
    assert events[7].body == {"name": "mcp__grid__ping", "id": "toolu_2", "ok": True, "text": "pong"}
    verdict = judged(RECORDED)
    assert verdict.ok
    assert verdict.outcome is not None
    assert (verdict.outcome.kind, verdict.outcome.summary) == (OutcomeKind.DONE, "Created hello.txt.")


def test_every_token_counts_once() -> None:
    _, events = feed(RECORDED)

    assert total(events, "input_tokens") == 4200
    assert total(events, "cache_read_tokens") == 1600
    assert total(events, "output_tokens") == 92
    assert sum(event.body.get("cost_usd", 0) for event in events) == pytest.approx(0.00966)


def test_a_second_result_counts_only_what_is_new() -> None:
    more = [assistant("msg_4", said("More."), fresh=100, cached=0), result(tokens=(100, 0, 20), cost=0.001)]
    _, events = feed([*RECORDED, *more])

    assert total(events, "input_tokens") == 4300
    assert total(events, "output_tokens") == 112
    assert sum(event.body.get("cost_usd", 0) for event in events) == pytest.approx(0.01066)


def test_input_is_known_before_the_end() -> None:
    _, events = feed(WORK)

    assert total(events, "input_tokens") == 4200
    assert total(events, "output_tokens") == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"subtype": "error_max_turns", "is_error": True, "errors": ["Reached maximum number of turns (1)"]},
            "error_max_turns: Reached maximum number of turns (1)",
        ),
        (
            {"subtype": "error_max_budget_usd", "is_error": True, "errors": ["Reached maximum budget ($0.001)"]},
            "error_max_budget_usd: Reached maximum budget ($0.001)",
        ),
        (
            {"is_error": True, "terminal_reason": "api_error", "result": "API Error: 529 Overloaded"},
            "api_error: API Error: 529 Overloaded",
        ),
        ({"is_error": True, "terminal_reason": "aborted_tools"}, "aborted_tools: no reason given"),
        ({"is_error": None}, "completed: no reason given"),
    ],
)
def test_a_bad_terminal_event_is_a_failure_whatever_the_exit_code(fields: dict[str, Any], reason: str) -> None:
    _, events = feed([*WORK, result(**fields)])

    assert events[-1].kind == "agent.error"
    assert judged([*WORK, result(**fields)]).reason == reason
    assert judged([*WORK, result(**fields)], ended=FAILED).reason == f"{reason} (exit 1)"


def test_a_spent_budget_is_still_metered() -> None:
    """`usage` is all zero then."""
    lines = [init(), assistant("msg_1", said("Hm."), fresh=1200, cached=400)]
    _, events = feed([*lines, result(tokens=(1200, 400, 60), subtype="error_max_budget_usd", is_error=True)])

    assert (total(events, "input_tokens"), total(events, "output_tokens")) == (1600, 60)


def test_a_good_terminal_event_excuses_the_exit_code() -> None:
    assert judged(RECORDED, ended=FAILED).ok


@pytest.mark.parametrize("status", ["failed", "needs-auth", "disabled", ""])
def test_a_dead_mcp_server_is_a_failure_although_the_exit_code_is_0(status: str) -> None:
    verdict = judged([init(status), *RECORDED[2:]])

    assert not verdict.ok
    shown = status or "unknown"
    assert verdict.reason == f"the MCP server 'grid' is out of reach ({shown}): check its address and token"


def test_a_server_that_came_later_is_alive() -> None:
    assert judged([init("failed"), *RECORDED]).ok
    assert judged([init("pending"), *RECORDED[2:]]).ok


@pytest.mark.parametrize(
    "lines",
    [
        [*WORK, line("system", subtype="permission_denied", tool_name="Bash", message="no"), result()],
        [*WORK, result(permission_denials=[{"tool_name": "Bash", "tool_use_id": "toolu_1"}])],
    ],
)
def test_a_denied_tool_is_a_failure_although_the_exit_code_is_0(lines: list[str]) -> None:
    verdict = judged(lines)

    assert not verdict.ok
    assert verdict.reason == "the tool 'Bash' was denied"


def test_without_terminal_event_the_last_known_trouble_is_told() -> None:
    retry = line("system", subtype="api_retry", attempt=1, error_status=401, error="authentication_failed")
    stopped = Ended(reason="exited", exit_code=143)
    assert judged([init(), retry], ended=stopped).reason == (
        "the agent ended without its terminal event: authentication_failed 401 (exit 143)"
    )
    assert judged([], stderr="error: unknown option '--bare'", ended=FAILED).reason == (
        "the agent ended without its terminal event: error: unknown option '--bare' (exit 1)"
    )
    assert judged(WORK).reason == "the agent ended without its terminal event"


def test_messages_of_its_own_cost_nothing() -> None:
    message = {"id": "u-1", "model": "<synthetic>", "content": [said("API Error: 401")], "usage": {"input_tokens": 0}}

    _, events = feed([line("assistant", message=message)])

    assert [event.kind for event in events] == ["agent.message"]


@pytest.mark.parametrize(
    "broken",
    [
        line("system", subtype="init", mcp_servers="x"),
        line("system", subtype="init", mcp_servers=[None, 5, {}]),
        line("system", subtype={"a": 1}),
        line("assistant", message=[]),
        line("assistant", message={"id": 5, "content": [None, {"type": "tool_use"}, {"type": "text", "text": 5}]}),
        line("user", message={"content": "words"}),
        line("result", modelUsage={"m": None, "n": {"costUSD": "x", "inputTokens": -1}}, permission_denials={}),
        line("result", model_usage_since_last_result=[], errors=[{}, None]),
    ],
)
def test_lines_of_a_wrong_shape_are_survived(broken: str) -> None:
    parser, _ = feed([broken])

    verdict = registry.get("claude").verdict(parser=parser, ended=LEFT, outcome_file=None, changed=True)

    assert not verdict.ok


def test_the_command_line_holds_no_prompt_and_no_token() -> None:
    options = {
        "model": MODEL,
        "base_url": "http://127.0.0.1:9000",
        "tools": ["Bash(git *)", "Bash(make *)", "Read"],
        "mcp": {"grid": SERVER},
        "max_budget_usd": 1.5,
    }
    launch = registry.get("claude").launch(options=options, files=FILES, prompt="Grüße")

    def after(flag: str) -> str:
        return launch.argv[launch.argv.index(flag) + 1]

    assert launch.prompt == "Grüße".encode()
    assert not any("Grüße" in word for word in launch.argv)
    assert after("--tools") == "Bash,Read"
    start = launch.argv.index("--allowedTools") + 1
    assert launch.argv[start : start + 5] == (
        "Bash(git *)",
        "Bash(make *)",
        "Read",
        "mcp__grid__*",
        "--strict-mcp-config",
    )
    assert json.loads(after("--mcp-config"))["mcpServers"]["grid"]["headers"] == {
        "Authorization": "Bearer ${GRID_TOKEN}"
    }
    assert after("--max-budget-usd") == "1.500000"
    assert "--no-session-persistence" in launch.argv
    assert launch.env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9000"
    assert launch.env["CLAUDE_CONFIG_DIR"] == "/h/.claude"


def test_a_session_is_taken_up_where_it_was_kept() -> None:
    options = {"model": MODEL, "state_dir": "/kept", "resume": SESSION}
    launch = registry.get("claude").launch(options=options, files=FILES, prompt="p")

    assert launch.argv[-2:] == ("--resume", SESSION)
    assert "--no-session-persistence" not in launch.argv
    assert launch.env["CLAUDE_CONFIG_DIR"] == "/kept"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "model: Field required"),
        ({"model": "--help"}, "model: String should match"),
        (
            {"model": MODEL, "extra_args": ["--add-dir", "/"]},
            "unknown key 'extra_args'; known keys: ask_locks, base_url,",
        ),
        ({"model": MODEL, "tool": ["Read"]}, "unknown key 'tool'; did you mean 'tools'?"),
        ({"model": MODEL, "tools": []}, "tools: List should have at least 1 item"),
        ({"model": MODEL, "tools": ["--dangerously-skip-permissions"]}, "tools.0: String should match"),
        ({"model": MODEL, "tools": ["Bash(a),Write"]}, "tools.0: String should match"),
        ({"model": MODEL, "max_turns": 0}, "max_turns: Input should be greater than or equal to 1"),
        ({"model": MODEL, "max_budget_usd": float("nan")}, "max_budget_usd: Input should be"),
        ({"model": MODEL, "base_url": "ftp://x"}, "base_url: must be an http or https URL"),
        ({"model": MODEL, "mcp": {"grid": {**SERVER, "token": "x"}}}, "mcp.grid: unknown key 'token'"),
        ({"model": MODEL, "resume": SESSION}, "'resume' needs 'state_dir'"),
        ({"model": MODEL, "state_dir": "/s", "resume": "../x"}, "resume: String should match"),
        ({"model": MODEL, "state_dir": "relative"}, "state_dir: String should match"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOptionsError) as raised:
        registry.get("claude").validate(options)
    assert words in str(raised.value)
    assert str(raised.value).startswith("options of the agent 'claude': ")


def test_a_whole_run_takes_the_options(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    options = doubles.options(
        "claude",
        "finish-done",
        mcp={"grid": SERVER},
        max_budget_usd=1,
        base_url="http://127.0.0.1:9000",
        state_dir=str(tmp_path),
        resume=SESSION,
    )
    ran = Place(root=tmp_path).run("claude", options)

    assert ran.verdict.ok, ran.verdict
    assert total(ran.events, "input_tokens") == 30
    assert total(ran.events, "output_tokens") == 7


def test_an_edit_that_our_hook_forbade_does_not_fail_the_run() -> None:
    """The model was told who has the lock, and goes on; a denial of another call counts as before."""
    blocked = "PreToolUse:Edit hook error: [/h/bin/gridctl guard]: app.py is locked by agent 3: work on something else."
    lines = [*WORK, assistant("msg_4", call("Edit", 3), fresh=1, cached=0), answer(3, blocked, is_error=True)]
    denial = {"tool_name": "Edit", "tool_use_id": "toolu_3", "tool_input": {}}

    assert judged([*lines, result(result="Went on elsewhere.", permission_denials=[denial])]).ok
    other = {**denial, "tool_use_id": "toolu_9"}
    assert judged([*lines, result(permission_denials=[denial, other])]).reason == "the tool 'Edit' was denied"


def test_calls_that_our_hook_forbade_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser lives in the host, and a program can say what it likes."""
    monkeypatch.setattr(claude_stream, "_MAX_REMEMBERED", 2)
    parser = ClaudeParser()
    for number in range(5):
        parser.feed("out", answer(number, "PreToolUse:Edit hook error", is_error=True))
    assert len(parser._blocked) == 2


@pytest.mark.parametrize(
    ("grid_tools", "given", "asks"),
    [
        (("acquire_lock", "finish"), {}, True),
        (("acquire_lock",), {"ask_locks": False}, False),
        (("finish",), {}, False),
        (("finish",), {"ask_locks": True}, False),
    ],
)
def test_hooks_come_with_the_right_to_lock(grid_tools: tuple[str, ...], given: dict[str, Any], asks: bool) -> None:
    wiring = Wiring(mcp_url="http://127.0.0.1:1/mcp", grid_tools=grid_tools)
    wired = registry.get("claude").wired(options={"model": MODEL, **given}, wiring=wiring)
    launch = registry.get("claude").launch(options=wired.options, files=FILES, prompt="x")

    assert ("--bare" in launch.argv) != asks
    assert ("--restricted" in launch.argv) == asks
    assert (".agentgrid/claude-hooks.json" in launch.files) == asks
    if asks:
        assert str(FILES.home / ".agentgrid/claude-hooks.json") in launch.argv
