"""The server: HTTP on 127.0.0.1, a thread for each request, a note of each for tests to look at."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from grid.fake_model.anthropic import Anthropic
from grid.fake_model.dialect import Dialect, Events
from grid.fake_model.openai import ChatCompletions, Responses
from grid.fake_model.others import Gemini, Ollama
from grid.fake_model.script import Json, Script

DIALECTS: tuple[Dialect, ...] = (Anthropic(), Responses(), ChatCompletions(), Gemini(), Ollama())
_KEY_HEADERS = ("x-api-key", "authorization", "x-goog-api-key")
MODEL = "fake-1"


class FakeModel:
    """A running server; use it as a context manager.

        with FakeModel([{"calls": [{"shell": "touch x"}]}, {"text": "done"}]) as model:
            run_agent(base_url=model.url)
            assert model.requests[0]["model"] == "fake-1"

    `requests` has a summary of each request: method, path, key, dialect, model, step, tools, body.
    """

    def __init__(self, steps: Sequence[Json] | Script, *, port: int = 0) -> None:
        self.requests: list[Json] = []
        self._server = _Server(steps if isinstance(steps, Script) else Script(steps), port, self.requests.append)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="fake-model", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, script: Script, port: int, note: Callable[[Json], None]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.script, self.note = script, note


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Lists of models."""
        path = self.path.partition("?")[0]
        self.server.note({"method": "GET", "path": self.path, "key": self._key()})
        answers: dict[str, Json] = {
            "/v1/models": {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "test"}]},
            "/api/tags": {"models": [{"name": MODEL, "model": MODEL}]},
            "/api/version": {"version": "0.0.0"},
        }
        found = answers.get(path) or answers.get(f"/v1{path}")
        self._json(found or {"error": {"message": "not scripted"}}, 200 if found else 404)

    def do_HEAD(self) -> None:
        """Whether somebody is there."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        """An answer of the script."""
        raw, path = self._body(), self.path.partition("?")[0]
        note: Json = {"method": "POST", "path": self.path, "key": self._key(), "bytes": len(raw)}
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            self.server.note(note)
            self._json({"error": {"message": "the body is not JSON"}}, 400)
            return
        if path.endswith("/count_tokens"):
            self.server.note(note)
            self._json({"input_tokens": len(raw) // 4})
            return
        dialect = next((known for known in DIALECTS if known.path.match(path)), None)
        if dialect is None:
            self.server.note(note)
            self._json({"error": {"message": "not scripted"}}, 404)
            return
        self._answer(dialect, body, path, note)

    def _answer(self, dialect: Dialect, body: Json, path: str, note: Json) -> None:
        request = dialect.read(body, path)
        index, step = self.server.script.step_for(request)
        tools = [tool.name for tool in request.tools]
        facts = {"dialect": dialect.name, "model": request.model, "step": index, "tools": tools, "body": body}
        self.server.note({**note, **facts})
        time.sleep(step.get("delay") or 0)
        if status := step.get("status"):
            self._json(dialect.error(status, step.get("error", "scripted error")), status)
            return
        reply = self.server.script.reply(request, step)
        if request.is_stream:
            self._stream(dialect.stream(reply), is_lines=dialect.is_lines, step=step)
        else:
            self._json(dialect.whole(reply))

    def _key(self) -> str:
        found = [self.headers.get(name, "") for name in _KEY_HEADERS]
        return next(filter(None, found), "").removeprefix("Bearer ")

    def _body(self) -> bytes:
        """The request's body; clients send it chunked and compressed."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            parts = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            raw = b"".join(parts)
        else:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw

    def _json(self, data: Any, status: int = 200) -> None:
        raw = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, events: Events, *, is_lines: bool, step: Json) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson" if is_lines else "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for number, (name, data) in enumerate(events):
                if number:
                    time.sleep(step.get("gap") or 0)
                    if step.get("cut"):
                        self.close_connection = True
                        return
                text = data if isinstance(data, str) else json.dumps(data)
                head = f"event: {name}\n" if name else ""
                raw = (f"{text}\n" if is_lines else f"{head}data: {text}\n\n").encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Nothing: notes are kept instead."""
