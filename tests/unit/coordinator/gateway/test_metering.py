from __future__ import annotations

import json

import pytest

from coordinator.gateway import pricing
from coordinator.gateway.metering import Meter
from coordinator.gateway.pricing import Metered
from coordinator.gateway.routes import Api
from coordinator.public_types import TokenPrice, Usage
from tests.unit.coordinator.gateway import samples

APIS = list(samples.STREAMS)
CACHED = {Api.MESSAGES: 100, Api.RESPONSES: 100, Api.CHAT: 100, Api.GEMINI: 100, Api.OLLAMA: 0}


def run(meter: Meter, body: bytes, size: int) -> bytes:
    passed = b"".join(meter.feed(body[at : at + size]) for at in range(0, len(body), size))
    return passed + meter.finish()


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("api", APIS)
def test_a_stream_is_passed_on_unchanged_and_metered(api, size):
    meter = Meter(api, streams=True)
    assert run(meter, samples.STREAMS[api], size) == samples.STREAMS[api]
    metered = meter.metered()
    assert meter.is_complete
    assert metered is not None
    assert (metered.usage.input_tokens, metered.usage.output_tokens) == (120, 34)
    assert metered.usage.cache_read_tokens == CACHED[api]


@pytest.mark.parametrize("api", APIS)
def test_an_answer_that_is_no_stream_is_metered_the_same(api):
    body = json.dumps(samples.WHOLE[api], indent=2).encode()
    meter = Meter(api, streams=False)
    assert run(meter, body, 5) == body
    metered = meter.metered()
    assert metered is not None
    assert (metered.usage.input_tokens, metered.usage.output_tokens) == (120, 34)


def test_a_list_in_place_of_a_stream_is_metered():
    meter = Meter(Api.GEMINI, streams=False)
    run(meter, json.dumps(samples.GEMINI_PARTS, indent=1).encode(), 50)
    metered = meter.metered()
    assert metered is not None
    assert metered.usage.tokens == 154


@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_breaks_off_is_not_complete(api):
    meter = Meter(api, streams=True)
    whole = samples.STREAMS[api]
    meter.feed(whole[: whole.rindex(b"24" if api == Api.GEMINI else b"34")])
    assert not meter.is_complete


@pytest.mark.parametrize("size", [1, 13, 100_000])
def test_the_usage_that_we_asked_for_is_kept_from_the_client(size):
    meter = Meter(Api.CHAT, streams=True, hides_usage=True)
    assert run(meter, samples.CHAT, size) == samples.CHAT_TEXT + samples.CHAT_END
    metered = meter.metered()
    assert metered is not None
    assert metered.usage.tokens == 154


def test_nothing_is_lost_when_the_stream_ends_without_an_empty_line():
    meter = Meter(Api.CHAT, streams=True, hides_usage=True)
    body = samples.CHAT_TEXT + b"data: [DONE]"
    assert run(meter, body, 9) == body


def test_what_a_model_writes_is_no_usage():
    forged = samples.sse(
        ("content_block_delta", {"type": "content_block_delta", "delta": {"text": '"usage":{"output_tokens":1}'}}),
        (
            "x",
            {"type": "content_block_delta", "usage": {"output_tokens": 1}, "message": {"usage": {"input_tokens": 1}}},
        ),
    )
    meter = Meter(Api.MESSAGES, streams=True)
    meter.feed(forged)
    assert meter.metered() is None


@pytest.mark.parametrize("figure", [True, -5, "7", 1e300, None, [1]])
def test_figures_that_are_none_count_as_nothing(figure):
    meter = Meter(Api.CHAT, streams=False)
    run(meter, json.dumps({"usage": {"prompt_tokens": figure, "completion_tokens": 3}}).encode(), 100)
    metered = meter.metered()
    assert metered is not None
    assert metered.usage == Usage(input_tokens=0, output_tokens=3)
    assert not meter.is_complete


def test_an_endless_line_is_passed_on_unread():
    meter = Meter(Api.CHAT, streams=True, hides_usage=True)
    piece = b"data: " + b"x" * (9 << 20)
    assert meter.feed(piece) == b""
    assert meter.feed(piece) == piece + piece
    assert meter.feed(b"on\n") == b"on\n"
    assert meter.metered() is None


UNFINISHED = {
    "an error in the middle": (
        Api.MESSAGES,
        samples.MESSAGES[: samples.MESSAGES.index(b"event: content_block_stop")]
        + samples.sse(("error", {"type": "error", "error": {"type": "overloaded_error", "message": "usage"}})),
    ),
    "figures of a piece that is not the last": (
        Api.MESSAGES,
        samples.MESSAGES.replace(b'"stop_reason": "end_turn"', b'"stop_reason": null'),
    ),
    "no figure of the input": (Api.MESSAGES, samples.MESSAGES[samples.MESSAGES.index(b"event: ping") :]),
    "a response that goes on": (
        Api.RESPONSES,
        samples.RESPONSES.replace(b"response.completed", b"response.in_progress"),
    ),
    "usage so far with each piece": (
        Api.CHAT,
        samples.sse(("", {"choices": [{"delta": {"content": "Hi"}}], "usage": samples.CHAT_USAGE}))
        + samples.sse(("", {"error": {"message": "usage"}})),
    ),
    "no reason for an end": (Api.GEMINI, samples.GEMINI.replace(b"finishReason", b"other")),
    "nothing done": (Api.OLLAMA, samples.OLLAMA.replace(b'"done": true', b'"done": false')),
}


