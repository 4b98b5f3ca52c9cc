"""What the built-in agent makes of the grid's offers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai.exceptions import (
    ModelConnectionError,
    ModelHTTPError,
    ModelRequestTimeout,
    ModelTimeoutError,
    UsageLimitExceeded,
)

from grid.agents import registry
from grid.agents.base import Wired, Wiring
from grid.agents.builtin.models import in_words, may_pass
from grid.agents.builtin.options import read_options
from grid.agents.errors import InvalidOptionsError

ALL = frozenset({"anthropic", "openai", "gemini", "ollama"})
SCRIPT = '{"steps": [{"call": "finish", "args": {}}]}'


def wired(options: dict[str, Any], **wiring: Any) -> Wired:
    result = registry.get("builtin").wired(options=options, wiring=Wiring(**wiring))
    read_options(result.options)
    return result


def test_without_offers_options_stay_as_they_are() -> None:
    options = {"model": "scripted", "script": SCRIPT, "limits": {"requests": 3}}
    assert wired(options) == Wired(options=options)


def test_the_model_is_the_profiles_when_the_options_name_none() -> None:
    offer = {"model": "ollama:qwen3", "fallback_models": ("openai:gpt-5", "scripted")}
    assert wired({}, **offer).options == {"model": "ollama:qwen3", "fallback_models": ["openai:gpt-5"]}
    assert wired({"model": "openai:x", "fallback_models": []}, **offer).options["model"] == "openai:x"
    assert "fallback_models" not in wired({"model": "scripted", "script": SCRIPT}, **offer).options


def test_models_go_through_the_gateway_and_get_the_token_for_a_key() -> None:
    result = wired(
        {},
        model="anthropic:claude-sonnet-4-5",
        fallback_models=("openai:gpt-5", "ollama:qwen3"),
        gateway_url="http://grid:8000/gateway",
        providers=ALL,
    )
    assert result.options["gateway"] == {
        "anthropic": "http://grid:8000/gateway/anthropic",
        "openai": "http://grid:8000/gateway/openai/v1",
        "ollama": "http://grid:8000/gateway/ollama/v1",
    }
    assert result.key_env == ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OLLAMA_API_KEY")


def test_only_providers_that_the_gateway_serves_get_the_token() -> None:
    offer = {"gateway_url": "http://grid/gateway", "providers": frozenset({"anthropic"})}
    assert wired({"model": "openai:gpt-5"}, **offer) == Wired(options={"model": "openai:gpt-5"})
    mixed = wired({"model": "openai:gpt-5", "fallback_models": ["anthropic:claude-haiku-4-5"]}, **offer)
    assert mixed.options["gateway"] == {"anthropic": "http://grid/gateway/anthropic"}
    assert mixed.key_env == ("ANTHROPIC_API_KEY",)


def test_an_address_of_ones_own_never_gets_the_token() -> None:
    options = {"model": "openai:gpt-5", "base_url": "http://mine/v1"}
    assert wired(options, gateway_url="http://grid/gateway", providers=ALL) == Wired(options=options)


def test_the_scripted_model_needs_no_gateway() -> None:
    result = wired({"model": "scripted", "script": SCRIPT}, gateway_url="http://grid/gateway", providers=ALL)
    assert result.key_env == ()
    assert "gateway" not in result.options


def test_nobody_but_the_grid_says_where_the_grid_is() -> None:
    hostile = {"grid_url": "http://evil/", "grid_tools": ["nudge"], "gateway": {"openai": "http://evil/"}}
    assert wired({"model": "openai:x", **hostile}) == Wired(options={"model": "openai:x"})
    wiring: dict[str, Any] = {"mcp_url": "http://grid/mcp", "grid_tools": ("finish",)}
    offered = {"model": "openai:x", "grid_url": "http://grid/mcp", "grid_tools": []}
    assert wired({"model": "openai:x", **hostile}, **wiring) == Wired(options=offered)


def test_grid_tools_are_taken_but_for_the_second_finish() -> None:
    result = wired({"model": "ollama:x"}, mcp_url="http://grid/mcp", grid_tools=("nudge", "finish"))
    assert result.options == {"model": "ollama:x", "grid_url": "http://grid/mcp", "grid_tools": ["nudge"]}


def test_tools_are_the_profiles_and_never_more() -> None:
    assert wired({"model": "ollama:x"}, tools=("read_file", "unknown")).options["tools"] == ["read_file", "finish"]
    narrower = wired({"model": "ollama:x", "tools": ["read_file"]}, tools=("read_file", "write_file"))
    assert narrower.options["tools"] == ["read_file"]
    with pytest.raises(InvalidOptionsError, match="the profile does not allow run_command"):
        wired({"model": "ollama:x", "tools": ["read_file", "run_command"]}, tools=("read_file",))


def test_limits_are_the_lower_of_both() -> None:
    limits = {"requests": 10, "tool_calls": 5, "context_tokens": 50_000, "children": 3}
    result = wired({"model": "ollama:x", "limits": {"requests": 3, "tool_calls": 9}}, limits=limits)
    assert result.options["limits"] == {"requests": 3, "tool_calls": 5, "context_tokens": 50_000}
    assert wired({"model": "ollama:x"}, limits={"requests": 120}).options["limits"] == {"requests": 120}


def test_the_profiles_mixins_and_instructions_come_first_and_stay() -> None:
    result = wired(
        {"model": "ollama:x", "mixins": ["trace"], "instructions": "Mine."},
        mixins=({"retry": {"attempts": 2}}, {"budget": {"tool_calls": 3}}),
        instructions="The profile's.",
    )
    assert result.options["mixins"] == [{"retry": {"attempts": 2}}, {"budget": {"tool_calls": 3}}, "trace"]
    assert result.options["instructions"] == "The profile's.\n\nMine."


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tools": ["raed_file"]}, "tools: unknown tool 'raed_file'; did you mean 'read_file'?"),
        ({"mixins": ["trcae"]}, "mixins: unknown mixin 'trcae'; did you mean 'trace'?"),
        ({"mixins": [{"retry": {"tries": 1}}]}, "mixins: mixin 'retry': unknown option 'tries'"),
        ({"fallback_models": ["gpt-5"]}, "model must be 'scripted' or one of"),
        ({"limits": {"context_tokens": 5}}, "limits.context_tokens: "),
        ({"grid_url": "file:///x"}, "grid_url must be an http or https URL"),
        (
            {"model": "scripted", "script": SCRIPT, "fallback_models": ["ollama:x"]},
            "has no meaning for the model 'scripted'",
        ),
    ],
)
def test_wrong_options_are_refused_with_the_fix(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        read_options({"model": "ollama:x"} | options)
    assert words in str(caught.value)


def test_a_provider_that_is_not_reached_and_not_served_is_told_with_the_fix() -> None:
    refused = ModelConnectionError("qwen3:8b", "Connection error.")
    alone = read_options({"model": "ollama:qwen3:8b"})
    assert "let the gateway serve 'ollama' (GATEWAY_PROVIDERS)" in in_words(refused, alone)
    group = ExceptionGroup("all failed", [ModelHTTPError(503, "first"), refused])
    both = read_options({"model": "openai:first", "fallback_models": ["ollama:qwen3:8b"]})
    assert in_words(group, both).count("GATEWAY_PROVIDERS") == 1
    for options in ({"base_url": "http://127.0.0.1:9/v1"}, {"gateway": {"ollama": "http://127.0.0.1:9/v1"}}):
        assert "GATEWAY" not in in_words(refused, read_options({"model": "ollama:qwen3:8b", **options}))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ModelHTTPError(500, "m"), True),
        (ModelHTTPError(503, "m"), True),
        (ModelHTTPError(529, "m"), True),
        (ModelConnectionError("m", "refused"), True),
        (ModelTimeoutError("m", "slow"), True),
        (ModelRequestTimeout("m", 5.0), True),
        (ModelHTTPError(400, "m"), False),
        (ModelHTTPError(401, "m"), False),
        (ModelHTTPError(402, "m"), False),
        (ModelHTTPError(403, "m"), False),
        (ModelHTTPError(429, "m"), False),
        (UsageLimitExceeded("spent"), False),
        (ValueError("a fault"), False),
    ],
)
def test_a_fallback_is_asked_after_trouble_never_after_a_refusal(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes
