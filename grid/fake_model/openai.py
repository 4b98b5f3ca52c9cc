"""OpenAI Responses and Chat Completions."""

from __future__ import annotations

import itertools
import json
import re
import time
from typing import Any

from grid.fake_model.dialect import Dialect, Events
from grid.fake_model.script import Json, Reply, Request, Tool, turns_in

_ERRORS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("requests", "rate_limit_exceeded"),
}
_MODELS_ITEMS = frozenset({"reasoning", "function_call", "custom_tool_call", "local_shell_call", "tool_search_call"})
"""Items of a history that are part of an answer, beside the model's messages."""


def _error(status: int, message: str) -> Json:
    # Clients tell a permanent refusal from a passing one by these words.
    kind, code = _ERRORS.get(status, ("server_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Responses(Dialect):
    """`POST /v1/responses`."""

    name = "responses"
    path = re.compile(r"^/(v1/)?responses$")

    def read(self, body: Json, path: str) -> Request:
        """The request."""
        tools: list[Tool] = []
        for tool in body.get("tools") or []:
            if tool.get("type") == "namespace":
                group = tool.get("name") or ""
                tools += [
                    Tool(name=inner["name"], schema=inner.get("parameters") or {}, namespace=group)
                    for inner in tool.get("tools", [])
                ]
            elif "name" in tool:
                schema = tool.get("parameters") or {}
                tools.append(Tool(name=tool["name"], schema=schema, is_custom=tool.get("type") == "custom"))
        given = body.get("input") or []
        history = [] if isinstance(given, str) else given
        turns = turns_in(item.get("role") == "assistant" or item.get("type") in _MODELS_ITEMS for item in history)
        return Request(model=body.get("model", ""), is_stream=bool(body.get("stream")), tools=tools, turns=turns)

    def whole(self, reply: Reply) -> Json:
        """The answer in one piece."""
        return {
            "id": f"resp_{reply.id}",
            "object": "response",
            "created_at": int(time.time()),  # noqa: TID251 - a server's own clock
            "status": "completed",
            "model": reply.model,
            "output": _items(reply),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "usage": {
                "input_tokens": reply.input_tokens,
                "input_tokens_details": {"cached_tokens": reply.cached_tokens},
                "output_tokens": reply.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": reply.input_tokens + reply.output_tokens,
            },
        }

    def stream(self, reply: Reply) -> Events:
        """The answer in parts."""
        whole, numbers = self.whole(reply), itertools.count()

        def event(kind: str, **data: Any) -> tuple[str, Json]:
            return kind, {"type": kind, "sequence_number": next(numbers), **data}

        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        for at, item in enumerate(whole["output"]):
            where = {"item_id": item["id"], "output_index": at}
            if item["type"] == "message":
                part, empty = item["content"][0], {**item, "status": "in_progress", "content": []}
                yield event("response.output_item.added", output_index=at, item=empty)
                yield event("response.content_part.added", content_index=0, part={**part, "text": ""}, **where)
                yield event("response.output_text.delta", content_index=0, delta=part["text"], **where)
                yield event("response.output_text.done", content_index=0, text=part["text"], **where)
                yield event("response.content_part.done", content_index=0, part=part, **where)
            else:
                is_custom = item["type"] == "custom_tool_call"
                key = "input" if is_custom else "arguments"
                kind = "response.custom_tool_call_input" if is_custom else "response.function_call_arguments"
                empty = {**item, "status": "in_progress", key: ""}
                yield event("response.output_item.added", output_index=at, item=empty)
                yield event(f"{kind}.delta", delta=item[key], **where)
                yield event(f"{kind}.done", **{key: item[key]}, **where)
            yield event("response.output_item.done", output_index=at, item=item)
        yield event("response.completed", response=whole)

    def error(self, status: int, message: str) -> Json:
        """A refusal."""
        return _error(status, message)


def _items(reply: Reply) -> list[Json]:
    items: list[Json] = []
    if reply.text:
        content = [{"type": "output_text", "text": reply.text, "annotations": []}]
        items.append(
            {
                "type": "message",
                "id": f"msg_{reply.id}",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        )
    for call in reply.calls:
        common = {"call_id": call.id, "name": call.tool.name, "status": "completed"}
        if call.tool.is_custom:
            items.append({"type": "custom_tool_call", "id": f"ctc_{call.id}", **common, "input": call.input["input"]})
        else:
            group = {"namespace": call.tool.namespace} if call.tool.namespace else {}
            arguments = json.dumps(call.input)
            items.append({"type": "function_call", "id": f"fc_{call.id}", **common, "arguments": arguments, **group})
    return items


class ChatCompletions(Dialect):
    """`POST /v1/chat/completions`. Usage of a stream comes only when the request asks for it, as with OpenAI."""

    name = "chat"
    path = re.compile(r"^/(v1/)?chat/completions$")

    def read(self, body: Json, path: str) -> Request:
        """The request."""
        tools = [
            Tool(name=tool["function"]["name"], schema=tool["function"].get("parameters") or {})
            for tool in body.get("tools") or []
            if "function" in tool
        ]
        turns = turns_in(message.get("role") == "assistant" for message in body.get("messages", []))
        return Request(model=body.get("model", ""), is_stream=bool(body.get("stream")), tools=tools, turns=turns)

    def whole(self, reply: Reply) -> Json:
        """The answer in one piece."""
        message: Json = {"role": "assistant", "content": reply.text or None}
        if reply.calls:
            message["tool_calls"] = _chat_calls(reply)
        finish = "tool_calls" if reply.calls else "stop"
        return {
            **_chat_head(reply, "chat.completion"),
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": _chat_usage(reply),
        }

    def stream(self, reply: Reply) -> Events:
        """The answer in parts, the last of them its usage."""
        head = _chat_head(reply, "chat.completion.chunk")

        def chunk(delta: Json, finish: str | None = None) -> tuple[str, Json]:
            return "", {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

        yield chunk({"role": "assistant", "content": reply.text})
        for index, call in enumerate(_chat_calls(reply)):
            yield chunk({"tool_calls": [{"index": index, **call}]})
        yield chunk({}, "tool_calls" if reply.calls else "stop")
        yield "", {**head, "choices": [], "usage": _chat_usage(reply)}
        yield "", "[DONE]"

    def error(self, status: int, message: str) -> Json:
        """A refusal."""
        return _error(status, message)


def _chat_head(reply: Reply, kind: str) -> Json:
    created = int(time.time())  # noqa: TID251 - a server's own clock
    return {"id": f"chatcmpl-{reply.id}", "object": kind, "created": created, "model": reply.model}


def _chat_calls(reply: Reply) -> list[Json]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.tool.name, "arguments": json.dumps(call.input)},
        }
        for call in reply.calls
    ]


def _chat_usage(reply: Reply) -> Json:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }
