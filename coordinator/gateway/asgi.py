"""The gateway's ASGI application: authenticate, admit, pass on, meter, settle. Only this edge is asynchronous."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

from django.db import Error as DatabaseError

from coordinator.conf import conf
from coordinator.gateway import admission, reaching, routes, settling, wanted
from coordinator.gateway.admission import Admitted, Refusal
from coordinator.gateway.exchange import Exchange
from coordinator.gateway.routes import Api, Refused, Route, Shape
from coordinator.gateway.settling import Ended
from coordinator.gateway.throttle import Pass, Throttle
from coordinator.gateway.wanted import MAX_BODY_BYTES, BadRequestError
from coordinator.money.spending import MAX_CALL_SECONDS
from coordinator.web import connections
from grid.public_types import Caller

log = logging.getLogger(__name__)
BODY_SECONDS = 120.0
"""For a client to send its whole request."""
MAX_HELD_BYTES = 64 << 20
"""Of all requests of one token that are under way in this process."""
_OUR_TOKENS = "agx_"
"""What they begin with: a client may send further keys, which are none of ours and go nowhere."""
_TOO_FAST = "too many requests within a second; slow down"
_SETTLE_AGAIN_SECONDS = (0.5, 1, 2, 5, 10, 30, 60)
"""Between attempts to settle a call while the database is away."""
_throttle = Throttle()
_held: Counter[str] = Counter()
_unsettled: set[asyncio.Task[None]] = set()
"""Whom nobody else holds on to."""
_threads = ThreadPoolExecutor(max_workers=connections.MANY, thread_name_prefix="gateway")
"""For the database; as many as there are connections to lend."""

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request below `/gateway/`."""
    if scope["type"] != "http":
        return
    provider, path = routes.split(scope["path"])
    try:
        refusal = await _serve(scope, receive, send, provider=provider, path=path)
    except DatabaseError as error:
        log.warning("a model call not looked up", extra={"action": "gateway", "error": str(error)[:300]})
        refusal = Refusal(reason=Refused.OURS, message="the grid's database does not answer; try again")
    if refusal is not None:
        await _answer(send, routes.shape_of(provider, path), refusal)


async def _serve(scope: Scope, receive: Receive, send: Send, *, provider: str, path: str) -> Refusal | None:
    """Authenticate and find the way; returns what to answer when nothing has been."""
    served = conf().gateway
    if provider not in served:
        known = ", ".join(sorted(served)) or "nothing: its operator sets GATEWAY_PROVIDERS"
        return Refusal(reason=Refused.PATH, message=f"this gateway does not serve {provider[:40]!r}; it serves {known}")
    if scope["method"] == "HEAD":  # how clients look whether somebody is there; it tells nothing
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
        return None
    bearer = _bearer(scope)
    key = hashlib.sha256(bearer.encode()).hexdigest()
    turn = _throttle.take(key, time.monotonic())
    if turn == Pass.NO:
        return Refusal(reason=Refused.BUSY, message=_TOO_FAST)
    caller = await _in_thread(admission.caller_of, bearer)
    if caller is None:
        return Refusal(reason=Refused.TOKEN, message="this is not the token of a run that is under way")
    if turn == Pass.FIRST_NO:
        return await _in_thread(admission.refuse, caller, provider, Refused.BUSY, _TOO_FAST)
    route = routes.find(scope["method"], provider, path)
    if route is None:
        words = f"the gateway does not pass on {scope['method'][:10]} {path[:100]}"
        return await _in_thread(admission.refuse, caller, provider, Refused.PATH, words)
    holding = _Holding(key)
    try:
        body = await _body(receive, _header(scope, b"content-length"), holding)
        if body is None:
            return None  # gone before it had said what it wants
        return await _call(scope, receive, send, caller=caller, route=route, raw=body)
    except BadRequestError as error:
        return await _in_thread(admission.refuse, caller, provider, error.reason, str(error))
    finally:
        holding.release()


async def _call(
    scope: Scope, receive: Receive, send: Send, *, caller: Caller, route: Route, raw: bytes
) -> Refusal | None:
    """Admit a request, pass it on, settle it; returns what to answer when nothing has been."""
    encoding = _header(scope, b"content-encoding")
    admitted: Admitted | None = None
    if route.api == Api.FREE:
        try:
            body = wanted.unpack(raw, encoding)
            await _in_thread(_keep_in, route, body)  # a large body takes a while to be read
        except BadRequestError as error:
            return await _in_thread(admission.refuse, caller, route.provider, error.reason, str(error))
    else:
        betas = b",".join(value for name, value in scope["headers"] if name.lower() == b"anthropic-beta")
        answer = await _in_thread(_admit, caller, route, raw, encoding, betas.decode("latin-1"))
        if isinstance(answer, Refusal):
            return answer
        admitted, body = answer, answer.wanted.body
    passing = Exchange(
        route=route,
        settings=conf().gateway[route.provider],
        method=scope["method"],
        headers=scope["headers"],
        query=scope["query_string"],
        body=body,
        wanted=admitted.wanted if admitted else None,
        send=send,
    )
    try:
        refusal = await _watched(passing, receive)
    finally:
        if admitted is not None:
            # Shielded: what was set aside is settled also when this task is cancelled.
            await asyncio.shield(asyncio.ensure_future(_settle(admitted, passing.ended())))
    if passing.has_started:
        # Only now: whoever waits for the end of one call before the next finds this one settled.
        await send({"type": "http.response.body"})
    return refusal


