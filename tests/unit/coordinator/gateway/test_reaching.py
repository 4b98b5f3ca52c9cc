"""What has a provider reach the network in an agent's place, and what only looks like it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings

from agentgrid import settings as ours
from coordinator.gateway import reaching, routes
from coordinator.gateway.routes import Api

REMOTE = "https://evil.test/?q=secret"
INSIDE = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("api", "body", "way"),
    [
        (Api.MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
        (Api.MESSAGES, {"tools": [{"name": "f"}, {"type": "web_fetch_20260209", "name": "web_fetch"}]}, "web_fetch"),
        (Api.MESSAGES, {"mcp_servers": [{"type": "url", "url": REMOTE, "name": "x"}]}, "mcp"),
        (Api.MESSAGES, {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "mcp"),
        (Api.MESSAGES, {"tools": [{"type": "brand_new_20270101"}]}, "other"),
        (Api.MESSAGES, {"tools": {"type": "web_fetch_20250910"}}, "web_fetch"),
        (Api.MESSAGES, {"tools": [{"type": ["custom"]}]}, "other"),
        (Api.MESSAGES, {"messages": [{"content": [{"source": {"type": "url", "url": REMOTE}}]}]}, "urls"),
        (Api.MESSAGES, {"messages": [{"content": [{"content": [{"source": {"type": "url", "url": "u"}}]}]}]}, "urls"),
        (Api.RESPONSES, {"tools": [{"type": "mcp", "server_url": REMOTE}]}, "mcp"),
        (Api.RESPONSES, {"tools": [{"type": "web_search_preview"}]}, "web_search"),
        (Api.RESPONSES, {"tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]}, "mcp"),
        (Api.RESPONSES, {"input": [{"type": "tool_search_output", "tools": [{"type": "mcp"}]}]}, "mcp"),
        (Api.RESPONSES, {"tools": [{"type": "code_interpreter"}]}, "code"),
        (Api.RESPONSES, {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "code"),
        (Api.RESPONSES, {"tools": [{"type": "shell"}]}, "code"),
        (Api.RESPONSES, {"tools": [{"type": "new"}]}, "other"),
        (Api.RESPONSES, {"input": [{"content": [{"type": "input_image", "image_url": REMOTE}]}]}, "urls"),
        (Api.RESPONSES, {"input": [{"content": [{"type": "input_file", "file_url": REMOTE}]}]}, "urls"),
        (Api.RESPONSES, {"input": [{"output": {"type": "computer_screenshot", "image_url": REMOTE}}]}, "urls"),
        (Api.CHAT, {"messages": [{"content": [{"type": "image_url", "image_url": {"url": REMOTE}}]}]}, "urls"),
        (Api.CHAT, {"web_search_options": {}}, "web_search"),
        (Api.CHAT, {"plugins": [{"id": "web"}]}, "other"),
        (Api.GEMINI, {"tools": [{"url_context": {}}]}, "web_fetch"),
        (Api.GEMINI, {"tools": {"googleSearch": {}}}, "web_search"),
        (Api.GEMINI, {"tools": [{"functionDeclarations": [], "mcpServers": [{"url": REMOTE}]}]}, "mcp"),
        (Api.GEMINI, {"contents": [{"parts": [{"fileData": {"fileUri": REMOTE}}]}]}, "urls"),
        (Api.GEMINI, {"contents": [{"parts": [{"file_data": {"FILE_URI": REMOTE}}]}]}, "urls"),
    ],
)
def test_a_way_out_is_found(api: Api, body: dict[str, Any], way: str) -> None:
    found = reaching.ways(api, body)
    assert list(found) == [way]
    assert found[way] in reaching.refused(found, allowed=frozenset(reaching.WAYS) - {way})
    assert way in reaching.refused(found, allowed=frozenset())
    assert reaching.refused(found, allowed=frozenset({way})) == ""


SCHEMA = {"properties": {"tools": [{"type": "web_fetch"}], "image_url": {"type": "string"}, "source": {"type": "url"}}}


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (Api.MESSAGES, {"tools": [{"name": "web_fetch", "input_schema": SCHEMA}, {"type": "bash_20250124"}]}),
        (Api.MESSAGES, {"tools": [{"type": "code_execution_20250825"}, {"type": "custom", "name": "mcp"}]}),
        (Api.MESSAGES, {"mcp_servers": [], "tools": None}),
        (Api.MESSAGES, {"messages": [{"content": [{"type": "tool_use", "input": {"source": {"type": "url"}}}]}]}),
        (Api.MESSAGES, {"messages": [{"content": [{"source": {"type": "base64", "data": "AA"}}]}]}),
        (Api.RESPONSES, {"tools": [{"type": "function", "name": "mcp", "parameters": SCHEMA}, {"type": "custom"}]}),
        (Api.RESPONSES, {"tools": [{"type": "shell", "environment": {"type": "local"}}, {"type": "local_shell"}]}),
        (Api.RESPONSES, {"input": [{"content": [{"type": "input_image", "image_url": INSIDE}]}]}),
        (Api.CHAT, {"messages": [{"content": [{"type": "image_url", "image_url": {"url": INSIDE}}]}]}),
        (Api.GEMINI, {"tools": [{"functionDeclarations": [{"name": "urlContext", "parameters": SCHEMA}]}]}),
        (Api.GEMINI, {"contents": [{"parts": [{"functionCall": {"args": {"fileUri": REMOTE}}}]}]}),
        (Api.OLLAMA, {"tools": [{"type": "function"}], "messages": [{"images": ["AA"]}]}),
    ],
)
def test_what_stays_inside_is_none(api: Api, body: dict[str, Any]) -> None:
    assert reaching.ways(api, body) == {}


def test_a_provider_that_only_counts_tokens_fetches_as_well() -> None:
    def ways(provider: str, path: str, body: bytes) -> dict[str, str]:
        route = routes.find("POST", provider, path)
        assert route is not None and route.api == Api.FREE
        return reaching.ways_of_free(route, body)

    count = "/v1/messages/count_tokens"
    assert ways("anthropic", count, json.dumps({"mcp_servers": [{"url": REMOTE}]}).encode()) == {"mcp": "mcp_servers"}
    asked = {"generateContentRequest": {"contents": [{"parts": [{"fileData": {"fileUri": REMOTE}}]}]}}
    assert "urls" in ways("gemini", "/v1beta/models/gemini-2.5-flash:countTokens", json.dumps(asked).encode())
    for body in (b"", b"[]", b"\xff", b'{"mcp_servers":[1],"mcp_servers":[]}', b"[" * 100_000):
        with pytest.raises(ValueError, match=r"."):
            ways("anthropic", count, body)


def test_the_setting_knows_every_way() -> None:
    assert ours._WAYS == reaching.WAYS
    assert settings.GATEWAY_MAY_REACH == []
