"""Anthropic Messages. Usage comes with `message_start` (input) and `message_delta` (output)."""

from __future__ import annotations

import json
import re

from grid.fake_model.dialect import Dialect, Events
from grid.fake_model.script import Json, Reply, Request, Tool, turns_in

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Anthropic(Dialect):
    """`POST /v1/messages`."""

    name = "anthropic"
    path = re.compile(r"^/(v1/)?messages$")

    def read(self, body: Json, path: str) -> Request:
        """The request."""
        tools = [
            Tool(name=tool["name"], schema=tool.get("input_schema") or {})
            for tool in body.get("tools") or []
            if "name" in tool
        ]
        turns = turns_in(message.get("role") == "assistant" for message in body.get("messages", []))
        return Request(model=body.get("model", ""), is_stream=bool(body.get("stream")), tools=tools, turns=turns)

    def whole(self, reply: Reply) -> Json:
        """The answer in one piece."""
        content: list[Json] = [{"type": "text", "text": reply.text}] if reply.text else []
        content += [
            {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.tool.name, "input": call.input}
            for call in reply.calls
        ]
        return {
            "id": f"msg_{reply.id}",
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": content,
            "stop_reason": "tool_use" if reply.calls else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": reply.input_tokens,
                "output_tokens": reply.output_tokens,
                "cache_read_input_tokens": reply.cached_tokens,
                "cache_creation_input_tokens": 0,
            },
        }

    def stream(self, reply: Reply) -> Events:
        """The answer in parts."""
        whole = self.whole(reply)
        begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
        yield "message_start", {"type": "message_start", "message": begun}
        for index, block in enumerate(whole["content"]):
            if block["type"] == "text":
                empty: Json = {"type": "text", "text": ""}
                delta: Json = {"type": "text_delta", "text": block["text"]}
            else:
                empty = {**block, "input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": empty}
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
            yield "content_block_stop", {"type": "content_block_stop", "index": index}
        ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield "message_delta", {"type": "message_delta", "usage": whole["usage"], "delta": ending}
        yield "message_stop", {"type": "message_stop"}

    def error(self, status: int, message: str) -> Json:
        """A refusal."""
        return {"type": "error", "error": {"type": _ERRORS.get(status, "api_error"), "message": message}}
