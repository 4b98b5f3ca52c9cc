"""What the gateway refuses, in which shape, what is left of it in the records, and when a run is stopped for it."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.utils import timezone

from coordinator import invariants
from coordinator.care import definitions
from coordinator.gateway import admission, asgi
from coordinator.gateway.throttle import Throttle
from coordinator.models import Envelope, ModelCall
from coordinator.money import budgets, spending
from grid.models import Event, Execution
from tests.integration.coordinator.gateway.conftest import KEY, World, running
from tests.unit.coordinator.gateway import samples

WRONG = "agx_" + "x" * 43


def test_a_token_opens_nothing_once_its_run_has_ended(world):
    assert world.message(stream=False).status_code == 200
    Execution.objects.filter(pk=world.execution_id).update(state="succeeded", ended_at=timezone.now())
    got = world.message()
    assert (got.status_code, got.json()["error"]["type"]) == (401, "authentication_error")
    assert len(world.provider.seen) == 1


def test_a_token_of_a_claim_that_was_taken_away_opens_nothing(world):
    Execution.objects.filter(pk=world.execution_id).update(token=2)
    assert world.message().status_code == 401


@pytest.mark.parametrize("token", ["none", WRONG, "sk-somebodys", "agx_", "agx_" + "y" * 5000])
def test_a_wrong_token_is_refused_in_each_providers_shape(world, token):
    paths = {
        "anthropic/v1/messages": ("type", "error"),
        "openai/v1/responses": ("code", "invalid_api_key"),
        "gemini/v1beta/models/gemini-2.5-flash:generateContent": ("status", "UNAUTHENTICATED"),
        "ollama/api/chat": ("", ""),
    }
    for path, (name, value) in paths.items():
        got = world.post(path, {"model": "claude-haiku-4-5"}, token=token)
        assert got.status_code == 401
        error = got.json() if name == "type" else got.json()["error"]
        assert not name or error[name] == value
    assert world.provider.seen == []
    assert world.events() == []


def test_a_call_is_paid_by_the_agent_whose_token_it_is(world):
    other_id, other_token = running("issue:424242")  # of no agent
    got = world.post(
        "anthropic/v1/messages", {"model": "claude-haiku-4-5", "execution": str(world.execution_id)}, token=other_token
    )
    assert got.status_code == 401
    assert ModelCall.objects.filter(execution_id__in=[other_id, world.execution_id]).count() == 0


def at_once(world: World, number: int, path: str, body: dict[str, Any]) -> list[int]:
    """The statuses of so many calls that are made at the same time."""
    statuses: list[int] = []
    barrier = threading.Barrier(number)

    def call() -> None:
        barrier.wait()
        with httpx.Client(timeout=60, trust_env=False) as client:
            headers = {"x-api-key": world.token}
            statuses.append(client.post(f"{world.url}/gateway/{path}", json=body, headers=headers).status_code)

    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def within_the_law(world: World, *, cost: int, made: int, limit: int) -> None:
    """Every call counted, the limit passed by one at most, nothing left set aside."""
    row = world.tree()
    assert len(world.provider.seen) == made
    assert row.usd_spent_micros == cost * made <= limit + cost
    assert row.usd_reserved_micros == 0
    assert list(invariants.budgets_add_up()) == []


STRONGER = [
    ("anthropic/v1/messages", {"model": "claude-opus-4-5"}),
    ("anthropic/v1/messages", {"model": "Claude-Haiku-4-5"}),
    ("anthropic/v1/messages", {"model": "claude-haiku-4-5-latest"}),
    ("anthropic/v1/messages", {"model": "anthropic/claude-haiku-4-5"}),
    ("anthropic/v1/messages", {"model": "anthropic:claude-haiku-4-5"}),
    ("anthropic/v1/messages", {"model": "claude-haiku-4-5", "fallbacks": [{"model": "claude-opus-4-5"}]}),
    (
        "anthropic/v1/messages",
        {"model": "claude-haiku-4-5", "tools": [{"type": "advisor", "model": "claude-opus-4-5"}]},
    ),
    ("anthropic/v1/messages", {"model": "\uff43laude-haiku-4-5"}),
    ("openai/v1/responses", {"model": "o3-pro"}),
    ("openai/v1/chat/completions", {"model": "openai/gpt-5.2"}),
    ("gemini/v1beta/models/gemini-2.5-pro:generateContent", {}),
    ("gemini/v1beta/models/gemini-2.5-flash:generateContent", {"model": "models/gemini-2.5-pro"}),
]


REACHING = [
    (
        "anthropic/v1/messages",
        {"model": "claude-haiku-4-5", "mcp_servers": [{"type": "url", "url": "https://evil.test"}]},
    ),
    ("anthropic/v1/messages/count_tokens", {"tools": [{"type": "web_fetch_20250910"}]}),
    ("openai/v1/responses", {"model": "gpt-5-mini", "tools": [{"type": "mcp", "server_url": "https://evil.test"}]}),
]


def test_no_provider_reaches_the_network_for_an_agent_unless_an_operator_says_so(world, settings):
    for path, body in REACHING:
        got = world.post(path, body)
        assert got.status_code == 400 and "GATEWAY_MAY_REACH" in got.text, got.text
    assert world.provider.seen == []
    assert [row.state for row in ModelCall.objects.all()] == ["refused"] * len(REACHING)
    settings.GATEWAY_MAY_REACH = ["mcp", "web_fetch"]
    for path, body in REACHING:
        world.post(path, body)
    assert len(world.provider.seen) == len(REACHING)


@pytest.mark.parametrize(("path", "body"), STRONGER)
def test_a_stronger_model_is_refused_whatever_it_is_called(world, path, body):
    got = world.post(path, body)
    assert got.status_code == 400
    assert world.provider.seen == []
    row = world.call()
    assert (row.state, row.reason.partition(":")[0]) == ("refused", "model_not_allowed")
    assert [kind for kind, _ in world.events()] == ["llm.refused"]
    assert world.tree().usd_reserved_micros == 0


def test_a_run_that_goes_on_asking_for_other_models_is_stopped(world):
    for _ in range(admission.MAX_REFUSALS - 1):
        world.message(model="claude-opus-4-5")
    assert world.stop_reason() == ""
    got = world.message(model="claude-opus-4-5")
    assert "request_upgrade" in got.json()["error"]["message"]
    assert world.stop_reason() == "model_refused"


def test_the_budget_stops_the_run_in_the_clients_shape(world):
    world.limit(usd_limit_micros=100)
    got = world.post("openai/v1/responses", {"model": "gpt-5.2", "max_output_tokens": 100})
    assert got.status_code == 400
    assert got.json()["error"]["code"] == "budget_exceeded"
    assert "$0.00 of $0.00 in tree:" in got.json()["error"]["message"]
    assert world.stop_reason() == "over_budget"
    assert world.provider.seen == []


def test_a_model_without_a_price_is_held_by_tokens(world):
    world.limit(tokens_limit=200, usd_limit_micros=1)
    body = {"model": "anything", "stream": False, "options": {"num_predict": 100}}
    world.provider.content_type, world.provider.body = "application/json", json.dumps(samples.OLLAMA_END).encode()
    assert world.post("ollama/api/chat", body).status_code == 200
    assert (world.tree().tokens_spent, world.tree().unpriced_tokens) == (154, 154)
    assert world.post("ollama/api/chat", body).json()["error"].startswith("the budget for models is used up")
    assert world.stop_reason() == "over_budget"


def test_a_pause_closes_the_gateway_for_a_while(world):
    budgets.pause(world.tree().key, actor="me", now=timezone.now())
    got = world.message()
    assert (got.status_code, got.headers["retry-after"]) == (429, "30")
    assert world.stop_reason() == ""


def test_the_agent_is_warned_once_at_80_percent(world):
    world.provider.content_type = "application/json"
    world.provider.body = json.dumps({"type": "message", "usage": {"input_tokens": 1000, "output_tokens": 0}}).encode()
    world.limit(usd_limit_micros=2_400)  # each call costs 1,000
    for _ in range(2):
        assert world.message(max_tokens=1).status_code == 200
    warned = Event.objects.filter(kind="budget.warned", stream__startswith="execution:")
    assert [event.body["percent"] for event in warned] == [83]
    assert "83 %" in spending.warning_for(world.agent)
    assert spending.warning_for(world.agent) == ""


def test_32_parallel_calls_overshoot_a_nearly_spent_budget_by_one_at_most(world):
    world.provider.content_type = "application/json"
    # A token for each byte of the text, as digits are: three times what the gateway takes for likely.
    world.provider.body = json.dumps(
        {"type": "message", "usage": {"input_tokens": 30_000, "output_tokens": 10}}
    ).encode()
    world.provider.delay = 0.5
    world.limit(usd_limit_micros=100_000)
    text = {"messages": [{"role": "user", "content": "7" * 30_000}]}
    statuses = at_once(world, 32, "anthropic/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 10, **text})
    assert 1 <= statuses.count(200) <= 4
    assert set(statuses) <= {200, 400, 401, 429}
    within_the_law(world, cost=30_050, made=statuses.count(200), limit=100_000)


BY_REFERENCE = {
    "a file at an address": (
        "openai/v1/responses",
        {
            "model": "gpt-5.2",
            "max_output_tokens": 10,
            "input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x.example/big.pdf"}]}],
        },
        {"usage": {"input_tokens": 250_000, "output_tokens": 10}},
        437_640,
    ),
    "a document of many pages": (
        "anthropic/v1/messages",
        {
            "model": "claude-haiku-4-5",
            "max_tokens": 10,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD" * 500},
                        }
                    ],
                }
            ],
        },
        {"type": "message", "usage": {"input_tokens": 190_000, "output_tokens": 10}},
        190_050,
    ),
}


@pytest.mark.parametrize("what", BY_REFERENCE)
def test_calls_whose_input_is_larger_than_their_body_pass_a_limit_by_one_at_most(world, settings, what):
    settings.GATEWAY_MAY_REACH = ["urls"]
    path, body, answer, cost = BY_REFERENCE[what]
    world.provider.content_type, world.provider.body = "application/json", json.dumps(answer).encode()
    world.provider.delay = 0.5
    world.limit(usd_limit_micros=1_000_000)
    statuses = at_once(world, 8, path, body)
    assert statuses.count(200) >= 1
    within_the_law(world, cost=cost, made=statuses.count(200), limit=1_000_000)


def test_a_model_that_nobody_knows_is_paid_for_at_a_paid_provider(world):
    world.limit(usd_limit_micros=20_000_000)
    world.provider.content_type = "application/json"
    world.provider.body = json.dumps({"usage": {"input_tokens": 90_000, "output_tokens": 1_000}}).encode()
    body = {"model": "gpt-5.9-ultra", "input": "x", "max_output_tokens": 1_000}
    assert world.post("openai/v1/responses", body).status_code == 200
    row = world.call()
    assert (row.usd_micros, row.is_estimated) == (90_000 * 150 + 1_000 * 600, True)
    assert world.post("openai/v1/responses", body).status_code == 200
    got = world.post("openai/v1/responses", body)
    assert got.json()["error"]["code"] == "budget_exceeded"
    assert "GATEWAY_PRICES" in got.json()["error"]["message"]
    assert world.tree().unpriced_tokens == 0
    assert world.stop_reason() == "over_budget"


def test_the_operator_may_say_what_a_model_costs(world, settings):
    settings.GATEWAY_PRICES = {"openai:gpt-5.9*": (2.0, 10.0)}
    world.provider.content_type = "application/json"
    world.provider.body = json.dumps({"usage": {"input_tokens": 90_000, "output_tokens": 1_000}}).encode()
    assert world.post("openai/v1/responses", {"model": "gpt-5.9-ultra", "input": "x"}).status_code == 200
    row = world.call()
    assert (row.usd_micros, row.is_estimated) == (190_000, False)
    assert world.events()[-1][1]["over_reserved_usd_micros"] == 0


def test_what_a_call_cost_beyond_its_reservation_is_told_and_ends_the_run(world):
    world.limit(usd_limit_micros=1_000)
    world.provider.content_type = "application/json"
    world.provider.body = json.dumps({"type": "message", "usage": {"input_tokens": 9_000, "output_tokens": 1}}).encode()
    assert world.message().status_code == 200
    result = world.events()[-1][1]
    assert result["over_reserved_usd_micros"] == 9_005 - world.call().reserved_usd_micros > 0
    assert world.message().json()["error"]["type"] == "invalid_request_error"
    assert (world.stop_reason(), len(world.provider.seen)) == ("over_budget", 1)


def tier(world: World, limits: str) -> None:
    """The tiers of the fleet, with limits for the one of `claude-haiku-4-5`; what calls remember is read anew."""
    text = f"extends: tiers\ntiers: {{tiny: {{rank: 0, models: ['anthropic:claude-haiku-4-5'], {limits}}}}}"
    definitions.save(kind="tiers", name="tiers", body=text, actor="me")
    admission.forget()
    world.provider.body = samples.MESSAGES


def test_a_tier_may_say_how_often_a_minute_its_models_are_called_in_the_whole_fleet(world):
    tier(world, "per_minute: 2")
    # Of another run: one that counts, one over a minute ago, one of another tier.
    for provider, model, age in (
        ("anthropic", "claude-haiku-4-5", 1),
        ("anthropic", "claude-haiku-4-5", 70),
        ("openai", "gpt-5.2", 1),
    ):
        ModelCall.objects.create(
            agent=world.agent,
            execution_id=uuid4(),
            provider=provider,
            model=model,
            state="settled",
            started_at=timezone.now() - timedelta(seconds=age),
        )
    assert world.message().status_code == 200
    got = world.message()
    assert (got.status_code, got.headers["retry-after"]) == (429, "2")
    assert "the tier tiny are called 2 times a minute" in got.json()["error"]["message"]
    assert world.post("openai/v1/responses", {"model": "gpt-5.2", "max_output_tokens": 5}).status_code == 200
    assert (world.tree().usd_reserved_micros, world.stop_reason()) == (0, "")


def test_a_tier_may_say_how_many_calls_are_under_way_at_a_time(world):
    tier(world, "in_flight: 2")
    world.provider.first = 10
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(world.message().status_code)) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while ModelCall.objects.filter(state="reserved").count() < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    got = world.message()
    world.provider.go_on.set()
    for thread in threads:
        thread.join()
    assert (got.status_code, statuses) == (429, [200, 200])
    assert "2 calls of models of the tier tiny are under way" in got.json()["error"]["message"]


def test_a_flood_is_refused_before_it_reaches_the_database(world, monkeypatch):
    monkeypatch.setattr(asgi, "_throttle", Throttle(per_second=0.01, burst=5))
    codes = [world.message(model="claude-opus-4-5").json()["error"]["type"] for _ in range(12)]
    assert codes == ["invalid_request_error"] * 5 + ["rate_limit_error"] * 7
    assert [body["code"] for _, body in world.events()] == ["model_not_allowed"] * 5 + ["too_many_calls"]


def test_refusals_are_written_down_up_to_a_number(world, monkeypatch):
    monkeypatch.setattr(admission, "_MAX_REFUSED_ROWS", 4)
    assert {world.message(model="claude-opus-4-5").status_code for _ in range(6)} == {400}
    assert (ModelCall.objects.count(), len(world.events())) == (4, 4)


def test_other_refusals_do_not_hide_those_that_stop_a_run(world, monkeypatch):
    monkeypatch.setattr(admission, "_MAX_REFUSED_ROWS", 1)
    headers = {"x-api-key": world.token}
    world.client.post(f"{world.url}/gateway/anthropic/v1/messages", content=b"{", headers=headers)
    for _ in range(admission.MAX_REFUSALS):
        assert world.stop_reason() == ""
        world.message(model="claude-opus-4-5")
    assert world.stop_reason() == "model_refused"
    world.limit(usd_limit_micros=1)
    world.message()
    assert [body["code"] for _, body in world.events()][-1] == "budget_exceeded", "whose end asks for its scope"


@pytest.mark.parametrize("body", [b"{", b'{"model":"claude-haiku-4-5","model":"claude-opus-4-5"}', b"[" * 200_000])
def test_a_body_that_is_none_is_refused_and_recorded(world, body):
    headers = {"x-api-key": world.token}
    got = world.client.post(f"{world.url}/gateway/anthropic/v1/messages", content=body, headers=headers)
    assert (got.status_code, got.json()["error"]["type"]) == (400, "invalid_request_error")
    assert [kind for kind, _ in world.events()] == ["llm.refused"]


def test_a_giant_body_is_not_even_read(world):
    host, port = world.url.removeprefix("http://").split(":")
    head = f"POST /gateway/anthropic/v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {world.token}\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(f"{head}content-length: {33 << 20}\r\n\r\n".encode())
        assert b" 413 " in wire.recv(1000)
    assert [body["code"] for _, body in world.events()] == ["request_too_large"]


def test_neither_our_key_nor_what_was_said_is_kept_anywhere(world, caplog):
    caplog.set_level(logging.DEBUG)
    world.provider.body = samples.MESSAGES.replace(b"end_turn", KEY.encode())
    answers = [world.message(stream=True).text]
    world.provider.status, world.provider.body = 500, json.dumps({"error": f"key {KEY} broke"}).encode()
    answers.append(world.message().text)
    answers.append(world.message(model="claude-opus-4-5").text)
    kept = [str(list(model.objects.values())) for model in (Event, ModelCall, Envelope)]
    kept += [str(record.__dict__) for record in caplog.records]
    assert len(kept) > 3
    for text in [*kept, *answers]:
        assert KEY not in text
    for text in kept:
        assert "SECRET-PROMPT" not in text
        assert world.token not in text


def test_the_requests_of_one_run_together_have_a_size(world, monkeypatch):
    monkeypatch.setattr(asgi, "MAX_HELD_BYTES", 2_000)
    got = world.message(system="x" * 3_000)
    assert got.status_code == 429 and "more than 2000 bytes" in got.json()["error"]["message"]
    for _ in range(20):  # what one held is given back
        world.provider.body = samples.MESSAGES
        assert world.message().status_code == 200
    deadline = time.monotonic() + 5
    while asgi._held and time.monotonic() < deadline:  # the client has its answer a moment before the server is done
        time.sleep(0.01)
    assert not asgi._held
