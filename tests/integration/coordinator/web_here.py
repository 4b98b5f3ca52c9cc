"""The web process's application in a thread of the test's own process, on a port of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.test import override_settings

from agentgrid.bodies import LimitBodies
from coordinator import public_asgi
from coordinator.web import connections
from tests.services.servers import free_port

_LOOK_SECONDS = 0.005


class Web:
    """A served application."""

    def __init__(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers (in lower case) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            data = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return (
                answer.status,
                json.loads(data) if is_json and data else data.decode(),
                {k.lower(): v for k, v in answer.getheaders()},
            )
        finally:
            connection.close()

    def rest(self, headers: Mapping[str, str], name: str, **arguments: Any) -> tuple[int, Any]:
        """Call a tool over REST."""
        body = json.dumps(arguments).encode()
        return self.request("POST", f"/api/agent/v1/tools/{name}", headers=headers, body=body)[:2]

    def rpc(self, headers: Mapping[str, str], method: str, params: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """One JSON-RPC request over MCP's endpoint, without a handshake."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params or {})}).encode()
        wanted = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}
        return self.request("POST", "/mcp", headers=wanted, body=body)[:2]


class _PromptServer(uvicorn.Server):
    """Ends when it is told to: uvicorn itself looks every 0.1 s, and waits as long again for connections to close."""

    async def main_loop(self) -> None:
        while not self.should_exit:
            await asyncio.sleep(_LOOK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(_LOOK_SECONDS)
        await self.lifespan.shutdown()


@contextmanager
def web_here() -> Iterator[Web]:
    """Serve on a free port until the end of the block; its database connections are closed then."""
    # As agentgrid.asgi does it, which would hide this process's memory from tests that look into it. No static files here.
    middleware = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    with override_settings(MIDDLEWARE=middleware):
        application = public_asgi.mount(LimitBodies(get_asgi_application()))
    port = free_port()
    config = uvicorn.Config(application, host="127.0.0.1", port=port, log_config=None, lifespan="on")
    server = _PromptServer(config)
    thread = threading.Thread(target=server.run, name="web-here", daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the application did not start"
        time.sleep(_LOOK_SECONDS)
    try:
        yield Web(port)
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()
        connections.lender.close()
