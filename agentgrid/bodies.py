"""A limit to request bodies, before Django writes them to disk: it takes in a whole body before it asks any view."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

type Scope = dict[str, Any]
type Message = Mapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BYTES = 5_000_000
"""As much as a webhook may have (`tracker.public_inbound.BODY_MAX_BYTES`); no form of ours comes near."""
_ANSWER = json.dumps({"error": f"the body is larger than {MAX_BYTES} bytes", "fix": "send less"}).encode()


class LimitBodies:
    """An ASGI application that answers 413 in another one's place when a body is too large."""

    def __init__(self, application: Application, *, max_bytes: int = MAX_BYTES) -> None:
        self._application = application
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        if _announced(scope["headers"]) > self._max_bytes:
            await _refuse(send)
            return
        read, is_too_large = 0, False

        async def counted() -> Message:
            nonlocal read, is_too_large
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                is_too_large = True
                # Django gives up on a client that is gone, and throws away what it has of the body.
                return {"type": "http.disconnect"}
            return message

        await self._application(scope, counted, send)
        if is_too_large:
            await _refuse(send)


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value[:18])  # the server has checked that it is a number; a longer one is too large anyway
    return 0


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": _ANSWER})