@pytest.mark.parametrize("case", UNFINISHED)
def test_an_answer_without_its_last_figures_has_told_no_usage(case):
    api, body = UNFINISHED[case]
    meter = Meter(api, streams=True)
    assert run(meter, body, 100) == body
    assert not meter.is_complete


@pytest.mark.parametrize(
    ("api", "usage"),
    [
        (Api.RESPONSES, {"prompt_tokens": 900_000, "completion_tokens": 100_000}),
        (Api.CHAT, {"input_tokens": 900_000, "output_tokens": 100_000}),
        (Api.CHAT, {"prompt_tokens": 900_000}),
        (Api.MESSAGES, {"output_tokens": 5}),
    ],
)
def test_figures_under_names_of_another_api_are_none(api, usage):
    meter = Meter(api, streams=False)
    run(
        meter, json.dumps({"type": "message", "usage": usage} if api == Api.MESSAGES else {"usage": usage}).encode(), 50
    )
    assert not meter.is_complete


def test_a_prompt_that_is_refused_without_an_answer_is_told_in_full():
    meter = Meter(Api.GEMINI, streams=False)
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}
    run(meter, json.dumps(body).encode(), 50)
    metered = meter.metered()
    assert meter.is_complete
    assert metered is not None
    assert metered.usage == Usage(input_tokens=7)


def cost(provider: str, model: str, metered: Metered, context: dict[str, str] | None = None, **more: TokenPrice) -> int:
    """In millionths of a dollar; of a model that has a price."""
    prices = {name.replace("__", ":"): price for name, price in more.items()}
    price = pricing.cost(provider, model, metered, context or {}, prices)
    assert price is not None
    assert not price.is_guess
    return price.usd_micros


def test_cached_tokens_cost_what_the_provider_takes_for_them():
    plain = cost("anthropic", "claude-sonnet-4-5", Metered(usage=Usage(input_tokens=1000)))
    read = Metered(usage=Usage(input_tokens=1000, cache_read_tokens=1000))
    written = Metered(usage=Usage(input_tokens=1000, cache_write_tokens=1000))
    hour = Metered(usage=Usage(input_tokens=1000, cache_write_tokens=1000), cache_write_1h_tokens=1000)
    costs = [cost("anthropic", "claude-sonnet-4-5", one) for one in (read, written, hour)]
    assert plain == 3000
    assert costs == [300, 3750, 6000]


def test_a_faster_lane_costs_more():
    usage = Metered(usage=Usage(input_tokens=1000))
    slow, fast = (cost("openai", "gpt-5.2", usage, {"service_tier": tier}) for tier in ("default", "priority"))
    assert fast > slow


@pytest.mark.parametrize(
    ("provider", "dear"), [("openai", "o1-pro"), ("anthropic", "claude-opus-4-1"), ("gemini", "gemini-3-pro")]
)
def test_a_model_that_nobody_knows_costs_as_much_as_the_dearest_one_and_is_a_guess(provider, dear):
    usage = Metered(usage=Usage(input_tokens=900_000, output_tokens=100_000, cache_read_tokens=900_000))
    price, known = (pricing.cost(provider, model, usage, {}, {}) for model in ("no-such-model-anywhere", dear))
    assert price is not None
    assert price.is_guess
    assert known is not None
    assert price.usd_micros >= known.usd_micros > 0


def test_a_provider_that_takes_no_money_has_no_price_until_the_operator_gives_one():
    usage = Metered(usage=Usage(input_tokens=1000, output_tokens=10))
    assert pricing.cost("ollama", "llama3", usage, {}, {}) is None
    assert cost("ollama", "llama3", usage, ollama__llama3=TokenPrice(input_micros=1_000_000, output_micros=0)) == 1000


def test_the_operators_price_goes_before_the_list_and_the_longest_name_before_the_others():
    usage = Metered(usage=Usage(input_tokens=1000, output_tokens=1000))
    own = {
        "openai:*": TokenPrice(input_micros=1, output_micros=1),
        "openai:gpt-5.2*": TokenPrice(input_micros=0, output_micros=0),
        "openai:gpt-6": TokenPrice(input_micros=2_000_000, output_micros=5_000_000),
    }
    found = [pricing.cost("openai", model, usage, {}, own) for model in ("gpt-5.2-pro", "gpt-6", "gpt-6-mini")]
    assert [price and (price.usd_micros, price.is_guess) for price in found] == [(0, False), (7000, False), (1, False)]


def test_contradicting_figures_are_priced_without_the_discount():
    odd = Metered(usage=Usage(input_tokens=10, cache_read_tokens=99))
    assert cost("anthropic", "claude-sonnet-4-5", odd) == 30
