from __future__ import annotations

import json

import pytest

from coordinator.gateway import routes
from coordinator.gateway.routes import Api, Refused, Shape
from coordinator.gateway.throttle import Pass, Throttle


@pytest.mark.parametrize(
    ("method", "path", "api", "to"),
    [
        ("POST", "anthropic/v1/messages", Api.MESSAGES, "/v1/messages"),
        ("POST", "anthropic/v1/messages/count_tokens", Api.FREE, "/v1/messages/count_tokens"),
        ("GET", "anthropic/v1/models", Api.FREE, "/v1/models"),
        ("POST", "openai/responses", Api.RESPONSES, "/v1/responses"),
        ("POST", "openai/v1/chat/completions", Api.CHAT, "/v1/chat/completions"),
        (
            "POST",
            "gemini/v1beta/models/g-1:streamGenerateContent",
            Api.GEMINI,
            "/v1beta/models/g-1:streamGenerateContent",
        ),
        ("POST", "gemini/v1/models/g-1:countTokens", Api.FREE, "/v1/models/g-1:countTokens"),
        ("POST", "ollama/api/generate", Api.OLLAMA, "/api/generate"),
        ("POST", "ollama/v1/chat/completions", Api.CHAT, "/v1/chat/completions"),
        ("GET", "ollama/api/tags", Api.FREE, "/api/tags"),
    ],
)
def test_what_clients_need_is_passed_on(method, path, api, to):
    route = routes.find(method, *routes.split(f"/gateway/{path}"))
    assert route is not None
    assert (route.api, route.path) == (api, to)


@pytest.mark.parametrize(
    "path",
    [
        "anthropic/v1/messages/batches",
        "anthropic/v1/messages/../organizations",
        "anthropic//v1/messages",
        "anthropic/v1/files",
        "openai/v1/responses/resp_1",
        "openai/v1/files",
        "openai/v1/chat/completions/",
        "gemini/v1beta/models/a/../b:generateContent",
        "gemini/v1beta/models/a%2f..:generateContent",
        "gemini/v1beta/models/..:generateContent",
        "gemini/v1beta/models/a:batchGenerateContent",
        "gemini/v1beta/tunedModels/a:generateContent",
        "ollama/api/pull",
        "ollama/api/delete",
        "nobody/v1/messages",
        "",
    ],
)
def test_nothing_else_is(path):
    assert routes.find("POST", *routes.split(f"/gateway/{path}")) is None


def test_errors_look_like_the_providers_own():
    def body(shape: Shape, reason: Refused) -> dict[str, object]:
        return routes.error_body(shape, reason, "no")

    assert body(Shape.ANTHROPIC, Refused.MODEL) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "no"},
    }
    assert body(Shape.OPENAI, Refused.TOKEN)["error"] == {
        "message": "no",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    assert body(Shape.GEMINI, Refused.BUSY) == {"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}}
    assert body(Shape.OLLAMA, Refused.BUDGET) == {"error": "no"}
    assert routes.shape_of("ollama", "/v1/chat/completions") == Shape.OPENAI


@pytest.mark.parametrize("reason", [Refused.MODEL, Refused.BUDGET, Refused.KEY, Refused.REQUEST])
def test_what_waiting_does_not_help_has_a_status_that_clients_give_up_on(reason):
    assert routes.STATUS[reason] == 400
    assert reason not in routes.RETRY_AFTER_SECONDS


@pytest.mark.parametrize("api", [api for api in Api if api != Api.FREE])
def test_an_error_inside_a_stream_is_one_event(api):
    event = routes.error_event(api, Refused.SLOW, "no")
    data = event.strip().rpartition(b"data: ")[2]
    assert "error" in json.dumps(json.loads(data))
    assert event.endswith(b"\n")


def test_a_flood_is_let_through_at_a_rate_and_told_once():
    throttle = Throttle(per_second=10, burst=2)
    assert [throttle.take("a", 0.0) for _ in range(4)] == [Pass.YES, Pass.YES, Pass.FIRST_NO, Pass.NO]
    assert throttle.take("b", 0.0) == Pass.YES
    assert [throttle.take("a", 0.1), throttle.take("a", 0.1)] == [Pass.YES, Pass.FIRST_NO]
