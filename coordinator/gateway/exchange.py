"""One request and its answer between a client and a provider, piece by piece and unbuffered."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import httpx

from coordinator.gateway import routes, upstream
from coordinator.gateway.admission import Refusal
from coordinator.gateway.metering import Meter
from coordinator.gateway.routes import Refused, Route
from coordinator.gateway.settling import Ended
from coordinator.gateway.wanted import Wanted

_MAX_ERROR_BYTES = 1 << 20
_MIN_KEY_BYTES = 8
_LINES = ("text/event-stream", "application/x-ndjson", "application/jsonl")
_DECODED = ("", "identity", "gzip", "x-gzip", "deflate")

type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Exchange:
    """Passes one request on and its answer back; whoever made it closes the answer and settles the call.

    Args:
        route: Where to.
        settings: `url` and `key` of the provider.
        method: Of the client's request, as are `headers` and `query`.
        headers: Most of them are left out.
        query: Most of it is left out.
        body: To pass on.
        wanted: What a billed request asked for; None: nothing is metered.
        send: Of the ASGI server.
    """

    def __init__(
        self,
        *,
        route: Route,
        settings: Mapping[str, str],
        method: str,
        headers: Iterable[tuple[bytes, bytes]],
        query: bytes,
        body: bytes,
        wanted: Wanted | None,
        send: Send,
    ) -> None:
        self._route, self._wanted, self._send = route, wanted, send
        self._key = settings["key"].encode()
        self._request = upstream.build(route, settings=settings, method=method, headers=headers, query=query, body=body)
        self._meter: Meter | None = None
        self._began = time.monotonic()
        self._first_byte_ms: float | None = None
        self._status: int | None = None
        self._is_charged, self._reason = True, ""
        self._held = b""
        self.has_started = False
        """The client has got a status; an error can only be told in the stream."""

    async def run(self) -> Refusal | None:
        """Pass all on but the end of the answer; returns what to answer when there is none."""
        try:
            response = await upstream.client().send(self._request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            return self._failed(Refused.UNREACHABLE, "could not be reached", error, is_charged=False)
        except httpx.TimeoutException as error:
            return self._failed(Refused.SLOW, "did not answer in time", error)
        except httpx.HTTPError as error:
            return self._failed(Refused.UNREACHABLE, "broke the connection off", error)
        try:
            self._status = response.status_code
            if response.status_code >= 300:
                return await self._error(response)
            await self._answer(response)
        except httpx.HTTPError as error:
            slow = isinstance(error, httpx.TimeoutException)
            refusal = self._failed(
                Refused.SLOW if slow else Refused.UNREACHABLE, "broke off in the middle of its answer", error
            )
            if not self.has_started:
                return refusal
            await self._piece(routes.error_event(self._route.api, refusal.reason, refusal.message), is_last=True)
        finally:
            await response.aclose()
        return None

    def broke_off(self, reason: str) -> None:
        """Say why the exchange is not carried to its end."""
        self._reason = self._reason or reason

    def ended(self) -> Ended:
        """How it ended, for the settlement."""
        is_known = self._meter is not None and self._meter.is_complete
        return Ended(
            status=self._status,
            metered=self._meter.metered() if self._meter is not None and is_known else None,
            is_charged=self._is_charged,
            reason=self._reason,
            first_byte_ms=self._first_byte_ms,
            total_ms=(time.monotonic() - self._began) * 1000,
        )

    async def _answer(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self._wanted is not None:
            hides = self._wanted.hides_usage
            self._meter = Meter(self._route.api, streams=kind in _LINES, hides_usage=hides)
        await self._start(response)
        async for chunk in response.aiter_bytes():
            if self._first_byte_ms is None:
                self._first_byte_ms = (time.monotonic() - self._began) * 1000
            await self._piece(self._meter.feed(chunk) if self._meter is not None else chunk)
        await self._piece(self._meter.finish() if self._meter is not None else b"", is_last=True)

    async def _error(self, response: httpx.Response) -> Refusal | None:
        """The provider refuses: its own words go to the client, but for those about our key."""
        self._is_charged = False
        self._reason = f"the provider answered {response.status_code}"
        if response.status_code in (401, 403):
            words = f"the provider refuses the grid's key ({response.status_code}); its operator must correct it"
            return Refusal(reason=Refused.KEY, message=words)
        if response.status_code < 400:
            words = "the provider sends us elsewhere; its operator must correct the address of the gateway"
            return Refusal(reason=Refused.UNREACHABLE, message=words)
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAX_ERROR_BYTES:
                break
        await self._start(response)
        await self._piece(body, is_last=True)
        return None

    async def _start(self, response: httpx.Response) -> None:
        headers = upstream.answer_headers(response)
        packed = response.headers.get("content-encoding", "").strip().lower()
        if packed not in _DECODED:
            headers.append((b"content-encoding", packed.encode("latin-1")))
        self.has_started = True
        await self._send({"type": "http.response.start", "status": response.status_code, "headers": headers})

    async def _piece(self, data: bytes, *, is_last: bool = False) -> None:
        """Pass some bytes on without our key; what may be its beginning waits for the next ones."""
        if len(self._key) >= _MIN_KEY_BYTES:
            data = (self._held + data).replace(self._key, b"***")
            kept = 0 if is_last else _overlap(data, self._key)
            data, self._held = data[: len(data) - kept], data[len(data) - kept :]
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def _failed(self, reason: Refused, words: str, error: Exception, *, is_charged: bool = True) -> Refusal:
        # The error's own words may hold an address with what is in it; its name is enough.
        self._is_charged = is_charged
        self._reason = f"the provider {words} ({type(error).__name__})"
        return Refusal(reason=reason, message=self._reason)


def _overlap(data: bytes, key: bytes) -> int:
    """How many bytes at the end of some data are the beginning of a key."""
    return next((size for size in range(min(len(key) - 1, len(data)), 0, -1) if data.endswith(key[:size])), 0)
