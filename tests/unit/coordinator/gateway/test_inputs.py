"""What counts by its bytes, and what as a full window: whatever is not known to lie in the body as text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coordinator.gateway import inputs, pricing, wanted
from coordinator.gateway.wanted import Wanted
from tests.unit.coordinator.gateway.test_wanted import read, route

TEXT = "7" * 9_000
BASE64 = "QUJD" * 3_000
CHAT = "/v1/chat/completions"
LONE: dict[str, dict[str, Any]] = {
    "anthropic": {"model": "claude-haiku-4-5", "max_tokens": 10},
    "openai": {"model": "gpt-5.2", "max_output_tokens": 10, "max_tokens": 10},
    "gemini": {"generationConfig": {"maxOutputTokens": 10}},
    "ollama": {"model": "m", "options": {"num_predict": 10}},
}
WINDOW = {"anthropic": 200_000, "openai": 400_000, "gemini": 1_048_576, "ollama": 1_000_000}


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def item(*items: Any) -> dict[str, Any]:
    return {"input": list(items)}


def said(*parts: Any) -> dict[str, Any]:
    return item({"role": "user", "content": list(parts)})


def gemini(*parts: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


def asked(provider: str, body: dict[str, Any] | str, path: str = "") -> Wanted:
    return read(body if isinstance(body, str) else {**LONE[provider], **body}, provider, path)


CALL = {"type": "object", "properties": {"file_id": {"type": "string"}, "url": {"type": "url"}}}
TEXTS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "anthropic",
        "",
        {
            "system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": "read", "input_schema": CALL}],
            "thinking": {"type": "enabled", "budget_tokens": 5},
            "metadata": {"user_id": "u"},
            "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
            "messages": [
                {"role": "user", "content": TEXT},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t", "signature": "s"},
                        {"type": "tool_use", "id": "t1", "name": "read", "input": {"type": "url", "file_id": "f"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "x"}]},
                        {"type": "tool_result", "tool_use_id": "t1", "content": "x", "is_error": True},
                    ],
                },
            ],
        },
    ),
    (
        "openai",
        "",
        {
            "instructions": TEXT,
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "high"},
            "prompt_cache_key": "k",
            "tools": [
                {"type": "function", "name": "f", "parameters": CALL},
                {"type": "custom", "name": "apply_patch"},
                {"type": "namespace", "name": "mcp__grid", "tools": [{"type": "function", "name": "g"}]},
            ],
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": TEXT}]},
                {"role": "user", "content": "x"},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
                {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": '{"file_url":"x"}'},
                {"type": "function_call", "namespace": "mcp__grid", "call_id": "g", "name": "g", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "x"},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
            ],
        },
    ),
    ("openai", "", {"input": TEXT}),
    (
        "openai",
        CHAT,
        {
            "messages": [
                {"role": "system", "content": TEXT},
                {"role": "user", "content": [{"type": "text", "text": "x"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]},
                {"role": "tool", "tool_call_id": "c", "content": "x"},
            ]
        },
    ),
    (
        "gemini",
        "",
        {
            "systemInstruction": {"parts": [{"text": TEXT}]},
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": CALL}]}],
            "contents": [
                {"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"fileUri": "x"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"fileUri": "x"}}}]},
            ],
        },
    ),
    ("ollama", "", {"messages": [{"role": "user", "content": TEXT}], "think": False}),
    ("ollama", "/api/generate", {"prompt": TEXT, "stream": False}),
]


@pytest.mark.parametrize(("provider", "path", "body"), TEXTS)
def test_text_in_the_body_counts_a_token_for_each_byte_at_most(provider, path, body):
    whole = asked(provider, body, path)
    size = len(whole.body)
    assert size <= whole.input.most_tokens <= size + 1
    assert not whole.input.is_open
    guess = pricing.estimate(provider, whole, {})
    assert guess.tokens == whole.input.most_tokens + 10
    assert guess.likely_tokens == size // 3 + 1 + 10


ELSEWHERE: list[tuple[str, str, dict[str, Any] | str]] = [
    ("openai", "", said({"type": "input_file", "file_url": "https://x.example/big.pdf"})),
    ("openai", "", said({"type": "input_file", "file_data": BASE64, "file_url": "https://x.example/big.pdf"})),
    ("openai", "", said({"type": "input_image", "image_url": "https://x.example/big.png"})),
    ("openai", "", said({"type": "input_text", "text": "x", "file_id": "f"})),
    ("openai", "", item({"type": "item_reference", "id": "msg_1"})),
    ("openai", "", item({"id": "msg_1"})),
    ("openai", "", item({"id": "msg_1", "content": None})),
    ("openai", "", item({"type": "message", "id": "msg_1", "role": "assistant"})),
    ("openai", "", item({"type": "reasoning", "id": "rs_1", "summary": []})),
    (
        "openai",
        "",
        item({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_id": "f"}]}),
    ),
    ("openai", "", {"previous_response_id": "r"}),
    ("openai", "", {"conversation": "c"}),
    ("openai", "", {"prompt": {"id": "pmpt_1"}}),
    ("openai", "", {"something_new": {"of": "tomorrow"}}),
    ("openai", "", '{"model":"gpt-5.2","max_output_tokens":10,"input":[{"type":"input_file","\\u0066ile_id":"f"}]}'),
    ("openai", CHAT, user({"type": "image_url", "image_url": {"url": "https://x.example/?d=1"}})),
    ("openai", CHAT, user({"type": "file", "file": {"file_id": "f"}})),
    ("openai", CHAT, {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}, "content": "x"}]}),
    ("anthropic", "", user({"type": "document", "source": {"type": "url", "url": "https://x.example/big.pdf"}})),
    ("anthropic", "", user({"type": "document", "source": {"type": "file", "file_id": "f"}})),
    ("anthropic", "", user({"type": "container_upload", "file_id": "f"})),
    ("anthropic", "", user({"type": ["text"], "text": "x"})),
    (
        "anthropic",
        "",
        '{"model":"claude-haiku-4-5","max_tokens":10,"messages":[{"role":"user","content":'
        '[{"type":"document","source":{"t\\u0079pe":"url","url":"https://x"}}]}]}',
    ),
    (
        "anthropic",
        "",
        user(
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "image", "source": {"type": "url", "url": "u"}}],
            }
        ),
    ),
    ("anthropic", "", {"container": "c1"}),
    ("anthropic", "", {"mcp_servers": [{"type": "url", "url": "https://x.example", "name": "x"}]}),
    ("anthropic", "", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
    ("gemini", "", gemini({"fileData": {"mimeType": "video/mp4", "fileURI": "https://x.example/v"}})),
    ("gemini", "", gemini({"file_data": {"\u0066ile_uri": "https://x.example/v"}})),
    ("gemini", "", gemini({"functionResponse": {"name": "f", "parts": [{"fileData": {"fileUri": "x"}}]}})),
    ("gemini", "", {"cachedContent": "cachedContents/1"}),
    ("gemini", "", {"cached_content": "cachedContents/1"}),
]


@pytest.mark.parametrize(("provider", "path", "body"), ELSEWHERE)
def test_whatever_is_not_known_to_lie_in_the_body_counts_as_a_full_window(provider, path, body):
    guess = pricing.estimate(provider, asked(provider, body, path), {})
    assert (guess.tokens, guess.likely_tokens) == (WINDOW[provider] + 10, WINDOW[provider] + 10)


DOCUMENTS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "anthropic",
        "",
        user({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": BASE64}}),
    ),
    ("openai", "", said({"type": "input_file", "filename": "a.pdf", "file_data": BASE64})),
    ("openai", CHAT, user({"type": "file", "file": {"file_data": BASE64, "filename": "a.pdf"}})),
    ("openai", CHAT, user({"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}})),
    ("gemini", "", gemini({"inlineData": {"mimeType": "application/pdf", "data": BASE64}})),
    ("ollama", "", {"messages": [{"role": "user", "content": "x", "images": [BASE64]}]}),
    ("gemini", "", gemini({"inline_data": {"mime_type": "image/png", "data": BASE64}})),
]


@pytest.mark.parametrize(("provider", "path", "body"), DOCUMENTS)
def test_a_document_in_the_body_may_be_a_full_window_and_is_likely_less(provider, path, body):
    guess = pricing.estimate(provider, asked(provider, body, path), {})
    assert guess.tokens == WINDOW[provider] + 10
    assert len(BASE64) // 3 < guess.likely_tokens < len(BASE64)


IMAGES: list[tuple[str, str, dict[str, Any], int]] = [
    (
        "anthropic",
        "",
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BASE64}},
        5_000,
    ),
    ("openai", "", {"type": "input_image", "image_url": f"data:image/png;base64,{BASE64}", "detail": "high"}, 50_000),
    ("openai", CHAT, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}}, 50_000),
]


@pytest.mark.parametrize(("provider", "path", "part", "most"), IMAGES)
def test_an_image_in_the_body_has_a_bound_of_its_own_where_its_provider_shrinks_it(provider, path, part, most):
    make = said if not path and provider == "openai" else user
    without = asked(provider, make(), path).input.most_tokens
    found = asked(provider, make(part, part), path).input
    assert not found.is_open
    assert 2 * most < found.most_tokens - without < 2 * most + 500


def test_tools_that_the_provider_runs_read_the_conversation_again():
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 4}
    found = asked("anthropic", {"tools": [search]})
    assert (found.input.is_open, found.input.reads, found.input.searches) == (True, inputs.READS_OF_TOOLS, 4)
    guess = pricing.estimate("anthropic", found, {})
    assert guess.tokens == inputs.READS_OF_TOOLS * 200_000 + 10
    assert guess.usd_micros == inputs.READS_OF_TOOLS * 200_000 + 50 + 4 * 10_000
    assert guess.likely_tokens < 200
    assert asked("anthropic", {"tools": [{**search, "max_uses": 99}]}).input.searches == inputs.MOST_SEARCHES
    assert asked("gemini", {"tools": [{"urlContext": {}}]}).input.is_open
    grouped = {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp", "server_url": "https://x"}]}]}
    assert asked("openai", grouped).input.is_open
    shell = asked("anthropic", {"tools": [{"type": "bash_20250124", "name": "bash"}]}).input
    assert (shell.is_open, shell.most_tokens > 2_000) == (False, True)


def test_text_beyond_the_window_counts_as_the_window_and_a_longer_one_where_the_client_may_have_it():
    body = json.dumps(
        {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": TEXT * 50}]}
    )
    assert pricing.estimate("anthropic", read(body), {}).tokens == 200_010
    long = wanted.read(route(), body.encode(), betas="files-api,Context-1M-2025-08-07")
    assert pricing.estimate("anthropic", long, {}).tokens == long.input.most_tokens + 10 > 450_000


def test_a_body_of_great_depth_is_looked_through():
    inner: Any = "x"
    for _ in range(400):
        inner = [{"type": "tool_result", "content": inner}]
    assert not asked("anthropic", user(*inner)).input.is_open
