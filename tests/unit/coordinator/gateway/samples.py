"""Answers as the providers send them, written down from their documentation; figures are the same in all of them.

120 tokens in, of which 100 came from a cache where the provider can say so, and 34 out.
"""

from __future__ import annotations

import json
from typing import Any

from coordinator.gateway.routes import Api


def sse(*events: tuple[str, dict[str, Any] | str]) -> bytes:
    """Server-sent events, with a name where there is one."""
    parts = []
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        parts.append((f"event: {name}\n" if name else "") + f"data: {text}\n\n")
    return "".join(parts).encode()


ANTHROPIC_USAGE = {
    "input_tokens": 15,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
    "output_tokens": 1,
}
MESSAGES = sse(
    (
        "message_start",
        {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "usage": ANTHROPIC_USAGE}},
    ),
    ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ("ping", {"type": "ping"}),
    (
        "content_block_delta",
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": '{"type":"message_delta","usage":{"output_tokens":0}}'},
        },
    ),
    ("content_block_stop", {"type": "content_block_stop", "index": 0}),
    (
        "message_delta",
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 34}},
    ),
    ("message_stop", {"type": "message_stop"}),
)
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "service_tier": "default",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "usage: none"}]}],
    "usage": {
        "input_tokens": 120,
        "input_tokens_details": {"cached_tokens": 100},
        "output_tokens": 34,
        "output_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": 154,
    },
}
RESPONSES = sse(
    (
        "response.created",
        {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "usage": None}},
    ),
    ("response.output_text.delta", {"type": "response.output_text.delta", "delta": "the usage of it"}),
    ("response.completed", {"type": "response.completed", "response": RESPONSE}),
)
CHAT_USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 34,
    "total_tokens": 154,
    "prompt_tokens_details": {"cached_tokens": 100},
}
CHAT_TEXT = sse(
    ("", {"id": "c1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}}], "usage": None}),
    ("", {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}),
)
CHAT_END = sse(("", "[DONE]"))
CHAT = CHAT_TEXT + sse(("", {"id": "c1", "choices": [], "usage": CHAT_USAGE})) + CHAT_END
GEMINI_PARTS: list[dict[str, Any]] = [
    {
        "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 120, "totalTokenCount": 120},
    },
    {
        "candidates": [{"content": {"parts": [{"text": "!"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 120,
            "cachedContentTokenCount": 100,
            "candidatesTokenCount": 24,
            "thoughtsTokenCount": 10,
            "totalTokenCount": 154,
        },
    },
]
GEMINI = sse(*(("", part) for part in GEMINI_PARTS))
OLLAMA_END = {"model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 120, "eval_count": 34}
OLLAMA = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in ({"model": "m", "message": {"role": "assistant", "content": "eval_count"}, "done": False}, OLLAMA_END)
)
STREAMS: dict[Api, bytes] = {
    Api.MESSAGES: MESSAGES,
    Api.RESPONSES: RESPONSES,
    Api.CHAT: CHAT,
    Api.GEMINI: GEMINI,
    Api.OLLAMA: OLLAMA,
}
WHOLE: dict[Api, Any] = {
    Api.MESSAGES: {"type": "message", "content": [], "usage": {**ANTHROPIC_USAGE, "output_tokens": 34}},
    Api.RESPONSES: RESPONSE,
    Api.CHAT: {"id": "c1", "choices": [{"message": {"content": "Hi"}}], "usage": CHAT_USAGE},
    Api.GEMINI: GEMINI_PARTS[-1],
    Api.OLLAMA: OLLAMA_END,
}
