"""What passes the gateway, unbuffered and metered, and what becomes of calls that do not come to their end."""

from __future__ import annotations

import gzip
import json
import threading
import time

import httpx
import pytest
from django.db import connection

from coordinator import invariants
from coordinator.gateway import upstream
from coordinator.models import ModelCall
from tests.integration.coordinator.gateway.conftest import KEY, World
from tests.unit.coordinator.gateway import samples

DIALECTS = {
    "anthropic": ("anthropic/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 50}, samples.MESSAGES),
    "openai": ("openai/v1/responses", {"model": "gpt-5.2"}, samples.RESPONSES),
    "chat": ("openai/v1/chat/completions", {"model": "gpt-5.2", "stream": True}, samples.CHAT_TEXT + samples.CHAT_END),
    "gemini": ("gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", {"contents": []}, samples.GEMINI),
    "ollama": ("ollama/api/chat", {"model": "llama3.2:1b", "messages": []}, samples.OLLAMA),
}


def settled(world: World) -> ModelCall:
    """The only call, when it is settled: that may be a moment after its client went."""
    deadline = time.monotonic() + 10
    while (row := world.call()).state == "reserved" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert row.state == "settled"
    assert list(invariants.budgets_add_up()) == []
    return row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect_is_passed_on_and_metered(world, dialect):
    path, body, answer = DIALECTS[dialect]
    world.provider.body = samples.CHAT if dialect == "chat" else answer
    world.provider.content_type = "application/x-ndjson" if dialect == "ollama" else "text/event-stream"
    got = world.post(path, body)
    assert (got.status_code, got.content) == (200, answer)
    row = settled(world)
    assert (row.input_tokens, row.output_tokens, row.is_estimated) == (120, 34, False)
    assert (row.usd_micros is None) == (dialect == "ollama")
    assert world.tree().unpriced_tokens == (154 if dialect == "ollama" else 0)
    assert [kind for kind, _ in world.events()] == ["llm.requested", "llm.result"]
    result = world.events()[1][1]
    assert (result["usage"]["input_tokens"], result["usd_micros"], result["status"]) == (120, row.usd_micros, 200)
    assert result["first_byte_ms"] is not None


def test_the_first_byte_passes_before_the_last_one_exists(world):
    world.provider.body, world.provider.first = samples.MESSAGES, 30
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "stream": True}
    headers = {"x-api-key": world.token}
    with world.client.stream("POST", f"{world.url}/gateway/anthropic/v1/messages", json=body, headers=headers) as got:
        pieces = got.iter_raw()
        assert next(pieces) == samples.MESSAGES[:30]
        assert world.call().state == "reserved"
        world.provider.go_on.set()
        assert b"".join(pieces) == samples.MESSAGES[30:]
    assert world.call().state == "settled"


def test_our_key_goes_out_and_nothing_of_the_clients_that_could_replace_it(world):
    headers = {
        "cookie": "a=b",
        "host": "evil.example",
        "x-forwarded-host": "evil.example",
        "openai-organization": "org-other",
        "x-goog-api-key": "other-key",
        "anthropic-version": "2023-06-01",
        "proxy-authorization": "Basic eDp5",
    }
    world.provider.headers = [(b"set-cookie", b"s=1"), (b"anthropic-organization-id", b"org"), (b"request-id", b"r1")]
    world.provider.body = samples.MESSAGES
    got = world.post("anthropic/v1/messages?beta=true&key=x&host=y", {"model": "claude-haiku-4-5"}, headers=headers)
    seen = world.provider.seen[0]
    sent = seen["headers"]
    assert sent["x-api-key"] == KEY
    assert sent["anthropic-version"] == "2023-06-01"
    assert seen["query"] == "beta=true"
    assert sent["host"] != "evil.example"
    assert not {"authorization", "cookie", "x-goog-api-key", "openai-organization", "x-forwarded-host"} & set(sent)
    assert world.token not in json.dumps(sent)
    assert got.headers["request-id"] == "r1"
    assert "set-cookie" not in got.headers
    assert "anthropic-organization-id" not in got.headers


@pytest.mark.parametrize("place", ["x-api-key", "authorization", "x-goog-api-key", "query"])
def test_the_token_is_taken_from_wherever_a_client_puts_it(world, place):
    headers = {"authorization": f"Bearer {world.token}"} if place == "authorization" else {place: world.token}
    query = f"?key={world.token}" if place == "query" else ""
    world.provider.content_type, world.provider.body = "application/json", b'{"models": []}'
    got = world.client.get(f"{world.url}/gateway/gemini/v1beta/models{query}", headers={} if query else headers)
    assert (got.status_code, got.json()) == (200, {"models": []})
    assert world.provider.seen[0]["headers"]["x-goog-api-key"] == KEY
    assert world.provider.seen[0]["query"] == ""
    assert ModelCall.objects.count() == 0


def test_a_packed_body_is_sent_on_unpacked(world):
    body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 5}).encode()
    headers = {"x-api-key": world.token, "content-encoding": "gzip"}
    url = f"{world.url}/gateway/anthropic/v1/messages"
    world.provider.body = samples.MESSAGES
    assert world.client.post(url, content=gzip.compress(body), headers=headers).status_code == 200
    assert world.provider.seen[0]["body"] == body
    assert "content-encoding" not in world.provider.seen[0]["headers"]


def test_the_gateway_answers_whether_it_is_there(world):
    assert world.client.head(f"{world.url}/gateway/anthropic/").status_code == 200
    assert world.client.get(f"{world.url}/gateway/nobody/v1/models").status_code == 404
    assert world.provider.seen == []


