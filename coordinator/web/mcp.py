"""The grid's tools over MCP: streamable HTTP without sessions, one JSON answer to each POST, a bearer token for each run.

The list of tools is the caller's own. What is sync and asks the database runs in a few worker threads.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import mcp_types as types
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from django.http.request import validate_host
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings

from coordinator.toolbox import calls, schemas
from coordinator.toolbox.calls import Reply, Status
from coordinator.web import agent_door, connections
from coordinator.web.agent_door import DoorError
from grid.public_toolkit import Tool
from grid.public_types import Caller

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH = "/mcp"
_CALLER = "agentgrid.caller"
_INSTRUCTIONS = "Tools of agent-grid for this run: its sub-issues, messages, progress, and how it ends."
_TRY_LATER = "the grid's database does not answer; try again in a moment"
_workers = ThreadPoolExecutor(max_workers=connections.MANY, thread_name_prefix="mcp")


def _in_thread[**P, T](function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    def borrowing(*args: P.args, **kwargs: P.kwargs) -> T:
        with connections.borrowed():
            return function(*args, **kwargs)

    return sync_to_async(borrowing, thread_sensitive=False, executor=_workers)


_admit = _in_thread(agent_door.admit)
_tools_of = _in_thread(calls.tools_of)
_answer = _in_thread(calls.answer)


# --- what MCP asks -----------------------------------------------------------------------------------------------


async def _list_tools(
    context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[_shown(tool) for tool in await _tools_of(_caller(context))])


async def _call_tool(
    context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
) -> types.CallToolResult:
    try:
        reply = await _answer(_caller(context), params.name, params.arguments or {})
    except DatabaseError:
        reply = Reply(status=Status.FAULT, value=_TRY_LATER)
    value = reply.value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    blocks: list[types.ContentBlock] = [types.TextContent(type="text", text=part) for part in (text, *reply.notes)]
    is_ok = reply.status == Status.OK
    structured = value if is_ok and isinstance(value, dict) else None
    return types.CallToolResult(content=blocks, structured_content=structured, is_error=not is_ok)


def _caller(context: ServerRequestContext[Any, Any]) -> Caller:
    request: Any = context.request
    caller: Caller = request.scope[_CALLER]
    return caller


def _shown(tool: Tool) -> types.Tool:
    hints = types.ToolAnnotations(read_only_hint="grid" not in tool.effects, open_world_hint=False)
    return types.Tool(
        name=tool.name, description=tool.description, input_schema=schemas.plain(tool.schema), annotations=hints
    )


# --- the server --------------------------------------------------------------------------------------------------


class McpServer:
    """An ASGI application for `PATH`; it serves within `running`."""

    def __init__(self) -> None:
        self._manager: StreamableHTTPSessionManager | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve as long as this lasts."""
        server: Server[Any] = Server(
            "agent-grid", instructions=_INSTRUCTIONS, on_list_tools=_list_tools, on_call_tool=_call_tool
        )
        manager = StreamableHTTPSessionManager(
            server,
            json_response=True,
            stateless=True,
            max_request_body_size=agent_door.BODY_BYTES,
            # Hosts and origins are checked here as Django checks them, by ALLOWED_HOSTS.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of a running agent."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            _check_host(headers)
            if scope["method"] != "POST":
                # Without sessions there is no stream to open and nothing to delete.
                raise DoorError(405, "this endpoint answers POST", Allow="POST")
            caller = await _admit(headers.get("authorization", ""))
        except DoorError as error:
            await _refuse(send, error)
            return
        except DatabaseError:
            await _refuse(send, DoorError(503, _TRY_LATER, **{"Retry-After": "2"}))
            return
        if self._manager is None:
            await _refuse(send, DoorError(503, "the server is starting or stopping; try again", **{"Retry-After": "1"}))
            return
        await self._manager.handle_request({**scope, _CALLER: caller}, receive, send)


def _check_host(headers: Mapping[str, str]) -> None:
    """Against DNS rebinding: the names by which we may be called are those of ALLOWED_HOSTS. Raises DoorError."""
    origin = headers.get("origin", "")
    for name in (headers.get("host", ""), *([urlsplit(origin).netloc] if origin else [])):
        host = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
        if not validate_host(host.lower().rstrip("."), settings.ALLOWED_HOSTS):
            raise DoorError(421, "this server is not called so; ALLOWED_HOSTS lists its names")


async def _refuse(send: Send, error: DoorError) -> None:
    """An answer that HTTP and JSON-RPC clients understand."""
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32_000 - error.status, "message": str(error)}}
    data = json.dumps(body).encode()
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


server = McpServer()