def _keep_in(route: Route, body: bytes) -> None:
    """Refuse a request that is not billed and has its provider reach the network. Raises BadRequestError."""
    try:
        ways = reaching.ways_of_free(route, body)
    except ValueError as error:
        raise BadRequestError(f"the body must be one JSON object in UTF-8, each key once: {error}") from error
    if away := reaching.refused(ways, allowed=conf().gateway_may_reach):
        raise BadRequestError(away)


async def _watched(passing: Exchange, receive: Receive) -> Refusal | None:
    """Run an exchange until it ends, its client goes, or it takes too long."""
    pump, gone = asyncio.ensure_future(passing.run()), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({pump, gone}, timeout=MAX_CALL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if pump.done():
            return pump.result()
        if gone.done():
            passing.broke_off("the client has gone")
            return None
        passing.broke_off(f"it took longer than {MAX_CALL_SECONDS} s")
        return None if passing.has_started else Refusal(reason=Refused.SLOW, message="the provider took too long")
    finally:
        gone.cancel()
        pump.cancel()
        await asyncio.gather(pump, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Holding:
    """What one request of a token takes of our memory: slow and large ones together must not fill it."""

    def __init__(self, key: str) -> None:
        self._key, self._bytes = key, 0

    def add(self, size: int) -> None:
        """Keep some more. Raises BadRequestError when the token's requests hold too much by now."""
        if _held[self._key] + size > MAX_HELD_BYTES:
            raise BadRequestError(
                f"the requests of this run that are under way have more than {MAX_HELD_BYTES} bytes", Refused.BUSY
            )
        _held[self._key] += size
        self._bytes += size

    def release(self) -> None:
        """Give it all back."""
        _held[self._key] -= self._bytes
        if not _held[self._key]:
            del _held[self._key]


async def _body(receive: Receive, announced: str, holding: _Holding) -> bytes | None:
    """The request's body as sent; None when the client has gone. Raises BadRequestError when it is too large or slow."""
    too_large = BadRequestError(f"the request is larger than {MAX_BODY_BYTES} bytes", Refused.SIZE)
    if announced.isascii() and announced.isdigit() and int(announced[:18]) > MAX_BODY_BYTES:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                parts.append(message.get("body", b""))
                holding.add(len(parts[-1]))
                size += len(parts[-1])
                if size > MAX_BODY_BYTES:
                    raise too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError as error:
        raise BadRequestError(f"the request took longer than {BODY_SECONDS:.0f} s to arrive") from error


async def _answer(send: Send, shape: Shape, refusal: Refusal) -> None:
    status = routes.STATUS[refusal.reason]
    body = json.dumps(routes.error_body(shape, refusal.reason, refusal.message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if seconds := routes.RETRY_AFTER_SECONDS.get(refusal.reason):
        headers.append((b"retry-after", str(seconds).encode()))
    if refusal.reason == Refused.SIZE:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _bearer(scope: Scope) -> str:
    """The token of ours that came with a request; empty when there is none."""
    kind, _, bearer = _header(scope, b"authorization").partition(" ")
    query = parse_qs(scope["query_string"].decode("latin-1"))
    found = [
        _header(scope, b"x-api-key"),
        bearer.strip() if kind.lower() == "bearer" else "",
        _header(scope, b"x-goog-api-key"),
        query.get("key", [""])[0],
    ]
    return next((value for value in found if value.startswith(_OUR_TOKENS)), "")


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")


def _admit(caller: Caller, route: Route, raw: bytes, encoding: str, betas: str) -> Admitted | Refusal:
    return admission.admit(caller, route, raw=raw, encoding=encoding, betas=betas)


async def _settle(admitted: Admitted, ended: Ended) -> None:
    """Settle a call, a little later when the database is away: its reservation would keep money and a place for long."""
    if not await _is_settled(admitted, ended):
        task = asyncio.ensure_future(_settle_later(admitted, ended))
        _unsettled.add(task)
        task.add_done_callback(_unsettled.discard)


async def _settle_later(admitted: Admitted, ended: Ended) -> None:
    for seconds in _SETTLE_AGAIN_SECONDS:
        await asyncio.sleep(seconds)
        if await _is_settled(admitted, ended):
            return


async def _is_settled(admitted: Admitted, ended: Ended) -> bool:
    try:
        await _in_thread(settling.settle, admitted, ended)
    except DatabaseError as error:  # at last the sweep settles it, at what was set aside
        log.warning("a model call not settled", extra={"action": "gateway", "error": str(error)[:300]})
        return False
    return True


async def _in_thread[**P, T](act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a synchronous function in a thread that is lent a connection."""

    def run() -> T:
        with connections.borrowed():
            return act(*args, **kwargs)

    return await asyncio.get_running_loop().run_in_executor(_threads, run)
