"""The web process's paths for agents, joined with Django's: MCP, the model gateway, everything else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from coordinator.gateway import asgi, owner, routes, upstream
from coordinator.web import mcp

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type Application = Callable[[Any, Any, Any], Awaitable[None]]
"""Of any server's or framework's ASGI types."""

log = logging.getLogger(__name__)


def mount(django: Application) -> Application:
    """An ASGI application that serves agents on their paths, and hands the rest to Django.

    Args:
        django: Serves all other HTTP requests.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http" and scope["path"].rstrip("/") == mcp.PATH:
            await mcp.server(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(routes.PREFIX):
            await asgi.application(scope, receive, send)
        else:
            await django(scope, receive, send)

    return application


async def _live(receive: Receive, send: Send) -> None:
    """From the server's start to its end: what serves MCP must run all the time, in one task."""
    async with contextlib.AsyncExitStack() as stack:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await stack.enter_async_context(mcp.server.running())
                    stack.enter_context(owner.beating())
                    stack.push_async_callback(upstream.close)
                except Exception as error:
                    log.exception("cannot serve agents", extra={"action": "startup"})
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                with contextlib.suppress(asyncio.CancelledError):
                    await stack.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return
