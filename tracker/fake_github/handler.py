"""One connection: HTTP in, HTTP out; faults, limits, ETags and the record in between."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import logging
import urllib.parse
import uuid
import zlib
from typing import Any

from tracker.fake_github import access, faults, git_http, page, quota
from tracker.fake_github.access import Caller
from tracker.fake_github.errors import ApiError, Json
from tracker.fake_github.faults import Fault
from tracker.fake_github.listener import Listener
from tracker.fake_github.routing import Answer, dispatch

logger = logging.getLogger(__name__)
_BODY_MAX_BYTES = 64 * 1024 * 1024
_API_BODY_MAX_BYTES = 1024 * 1024
_FREE = ("/rate_limit",)


class HangUpError(Exception):
    """The connection ends without an answer."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "fake-github"
    wbufsize = -1
    disable_nagle_algorithm = True  # with a buffer: else some 40 ms for each answer, by delayed ACKs
    timeout = 60
    server: Listener

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is inherited
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer any request."""
        try:
            self._answer(self._read())
        except HangUpError:
            self.close_connection = True
        except OSError:
            raise  # the client has gone
        except Exception:
            logger.exception("%s %s failed", self.command, self.path)
            self.close_connection = True
            self._send(500, b'{"message": "Server Error", "status": "500"}', {"Content-Type": "application/json"})

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names are inherited

    # -- in

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := self._chunk_size():
                body += self.rfile.read(size)
                self.rfile.readline()
                self._bound(len(body))
            self.rfile.readline()
            return body
        length = self.headers.get("Content-Length", "0")
        if not length.isascii() or not length.isdigit():
            raise HangUpError
        self._bound(int(length))
        return self.rfile.read(int(length))

    def _chunk_size(self) -> int:
        try:
            size = int(self.rfile.readline(64).split(b";")[0].strip(), 16)
        except ValueError as error:
            raise HangUpError from error
        self._bound(size)
        return size

    def _bound(self, size: int) -> None:
        if size > _BODY_MAX_BYTES:
            self._send(413, b"too large", {"Content-Type": "text/plain", "Connection": "close"})
            raise HangUpError

    # -- out

    def _send(self, status: int, body: bytes, headers: dict[str, str] | list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _answer(self, body: bytes) -> None:
        url = urllib.parse.urlsplit(self.path)
        world = self.server.world
        with world.lock:
            fault = faults.take(world.faults, method=self.command, path=url.path)
        if fault is not None and fault.kind != "stale" and fault.when == "before":
            self._fail(fault, url.path, None)
            return
        if git_http.is_git(url.path):
            headers = {name.lower(): value for name, value in self.headers.items()}
            done = git_http.serve(
                world, method=self.command, path=url.path, query=url.query, headers=headers, body=body
            )
            if fault is not None:
                self._fail(fault, url.path, None)
                return
            self._send(done.status, done.body, done.headers)
        elif self.command == "GET" and page.is_page(url.path):
            # A site of someone else that resolves to this machine must not read the pages through a browser.
            if self.headers.get("Host", "").rpartition(":")[0] not in ("127.0.0.1", "localhost"):
                self._send(421, b"Use the address that the server printed.", {"Content-Type": "text/plain"})
                return
            with world.lock:
                shown = page.render(world, url.path)
            self._send(200 if shown else 404, (shown or "Not found").encode(), page.HEADERS)
        else:
            self._answer_api(url, body, fault)

    def _answer_api(self, url: urllib.parse.SplitResult, body: bytes, fault: Fault | None) -> None:
        query = dict(urllib.parse.parse_qsl(url.query))
        caller: Caller | None = None
        given: Any = None
        try:
            given = self._json(body)
            with self.server.world.lock:
                caller = access.identify(self.server.world, self.headers.get("Authorization", ""))
                if url.path not in _FREE and not quota.spend(self.server.world, caller.identity):
                    raise ApiError(403, f"API rate limit exceeded for {caller.identity}.")
            answer = self._dispatch(caller, url.path, query, given, stale=fault is not None and fault.kind == "stale")
        except ApiError as error:
            message = {"message": error.message, "documentation_url": "https://docs.github.com/rest"}
            shape: Json = {**message, "status": str(error.status)}
            answer = Answer(status=error.status, body=shape, template=url.path)
        if fault is not None and fault.kind != "stale":
            self._fail(fault, answer.template, caller)
            return
        self.server.traffic.add([self.command, answer.template, given, answer.status, answer.body])
        self._send_json(answer, caller)

    def _dispatch(self, caller: Caller, path: str, query: dict[str, str], given: Any, *, stale: bool) -> Answer:
        world = self.server.world
        if not stale:
            return dispatch(world, caller, self.command, path, query, given)
        with world.as_before_the_last_write():
            return dispatch(world, caller, self.command, path, query, given)

    def _json(self, body: bytes) -> Any:
        if not body:
            return None
        try:
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if len(body) > _API_BODY_MAX_BYTES:
                raise ApiError(413, "Payload too large")
            return json.loads(body)
        except (ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
            raise ApiError(400, "Problems parsing JSON") from error

    def _send_json(self, answer: Answer, caller: Caller | None) -> None:
        data = b"" if answer.body is None else json.dumps(answer.body).encode()
        headers = {"Content-Type": "application/json; charset=utf-8", **answer.headers, **self._limits(caller)}
        if self.command == "GET" and answer.status == 200:
            headers["ETag"] = f'W/"{hashlib.sha256(data).hexdigest()}"'
            headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
            if self.headers.get("If-None-Match") == headers["ETag"]:
                with self.server.world.lock:
                    if caller is not None:
                        quota.give_back(self.server.world, caller.identity)
                self._send(304, b"", headers | self._limits(caller))
                return
        self._send(answer.status, data, headers)

    def _limits(self, caller: Caller | None) -> dict[str, str]:
        made = {"X-GitHub-Request-Id": uuid.uuid4().hex.upper(), "X-GitHub-Media-Type": "github.v3; format=json"}
        if caller is None:
            return made
        with self.server.world.lock:
            core = quota.peek(self.server.world, caller.identity)
        return made | {f"X-RateLimit-{name.title()}": str(value) for name, value in core.items()} | {
            "X-RateLimit-Resource": "core"
        }  # fmt: skip

    # -- faults

    def _fail(self, fault: Fault, template: str, caller: Caller | None) -> None:
        if fault.kind == "timeout":
            self.server.stopping.wait(fault.seconds)
        if fault.kind in ("timeout", "disconnect"):
            raise HangUpError
        headers = {"Content-Type": "application/json; charset=utf-8", **self._limits(caller)}
        status = int(fault.kind[:3])
        message = "Server Error"
        if fault.kind == "403-primary":
            world = self.server.world
            reset = int(world.now().timestamp()) + (3_600 if fault.retry_after is None else fault.retry_after)
            headers |= {"X-RateLimit-Limit": str(world.rate_limit), "X-RateLimit-Remaining": "0",
                        "X-RateLimit-Used": str(world.rate_limit), "X-RateLimit-Reset": str(reset)}  # fmt: skip
            message = "API rate limit exceeded for installation."
        elif fault.kind in ("403-secondary", "429"):
            message = ("You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If you "
                       "reach out to GitHub Support for help, please include the request ID.")  # fmt: skip
            if fault.retry_after is not None:
                headers["Retry-After"] = str(fault.retry_after)
        body: Json = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
        self.server.traffic.add([self.command, template, None, status, body])
        self._send(status, json.dumps(body).encode(), headers)
