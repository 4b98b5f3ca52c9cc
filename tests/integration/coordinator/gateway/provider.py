"""A provider's server on loopback, which does what a test asks of it, and our gateway in front of it; both real servers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from tests.services.servers import free_port


@dataclass
class Provider:
    """What it answers with, and what it was asked."""

    status: int = 200
    content_type: str = "text/event-stream"
    body: bytes = b"data: {}\n\n"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    first: int | None = None
    """How many bytes go out before `go_on`; None: all at once."""
    go_on: threading.Event = field(default_factory=threading.Event)
    delay: float = 0.0
    breaks: bool = False
    """Ends the connection in the middle."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    """The caller went away before the end."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        self.seen.append(
            {"method": scope["method"], "path": scope["path"], "query": query, "headers": headers, "body": body}
        )
        if self.delay:
            await asyncio.sleep(self.delay)
        start = [(b"content-type", self.content_type.encode()), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": start})
        if self.first is None and not self.breaks:
            await send({"type": "http.response.body", "body": self.body})
            return
        await send({"type": "http.response.body", "body": self.body[: self.first], "more_body": True})
        if self.breaks:
            raise ConnectionError("as the test wants it")
        while not self.go_on.is_set():
            with contextlib.suppress(TimeoutError):
                message = await asyncio.wait_for(receive(), 0.02)
                if message["type"] == "http.disconnect":
                    self.gone.set()
                    return
        await send({"type": "http.response.body", "body": self.body[self.first or 0 :]})


async def _nothing() -> None:
    """What most servers have to close."""


@contextlib.contextmanager
def serving(application: Any, *, close: Callable[[], Awaitable[None]] = _nothing) -> Iterator[str]:
    """Serve an ASGI application in a thread until the block ends, then `close` in its event loop; yields its address."""

    async def living(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await close()
        await send({"type": "lifespan.shutdown.complete"})

    port = free_port()
    config = uvicorn.Config(living, host="127.0.0.1", port=port, log_config=None, access_log=False, loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
