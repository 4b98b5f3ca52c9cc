from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from coordinator.gateway import pricing, routes, wanted
from coordinator.gateway.routes import Refused, Route
from coordinator.gateway.wanted import BadRequestError, Wanted

PATHS = {
    "anthropic": "/v1/messages",
    "openai": "/v1/responses",
    "gemini": "/v1beta/models/gemini-2.5-flash:generateContent",
    "ollama": "/api/chat",
}


def route(provider: str = "anthropic", path: str = "") -> Route:
    found = routes.find("POST", provider, path or PATHS[provider])
    assert found is not None
    return found


def read(body: dict[str, Any] | str | bytes, provider: str = "anthropic", path: str = "") -> Wanted:
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return wanted.read(route(provider, path), raw)


def refused(body: dict[str, Any] | str | bytes, provider: str = "anthropic") -> Refused:
    with pytest.raises(BadRequestError) as caught:
        read(body, provider)
    return caught.value.reason


def test_limits_are_read_where_each_provider_has_them():
    assert read({"model": "m", "max_tokens": 5}).output_tokens == 5
    assert read({"model": "m", "max_output_tokens": 6}, "openai").output_tokens == 6
    chat = {"model": "m", "max_tokens": 3, "max_completion_tokens": 7, "n": 2}
    assert read(chat, "openai", "/chat/completions").output_tokens == 14
    assert read({"generationConfig": {"maxOutputTokens": "8", "candidateCount": 2}}, "gemini").output_tokens == 16
    assert read({"generation_config": {"max_output_tokens": 9}}, "gemini").output_tokens == 9
    assert read({"model": "m", "options": {"num_predict": 4}}, "ollama").output_tokens == 4


@pytest.mark.parametrize("limit", [None, -1, 0, True, "x", [], {}])
def test_a_limit_that_is_none_counts_as_the_most_there_is(limit):
    asked = read({"model": "m", "max_tokens": limit})
    assert asked.output_tokens is None
    guess = pricing.estimate("anthropic", asked, {})
    assert guess.tokens == wanted.MOST_OUTPUT_TOKENS + asked.input.most_tokens


def test_streams_by_default_only_where_the_provider_does():
    assert read({"model": "m"}, "ollama").streams
    assert not read({"model": "m"}, "openai").streams
    assert not read({"model": "m", "stream": False}, "ollama").streams
    assert read({}, "gemini", "/v1beta/models/x:streamGenerateContent").streams
    assert refused({"model": "m", "stream": 1}) == Refused.REQUEST


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"small","model":"large"}',
        '{"model":"small","Model":"large"}',
        '{"MODEL":"large"}',
        '{"model":"small","mode\u017f":"x","modes":"y"}',
        '{"model":"m","tool\u017f":[]}',
        '{"model":"m","metadata":{"a":1,"a":2}}',
        '{"model":"m","temperature":NaN}',
        '{"model":"m"} {"model":"n"}',
        '["model"]',
        '"m"',
        "",
        "[" * 100_000,
        b"\xff\xfe{}",
        '{"model":"m","max_tokens":' + "9" * 5000 + "}",
    ],
)
def test_a_body_that_can_be_read_in_two_ways_or_in_none_is_refused(body):
    assert refused(body) == Refused.REQUEST


@pytest.mark.parametrize(
    "name",
    [
        "",
        " claude",
        "claude ",
        "clau\u200bde",
        "\uff43laude",
        "../x",
        "a\nb",
        "a" * 300,
        7,
        None,
        ["a"],
        {"a": 1},
        "a?b",
        "a*",
    ],
)
def test_only_plain_names_are_models(name):
    assert refused({"model": name}) == Refused.MODEL


def test_a_model_in_the_body_must_be_that_of_the_path():
    assert read({"model": "models/gemini-2.5-flash"}, "gemini").model == "gemini-2.5-flash"
    assert refused({"model": "gemini-3-pro"}, "gemini") == Refused.MODEL


def test_models_of_fallbacks_and_tools_are_named_too():
    body = {
        "model": "a",
        "models": ["b"],
        "fallbacks": [{"model": "c"}],
        "tools": [{"type": "advisor", "model": "d"}, {"name": "n", "tools": [{"model": "e"}]}, {"name": "bash"}],
    }
    assert read(body).other_models == ("b", "c", "d", "e")
    assert refused({"model": "a", "tools": [{"model": {"x": 1}}]}) == Refused.MODEL