@pytest.mark.parametrize("status", [400, 500, 529])
def test_an_error_of_the_provider_is_passed_on_and_costs_nothing(world, status):
    world.provider.status, world.provider.content_type = status, "application/json"
    world.provider.body = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
    got = world.message()
    assert (got.status_code, got.content) == (status, world.provider.body)
    row = settled(world)
    assert (row.usd_micros, row.input_tokens, row.status_code, row.is_estimated) == (0, 0, status, False)


@pytest.mark.parametrize("status", [401, 403, 307])
def test_what_the_provider_says_of_our_key_or_sends_us_elsewhere_stays_here(world, status):
    world.provider.status, world.provider.body = status, f"Incorrect API key: {KEY}".encode()
    world.provider.headers = [(b"location", b"http://evil.example/")]
    got = world.message()
    assert got.status_code in (400, 502)
    assert KEY not in got.text
    assert "operator" in got.json()["error"]["message"]
    assert settled(world).usd_micros == 0
    assert len(world.provider.seen) == 1


def test_a_dead_provider_costs_nothing_and_is_told_as_such(world, settings):
    settings.GATEWAY = {"anthropic": {"url": "http://127.0.0.1:1", "key": KEY}}
    got = world.message()
    assert (got.status_code, got.json()["error"]["type"]) == (502, "api_error")
    assert settled(world).usd_micros == 0


def test_a_provider_that_does_not_answer_in_time_counts_as_paid(world, monkeypatch):
    monkeypatch.setattr(upstream, "READ_SECONDS", 0.2)
    world.provider.delay = 2.0
    assert world.message().status_code == 504
    row = settled(world)
    assert row.is_estimated
    assert row.usd_micros == row.reserved_usd_micros > 0


def test_a_stream_that_breaks_ends_with_an_error_in_the_clients_dialect(world):
    world.provider.body, world.provider.first, world.provider.breaks = samples.MESSAGES, 200, True
    got = world.message(stream=True)
    assert got.content.startswith(samples.MESSAGES[:200])
    assert json.loads(got.content.rpartition(b"data: ")[2])["type"] == "error"
    row = settled(world)
    assert row.is_estimated
    assert "broke off" in row.reason


UNFINISHED = {
    "an error after the first figures": (
        "anthropic/v1/messages",
        {"model": "claude-haiku-4-5", "max_tokens": 32_000, "stream": True},
        "text/event-stream",
        samples.MESSAGES[: samples.MESSAGES.index(b"event: content_block_stop")]
        + samples.sse(("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
    ),
    "figures under the names of another API": (
        "openai/v1/responses",
        {"model": "gpt-5.2", "max_output_tokens": 10_000},
        "application/json",
        b'{"usage": {"prompt_tokens": 900000, "completion_tokens": 100000}}',
    ),
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_an_answer_without_its_last_figures_pays_what_was_set_aside(world, what):
    path, body, world.provider.content_type, world.provider.body = UNFINISHED[what]
    assert world.post(path, body).content == world.provider.body
    row = settled(world)
    assert row.is_estimated
    assert row.usd_micros == row.reserved_usd_micros > 0


@pytest.mark.parametrize("cut", [1, 10, len(KEY) - 1])
def test_our_key_is_struck_out_also_where_two_pieces_meet(world, cut):
    whole = samples.MESSAGES.replace(b"end_turn", KEY.encode()) + KEY[:cut].encode()
    world.provider.body, world.provider.first = whole, whole.index(KEY.encode()) + cut
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "stream": True}
    headers = {"x-api-key": world.token}
    with world.client.stream("POST", f"{world.url}/gateway/anthropic/v1/messages", json=body, headers=headers) as got:
        pieces = got.iter_raw()
        first = next(pieces)
        world.provider.go_on.set()
        passed = first + b"".join(pieces)
    assert first == whole[: whole.index(KEY.encode())], "what may be the key's beginning waits, and nothing else does"
    assert passed == whole.replace(KEY.encode(), b"***")


def test_a_client_that_goes_ends_the_call_and_pays_what_was_set_aside(world):
    world.provider.body, world.provider.first = samples.MESSAGES, 40
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "stream": True}
    headers = {"x-api-key": world.token}
    url = f"{world.url}/gateway/anthropic/v1/messages"
    with httpx.Client(trust_env=False) as leaving, leaving.stream("POST", url, json=body, headers=headers) as got:
        next(got.iter_raw())
    row = settled(world)
    assert (row.is_estimated, row.reason) == (True, "the client has gone")
    assert world.provider.gone.wait(5)


def test_a_call_is_settled_when_the_database_is_back(world):
    world.provider.body, world.provider.first = samples.MESSAGES, 40
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "stream": True}
    headers = {"x-api-key": world.token}
    with world.client.stream("POST", f"{world.url}/gateway/anthropic/v1/messages", json=body, headers=headers) as got:
        pieces = got.iter_raw()
        first = next(pieces)
        with connection.cursor() as db:
            db.execute("ALTER TABLE coordinator_spendentry RENAME TO away")
        try:
            world.provider.go_on.set()
            assert first + b"".join(pieces) == samples.MESSAGES  # the client does not wait for it
            assert world.call().state == "reserved"
        finally:
            with connection.cursor() as db:
                db.execute("ALTER TABLE away RENAME TO coordinator_spendentry")
    row = settled(world)
    assert (row.input_tokens, row.is_estimated) == (120, False)


def test_calls_of_one_run_have_a_number_at_a_time(world):
    world.provider.body, world.provider.first = samples.MESSAGES, 10
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(world.message())) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while ModelCall.objects.filter(state="reserved").count() < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    refused = world.message()
    world.provider.go_on.set()
    for thread in threads:
        thread.join()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert [answer.status_code for answer in answers] == [200] * 8
    assert world.stop_reason() == ""
