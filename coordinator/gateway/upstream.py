"""Requests to the providers: the real key goes in here, and nothing that a client sent beside a few harmless headers."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlencode

import httpx

from coordinator.gateway.routes import Route

CONNECT_SECONDS, READ_SECONDS, WRITE_SECONDS = 10.0, 600.0, 60.0
"""`READ_SECONDS` between two pieces of an answer: a model may think for minutes before its first one."""
_MAX_CONNECTIONS = 500

type Headers = list[tuple[bytes, bytes]]

_TO_PROVIDER = frozenset({b"accept", b"user-agent", b"anthropic-version", b"anthropic-beta", b"openai-beta"})
_TO_CLIENT = frozenset(
    {
        "content-type",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "request-id",
        "x-request-id",
        "openai-processing-ms",
    }
)
_QUERY = {"anthropic": ("beta",), "gemini": ("alt", "pageSize", "pageToken"), "openai": (), "ollama": ()}
_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = weakref.WeakKeyDictionary()


def client() -> httpx.AsyncClient:
    """The pool of connections of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None:
        for name in ("httpx", "httpcore"):  # they log addresses and, below INFO, headers: our keys are in them
            logging.getLogger(name).setLevel(logging.WARNING)
        found = _clients[loop] = httpx.AsyncClient(
            # Not from the environment: a .netrc or a proxy there would be a way for keys to leave by.
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=50),
        )
    return found


async def close() -> None:
    """Close the running event loop's connections; a later request opens new ones."""
    found = _clients.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.aclose()


def build(
    route: Route,
    *,
    settings: Mapping[str, str],
    method: str,
    headers: Iterable[tuple[bytes, bytes]],
    query: bytes,
    body: bytes,
) -> httpx.Request:
    """The request to send in place of a client's.

    Args:
        route: Where to, within the provider's API.
        settings: `url` and `key` of the provider.
        method: As the client sent it.
        headers: As the client sent them.
        query: The same.
        body: Unpacked.
    """
    base = settings["url"].removesuffix("/v1")
    kept = [
        (name, value) for name, value in parse_qsl(query.decode("latin-1")) if name in _QUERY.get(route.provider, ())
    ]
    url = f"{base}{route.path}" + (f"?{urlencode(kept)}" if kept else "")
    passed = {name.lower(): value for name, value in headers if name.lower() in _TO_PROVIDER}
    if route.has_body:
        passed[b"content-type"] = b"application/json"
    # Unpacked, so that we can read the usage and pass on each piece as it comes.
    passed[b"accept-encoding"] = b"identity"
    passed |= _key(route.provider, settings["key"])
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, write=WRITE_SECONDS, pool=CONNECT_SECONDS)
    return client().build_request(
        method, url, timeout=timeout, headers=list(passed.items()), content=body if route.has_body else None
    )


def answer_headers(response: httpx.Response) -> Headers:
    """What a client gets to see of a provider's headers."""
    found = [(name, value) for name, value in response.headers.raw if name.decode("latin-1").lower() in _TO_CLIENT]
    return [(name.lower(), value) for name, value in found]


def _key(provider: str, key: str) -> dict[bytes, bytes]:
    if not key:
        return {}
    match provider:
        case "anthropic":
            return {b"x-api-key": key.encode()}
        case "gemini":
            return {b"x-goog-api-key": key.encode()}
        case _:
            return {b"authorization": b"Bearer " + key.encode()}