def test_only_the_wish_for_usage_is_added_and_only_to_streamed_chats():
    body = {"model": "m", "stream": True, "stream_options": {"x": 1}, "messages": [{"content": "\ud800é"}]}
    asked = read(body, "openai", "/v1/chat/completions")
    assert json.loads(asked.body) == {**body, "stream_options": {"x": 1, "include_usage": True}}
    assert asked.hides_usage
    for same in ({**body, "stream_options": {"include_usage": True}}, {**body, "stream": False}):
        raw = json.dumps(same).encode()
        kept = wanted.read(route("openai", "/v1/chat/completions"), raw)
        assert (kept.body, kept.hides_usage) == (raw, False)


@pytest.mark.parametrize(
    ("provider", "path", "body"),
    [
        ("openai", "", {"tools": [{"type": "function", "name": "f"}, {"type": "web_search_preview_2025_03_11"}]}),
        ("openai", "", {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
        ("openai", "", {"tools": [{"type": "image_generation"}]}),
        ("openai", "", {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}]}),
        ("openai", "/v1/chat/completions", {"web_search_options": {}}),
        ("gemini", "", {"tools": [{"functionDeclarations": []}, {"googleSearch": {}}]}),
        ("gemini", "", {"tools": {"google_search_retrieval": {}}}),
    ],
)
def test_tools_that_are_billed_by_the_call_are_not_passed_on(provider, path, body):
    with pytest.raises(BadRequestError, match="bills"):
        read(body if provider == "gemini" else {"model": "gpt-5.2", **body}, provider, path)


def test_tools_that_cost_tokens_alone_are_passed_on():
    own = {"tools": [{"type": "function", "name": "web_search"}, {"type": "custom", "name": "apply_patch"}]}
    assert read({"model": "gpt-5.2", **own}, "openai").model == "gpt-5.2"
    assert read({"tools": [{"functionDeclarations": []}, {"urlContext": {}}]}, "gemini").model == "gemini-2.5-flash"
    assert read({"model": "m", "tools": [{"type": "web_search_20250305", "name": "web_search"}]}).model == "m"


def test_the_estimate_is_an_upper_bound_with_caches_and_further_models():
    plain = pricing.estimate("anthropic", read({"model": "claude-haiku-4-5", "max_tokens": 10}), {})
    cached = read({"model": "claude-haiku-4-5", "max_tokens": 10, "system": [{"cache_control": {"ttl": "1h"}}]})
    dear = read({"model": "claude-haiku-4-5", "max_tokens": 10, "fallbacks": [{"model": "claude-opus-4-5"}]})
    assert plain.usd_micros is not None
    for more in (cached, dear):
        bound = pricing.estimate("anthropic", more, {}).usd_micros
        assert bound is not None
        assert bound > plain.usd_micros
    unknown = read({"model": "claude-haiku-4-5", "max_tokens": 10, "fallbacks": [{"model": "nobody-knows"}]})
    guess = pricing.estimate("anthropic", unknown, {})
    assert guess.is_guess
    assert guess.usd_micros is not None
    assert guess.usd_micros > plain.usd_micros


@pytest.mark.parametrize(
    ("wish", "writes"),
    [
        ('{"cache_control":{"type":"ephemeral"}}', "5m"),
        ('{"c\\u0061che_control":{"type":"ephemeral","ttl":"5m"}}', "5m"),
        ('{"c\\u0061che_control":{"type":"ephemeral","t\\u0074l":"1\\u0068"}}', "1h"),
        ('{"cache_control":{"ttl":"2h"}}', "1h"),
        ('{"cache_control":null}', ""),
        ('{"text":"cache_control"}', ""),
    ],
)
def test_a_wish_for_a_cache_is_seen_however_it_is_written(wish, writes):
    assert read(f'{{"model":"m","system":[{wish}]}}').cache_writes == writes


def test_packed_bodies_are_unpacked_up_to_a_size():
    assert wanted.unpack(gzip.compress(b"{}"), "gzip") == b"{}"
    assert wanted.unpack(zlib.compress(b"{}"), "deflate") == b"{}"
    assert wanted.unpack(gzip.compress(zlib.compress(b"{}")), "deflate, gzip") == b"{}"
    bomb = gzip.compress(b"0" * (wanted.MAX_BODY_BYTES + 1))
    cases = {
        (bomb, "gzip"): Refused.SIZE,
        (b"{}", "gzip"): Refused.ENCODING,
        (gzip.compress(b"{}")[:-4], "gzip"): Refused.ENCODING,
        (gzip.compress(b"{}") + b"x", "gzip"): Refused.ENCODING,
        (b"{}", "zstd"): Refused.ENCODING,
    }
    for (raw, encoding), reason in cases.items():
        with pytest.raises(BadRequestError) as caught:
            wanted.unpack(raw, encoding)
        assert caught.value.reason == reason
