"""A scripted model server on 127.0.0.1 that speaks Anthropic Messages and OpenAI Chat Completions (so Ollama's too).

The n-th request of a conversation gets the n-th step, counted by the assistant turns in its own history:
`{"text": …, "calls": [(tool, arguments)], "status": 529, "delay": 1.0}`.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


def _anthropic(step: Json, model: str, calls: list[tuple[str, str, Json]]) -> Json:
    content = [{"type": "text", "text": step["text"]}] if step.get("text") else []
    content += [{"type": "tool_use", "id": i, "name": name, "input": args} for i, name, args in calls]
    usage = {"input_tokens": 70, "output_tokens": 20, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 0}
    stop = "tool_use" if calls else "end_turn"
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def _chat(step: Json, model: str, calls: list[tuple[str, str, Json]]) -> Json:
    message: Json = {"role": "assistant", "content": step.get("text")}
    if calls:
        message["tool_calls"] = [
            {"id": i, "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
            for i, name, args in calls
        ]
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    usage["prompt_tokens_details"] = {"cached_tokens": 30}  # type: ignore[assignment]  # nested, unlike its siblings
    finish = "tool_calls" if calls else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


def _events(message: Json) -> bytes:
    """An Anthropic message as its server-sent events."""
    events: list[Json] = [{"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}]
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            empty = {**block, "input": {}}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "usage": message["usage"], "delta": stop})
    events.append({"type": "message_stop"})
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


class FakeModel:
    """The server; a context manager."""

    def __init__(self, steps: list[Json]) -> None:
        self.requests: list[Json] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                key = self.headers.get("x-api-key") or self.headers.get("authorization")
                fake.requests.append({"path": self.path, "key": key, "body": body})
                turn = sum(message["role"] == "assistant" for message in body["messages"])
                step = steps[min(turn, len(steps) - 1)]
                time.sleep(step.get("delay", 0))
                status = step.get("status", 200)
                calls = [(f"call_{turn}_{n}", *call) for n, call in enumerate(step.get("calls", []))]
                write = _anthropic if self.path.startswith("/v1/messages") else _chat
                error = {"type": "error", "error": {"type": "refused", "message": "scripted refusal"}}
                answer = write(step, body["model"], calls) if status == 200 else error
                streams = bool(body.get("stream")) and status == 200
                data = _events(answer) if streams else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "text/event-stream" if streams else "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeModel:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
