"""How the CLI adapters take the grid's offers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grid.agents import registry
from grid.agents.base import TOKEN_ENV, RunFiles, Wiring
from grid.agents.errors import InvalidOptionsError
from grid.wiring import wire

GATEWAY, MCP = "http://127.0.0.1:8000/gateway", "http://127.0.0.1:8000/mcp"
ALL_PROVIDERS = frozenset({"anthropic", "openai", "gemini", "ollama"})
FILES = RunFiles(workspace=Path("/w"), home=Path("/h"), python="/usr/bin/python3", path="/usr/bin")
MODELS = {"claude": "anthropic:claude-sonnet-4-5", "codex": "openai:gpt-5.2", "opencode": "openai:gpt-5.2"}
MODELS["gemini"] = "gemini:gemini-2.5-flash"
OPTIONS: dict[str, dict[str, Any]] = {"acp": {"argv": ["agent", "acp"], "api": "anthropic"}}
EVERY = ("read_file", "list_files", "write_file", "edit_file", "run_command")
READING = ("read_file", "list_files")


def wiring(name: str = "", **fields: Any) -> Wiring:
    return Wiring(
        **{"mcp_url": MCP, "gateway_url": GATEWAY, "providers": ALL_PROVIDERS, "model": MODELS.get(name, ""), **fields}
    )


@pytest.mark.parametrize("name", ["claude", "codex", "opencode", "gemini", "acp"])
def test_a_wired_agent_has_gateway_token_and_tools(name: str) -> None:
    adapter = registry.get(name)
    wired = adapter.wired(options=OPTIONS.get(name, {}), wiring=wiring(name))
    launch = adapter.launch(options=wired.options, files=FILES, prompt="Do it.")
    everything = "\n".join(
        [*launch.argv, json.dumps(dict(launch.env)), *(data.decode() for data in launch.files.values())]
    )
    assert f"{GATEWAY}/" in everything
    assert MCP in everything
    assert TOKEN_ENV in everything
    assert len(wired.key_env) == 1


@pytest.mark.parametrize("name", ["claude", "codex", "opencode", "gemini", "acp"])
def test_without_offers_options_stay_as_they_are(name: str) -> None:
    given = {"model": "m", **OPTIONS.get(name, {})}
    assert registry.get(name).wired(options=given, wiring=Wiring()).options == given
    assert registry.get(name).wired(options=given, wiring=Wiring()).key_env == ()


@pytest.mark.parametrize("name", ["claude", "codex", "opencode", "gemini"])
def test_an_address_of_ones_own_gets_no_token(name: str) -> None:
    given = {"model": "m", "base_url": "http://elsewhere.example/v1"}
    wired = registry.get(name).wired(options=given, wiring=wiring(name))
    assert wired.options["base_url"] == "http://elsewhere.example/v1"
    assert wired.key_env == ()


def test_options_may_not_take_the_name_of_our_server() -> None:
    stolen = {
        "grid": {"url": "http://evil.example/mcp", "token_env": TOKEN_ENV},
        "own": {"url": "http://x.example", "token_env": "T"},
    }
    wired = registry.get("claude").wired(options={"model": "m", "mcp": stolen}, wiring=wiring())
    assert wired.options["mcp"]["grid"]["url"] == MCP
    assert wired.options["mcp"]["own"]["url"] == "http://x.example"


@pytest.mark.parametrize(
    ("name", "tools", "expected"),
    [
        ("claude", EVERY, ["Bash", "Edit", "Read"]),
        ("claude", READING, ["Read"]),
        ("opencode", READING, ["read", "list", "glob", "grep"]),
        (
            "gemini",
            READING,
            ["read_file", "read_many_files", "list_directory", "glob", "search_file_content", "grep_search"],
        ),
    ],
)
def test_tools_are_cut_down_to_the_profiles(name: str, tools: tuple[str, ...], expected: list[str]) -> None:
    wired = registry.get(name).wired(options={}, wiring=wiring(name, tools=tools))
    assert wired.options["tools"] == expected


def test_kinds_of_acp_calls_are_cut_down() -> None:
    wired = registry.get("acp").wired(options={"argv": ["a"]}, wiring=wiring(tools=READING))
    assert wired.options["allow"] == ["read", "search", "think"]


def test_codex_reads_only_when_nothing_may_be_written() -> None:
    wired = registry.get("codex").wired(options={}, wiring=wiring("codex", tools=("read_file", "run_command")))
    assert wired.options["sandbox"] == "read-only"


@pytest.mark.parametrize(
    ("name", "options", "tools"),
    [
        ("claude", {"tools": ["Bash(git *)"]}, READING),
        ("opencode", {"tools": ["bash"]}, READING),
        ("gemini", {"tools": ["run_shell_command(git)"]}, READING),
        ("acp", {"argv": ["a"], "allow": ["execute"]}, READING),
        ("codex", {"sandbox": "danger-full-access"}, ("run_command",)),
        ("codex", {}, READING),
        ("claude", {}, ("propose_children",)),
        ("gemini", {}, ()),
    ],
)
def test_more_than_the_profile_allows_is_refused(name: str, options: dict[str, Any], tools: tuple[str, ...]) -> None:
    with pytest.raises(InvalidOptionsError, match=r"profile allows|does not allow"):
        registry.get(name).wired(options=options, wiring=wiring(name, tools=tools))


@pytest.mark.parametrize(("asked", "limit", "turns"), [(None, 10, 10), (5, 10, 5), (50, 10, 10)])
def test_the_lower_limit_of_turns_counts(asked: int | None, limit: int, turns: int) -> None:
    options = {} if asked is None else {"max_turns": asked}
    for name in ("claude", "gemini"):
        wired = registry.get(name).wired(options=options, wiring=wiring(name, limits={"requests": limit}))
        assert wired.options["max_turns"] == turns


def test_options_that_name_a_model_keep_it() -> None:
    assert registry.get("claude").wired(options={"model": "mine"}, wiring=wiring("claude")).options["model"] == "mine"


def test_a_model_of_another_provider_is_not_taken() -> None:
    assert "model" not in registry.get("claude").wired(options={}, wiring=wiring("codex")).options


@pytest.mark.parametrize("name", ["claude", "codex", "opencode", "gemini", "acp"])
def test_instructions_reach_the_agent(name: str) -> None:
    adapter = registry.get(name)
    wired = adapter.wired(options=OPTIONS.get(name, {}), wiring=wiring(name, instructions="Be brief."))
    launch = adapter.launch(options=wired.options, files=FILES, prompt="Do it.")
    if name == "claude":
        assert "Be brief." in launch.argv
    else:
        told = json.loads(launch.prompt)["text"] if name == "acp" else launch.prompt.decode()
        assert told == "Be brief.\n\nDo it."


@pytest.mark.parametrize("name", ["claude", "codex", "opencode", "gemini", "acp"])
def test_the_runs_token_goes_to_no_other_server(name: str) -> None:
    adapter = registry.get(name)
    keys = adapter.wired(options=OPTIONS.get(name, {}), wiring=wiring(name)).key_env
    for variable in (TOKEN_ENV, *keys):
        stolen = {"docs": {"url": "https://evil.example/mcp", "token_env": variable}}
        with pytest.raises(InvalidOptionsError, match=r"mcp\.docs: token_env"):
            wire(adapter, {**OPTIONS.get(name, {}), "mcp": stolen}, wiring(name))
    own = {"docs": {"url": "https://docs.example/mcp", "token_env": "DOCS_TOKEN"}}
    assert "docs" in wire(adapter, {**OPTIONS.get(name, {}), "mcp": own}, wiring(name)).options["mcp"]


@pytest.mark.parametrize("name", ["codex", "opencode"])
def test_the_runs_token_is_no_key_for_an_address_of_ones_own(name: str) -> None:
    stolen = {"model": "m", "base_url": "https://evil.example/v1", "key_env": TOKEN_ENV}
    for offered in (wiring(name), Wiring()):
        with pytest.raises(InvalidOptionsError, match="key_env"):
            wire(registry.get(name), stolen, offered)
    behind = wire(registry.get(name), {"model": "m", "key_env": "MY_KEY"}, wiring(name))
    assert behind.key_env == ("MY_KEY",)
