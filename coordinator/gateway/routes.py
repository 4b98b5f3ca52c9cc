"""Which requests the gateway passes on, and how their providers say no. Pure."""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from typing import Any

PREFIX = "/gateway/"
MODEL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}"
"""A model in a path: one segment, so that no `..` and no escape leads elsewhere."""


class Api(enum.StrEnum):
    """How a request names its model and its limits, and how the answer tells its usage."""

    MESSAGES = "messages"
    RESPONSES = "responses"
    CHAT = "chat"
    GEMINI = "gemini"
    OLLAMA = "ollama"
    FREE = "free"
    """Nothing is billed: lists of models, counts of tokens."""


class Shape(enum.StrEnum):
    """How errors look."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GEMINI = "gemini"
    OLLAMA = "ollama"


class Refused(enum.StrEnum):
    """Why the gateway says no; the status of each is one that clients were seen to give up on, or to wait for."""

    TOKEN = "unknown_token"  # noqa: S105 - a name of an error
    REQUEST = "invalid_request"
    SIZE = "request_too_large"
    ENCODING = "unsupported_encoding"
    MODEL = "model_not_allowed"
    BUDGET = "budget_exceeded"
    BUSY = "too_many_calls"
    PAUSED = "paused"
    PATH = "not_found"
    KEY = "gateway_key_refused"
    UNREACHABLE = "provider_unreachable"
    SLOW = "provider_timed_out"
    OURS = "gateway_unavailable"


STATUS = {
    Refused.TOKEN: 401,
    Refused.REQUEST: 400,
    Refused.SIZE: 413,
    Refused.ENCODING: 415,
    Refused.MODEL: 400,
    Refused.BUDGET: 400,
    Refused.BUSY: 429,
    Refused.PAUSED: 429,
    Refused.PATH: 404,
    Refused.KEY: 400,
    Refused.UNREACHABLE: 502,
    Refused.SLOW: 504,
    Refused.OURS: 503,
}
RETRY_AFTER_SECONDS = {Refused.BUSY: 2, Refused.PAUSED: 30, Refused.OURS: 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A request that may be passed on."""

    provider: str
    api: Api
    shape: Shape
    path: str
    """Of the provider; made of our own words and at most one checked segment."""
    model: str = ""
    """Where the path names it; else it is in the body."""
    streams: bool | None = None
    """Where the path says so; else it is in the body."""
    has_body: bool = True


def shape_of(provider: str, path: str = "") -> Shape:
    """How errors of a provider look at a path."""
    if provider == "ollama" and path.startswith("/v1/"):
        return Shape.OPENAI
    return Shape(provider) if provider in list(Shape) else Shape.OPENAI


def split(path: str) -> tuple[str, str]:
    """Provider and the rest of a path below `PREFIX`: `anthropic`, `/v1/messages`."""
    provider, _, rest = path.removeprefix(PREFIX).partition("/")
    return provider, f"/{rest}"


def find(method: str, provider: str, path: str) -> Route | None:
    """The route of a request; None when it is none that the gateway passes on."""
    for verb, pattern, api, to in _ROUTES.get(provider, ()):
        match = pattern.fullmatch(path) if verb == method else None
        if match:
            named = match.groupdict()
            act = (named.get("act") or "") if provider == "gemini" else ""
            return Route(
                provider=provider,
                api=Api.FREE if act == "countTokens" else api,
                shape=shape_of(provider, path),
                path=to.format(**named),
                model=named.get("model") or "",
                streams=act.startswith("stream") if act else None,
                has_body=verb == "POST",
            )
    return None


def error_body(shape: Shape, reason: Refused, message: str) -> dict[str, Any]:
    """An error as the provider's own would look."""
    status = STATUS[reason]
    match shape:
        case Shape.ANTHROPIC:
            return {"type": "error", "error": {"type": _anthropic_type(status), "message": message}}
        case Shape.OPENAI:
            kind, code = _openai_type(status, reason)
            param = "model" if reason == Refused.MODEL else None
            return {"error": {"message": message, "type": kind, "param": param, "code": code}}
        case Shape.GEMINI:
            return {"error": {"code": status, "message": message, "status": _GOOGLE.get(status, "INTERNAL")}}
        case Shape.OLLAMA:
            return {"error": message}


def error_event(api: Api, reason: Refused, message: str) -> bytes:
    """The same in the middle of a stream whose status has been sent."""
    match api:
        case Api.MESSAGES:
            return _sse(error_body(Shape.ANTHROPIC, reason, message), name="error")
        case Api.RESPONSES:
            return _sse({"type": "error", "code": str(reason), "message": message, "param": None}, name="error")
        case Api.OLLAMA:
            return json.dumps({"error": message}).encode() + b"\n"
        case Api.GEMINI:
            return _sse(error_body(Shape.GEMINI, reason, message))
        case _:
            return _sse(error_body(Shape.OPENAI, reason, message))


def _sse(body: dict[str, Any], *, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(body)}\n\n".encode()


def _anthropic_type(status: int) -> str:
    known = {
        400: "invalid_request_error",
        401: "authentication_error",
        404: "not_found_error",
        413: "request_too_large",
        415: "invalid_request_error",
        429: "rate_limit_error",
        503: "overloaded_error",
    }
    return known.get(status, "api_error")


def _openai_type(status: int, reason: Refused) -> tuple[str, str]:
    if reason == Refused.TOKEN:
        return "invalid_request_error", "invalid_api_key"
    if status == 429:
        return "rate_limit_error", "rate_limit_exceeded"
    return "server_error" if status >= 500 else "invalid_request_error", str(reason)


_GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _route(verb: str, pattern: str, api: Api, to: str) -> tuple[str, re.Pattern[str], Api, str]:
    return verb, re.compile(pattern), api, to


_NAMED = rf"(?P<model>{MODEL})"
_ROUTES = {
    "anthropic": (
        _route("POST", r"/v1/messages", Api.MESSAGES, "/v1/messages"),
        _route("POST", r"/v1/messages/count_tokens", Api.FREE, "/v1/messages/count_tokens"),
        _route("GET", r"/v1/models", Api.FREE, "/v1/models"),
        _route("GET", rf"/v1/models/{_NAMED}", Api.FREE, "/v1/models/{model}"),
    ),
    "openai": (
        _route("POST", r"(/v1)?/responses", Api.RESPONSES, "/v1/responses"),
        _route("POST", r"(/v1)?/chat/completions", Api.CHAT, "/v1/chat/completions"),
        _route("GET", r"(/v1)?/models", Api.FREE, "/v1/models"),
        _route("GET", rf"(/v1)?/models/{_NAMED}", Api.FREE, "/v1/models/{model}"),
    ),
    "gemini": (
        _route(
            "POST",
            rf"/(?P<version>v1|v1beta)/models/{_NAMED}:(?P<act>generateContent|streamGenerateContent|countTokens)",
            Api.GEMINI,
            "/{version}/models/{model}:{act}",
        ),
        _route("GET", r"/(?P<version>v1|v1beta)/models", Api.FREE, "/{version}/models"),
        _route("GET", rf"/(?P<version>v1|v1beta)/models/{_NAMED}", Api.FREE, "/{version}/models/{model}"),
    ),
    "ollama": (
        _route("POST", r"/api/(?P<act>chat|generate)", Api.OLLAMA, "/api/{act}"),
        _route("POST", r"/v1/chat/completions", Api.CHAT, "/v1/chat/completions"),
        _route("GET", r"/api/tags", Api.FREE, "/api/tags"),
        _route("GET", r"/v1/models", Api.FREE, "/v1/models"),
    ),
}
