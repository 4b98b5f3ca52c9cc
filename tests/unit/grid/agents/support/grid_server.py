"""A small real MCP server on loopback, in a thread: tools of a grid that knows one token."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp_types import ToolAnnotations
from pydantic import AnyHttpUrl

TOKEN = "agx_example-of-a-token"


class _Tokens:
    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id="run", scopes=["grid"]) if token == TOKEN else None


@dataclass(kw_only=True)
class GridServer:
    """The server and what was called."""

    url: str
    calls: list[tuple[str, str]] = field(default_factory=list)
    server: uvicorn.Server | None = None

    def stop(self) -> None:
        if self.server is not None:
            self.server.should_exit = self.server.force_exit = True


@contextlib.contextmanager
def grid_server() -> Iterator[GridServer]:
    """Serve until the end of the block."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    grid = GridServer(url=f"{base}/mcp")
    mcp = MCPServer(
        "grid",
        token_verifier=_Tokens(),
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(base),
            resource_server_url=AnyHttpUrl(f"{base}/mcp"),
            required_scopes=["grid"],
            validate_token_resource=False,
        ),
        log_level="CRITICAL",
    )

    @mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
    def get_children() -> str:
        """The children of this agent."""
        grid.calls.append(("get_children", ""))
        return "1.1 running"

    @mcp.tool()
    def report_state(text: str) -> str:
        """Tell how it goes."""
        grid.calls.append(("report_state", text))
        if text == "die":
            grid.stop()
            time.sleep(0.3)
        if text == "wrong":
            raise ValueError("say something else")
        return f"noted: {text}"

    @mcp.tool()
    def finish(outcome: str) -> str:
        """Ends the run."""
        grid.calls.append(("finish", outcome))
        return "ended"

    application = mcp.streamable_http_app(streamable_http_path="/mcp", stateless_http=True, json_response=True)
    grid.server = uvicorn.Server(uvicorn.Config(application, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=grid.server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not grid.server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield grid
    finally:
        grid.stop()
        thread.join(10)
        listener.close()
