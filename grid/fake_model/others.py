"""Gemini and Ollama."""

from __future__ import annotations

import re

from grid.fake_model.dialect import Dialect, Events
from grid.fake_model.openai import ChatCompletions
from grid.fake_model.script import Json, Reply, Request, Tool, turns_in

_CHAT = ChatCompletions()
_ERRORS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}


class Gemini(Dialect):
    """`POST /v1beta/models/<model>:generateContent` and `:streamGenerateContent`."""

    name = "gemini"
    path = re.compile(r"^/v1(beta)?/models/[^/]+:(stream)?[gG]enerateContent$")

    def read(self, body: Json, path: str) -> Request:
        """The request; the model stands in the path."""
        tools = [
            Tool(name=tool["name"], schema=tool.get("parametersJsonSchema") or tool.get("parameters") or {})
            for group in body.get("tools") or []
            for tool in group.get("functionDeclarations", [])
        ]
        turns = turns_in(content.get("role") == "model" for content in body.get("contents", []))
        model = re.sub(r".*/models/([^/:]+):.*", r"\1", path)
        return Request(model=model, is_stream="streamGenerateContent" in path, tools=tools, turns=turns)

    def whole(self, reply: Reply) -> Json:
        """The answer in one piece."""
        parts: list[Json] = [{"text": reply.text}] if reply.text else []
        parts += [{"functionCall": {"id": c.id, "name": c.tool.name, "args": c.input}} for c in reply.calls]
        return {
            "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": parts}}],
            "usageMetadata": {
                "promptTokenCount": reply.input_tokens,
                "candidatesTokenCount": reply.output_tokens,
                "cachedContentTokenCount": reply.cached_tokens,
                "totalTokenCount": reply.input_tokens + reply.output_tokens,
            },
            "modelVersion": reply.model,
            "responseId": reply.id,
        }

    def stream(self, reply: Reply) -> Events:
        """The answer as the only part of a stream."""
        yield "", self.whole(reply)

    def error(self, status: int, message: str) -> Json:
        """A refusal."""
        return {"error": {"code": status, "message": message, "status": _ERRORS.get(status, "UNAVAILABLE")}}


class Ollama(Dialect):
    """`POST /api/chat`, Ollama's own; a request streams unless it says otherwise."""

    name = "ollama"
    path = re.compile(r"^/api/chat$")
    is_lines = True

    def read(self, body: Json, path: str) -> Request:
        """The request, which looks like one of Chat Completions."""
        return _CHAT.read({"stream": True, **body}, path)

    def whole(self, reply: Reply) -> Json:
        """The answer in one piece."""
        message: Json = {"role": "assistant", "content": reply.text}
        if reply.calls:
            message["tool_calls"] = [{"function": {"name": c.tool.name, "arguments": c.input}} for c in reply.calls]
        durations = dict.fromkeys(("total_duration", "load_duration", "eval_duration", "prompt_eval_duration"), 1)
        return {
            "model": reply.model,
            "created_at": "2026-01-01T00:00:00Z",
            "message": message,
            "done": True,
            "done_reason": "stop",
            **durations,
            "prompt_eval_count": reply.input_tokens,
            "eval_count": reply.output_tokens,
        }

    def stream(self, reply: Reply) -> Events:
        """The message first, the figures in a line of their own."""
        whole = self.whole(reply)
        yield "", {name: whole[name] for name in ("model", "created_at", "message")} | {"done": False}
        yield "", {**whole, "message": {"role": "assistant", "content": ""}}

    def error(self, status: int, message: str) -> Json:
        """A refusal."""
        return {"error": message}
