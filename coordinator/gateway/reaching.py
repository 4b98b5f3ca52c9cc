"""What a request has its provider reach over the network in the agent's place. Pure.

An agent without a network could carry data out through its model's provider: by a tool that the provider runs, by a server of
tools that it asks, by the address of a picture that it fetches. So each way out is closed until an operator names it. Of the
tools those are let through that are known to be run by the client, or by the provider without a network: of a new one nobody
here knows what it reaches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from coordinator.gateway.routes import Api, Route, Shape

WAYS = ("web_search", "web_fetch", "mcp", "code", "urls", "other")
"""Names that GATEWAY_MAY_REACH knows."""
_STAYS = {
    Api.MESSAGES: (
        *("custom", "bash_", "text_editor_", "computer_", "memory_"),
        *("tool_search_tool_", "code_execution_", "advisor"),
    ),
    Api.RESPONSES: (
        *("function", "custom", "namespace", "tool_search", "local_shell", "apply_patch", "computer"),
        *("file_search", "image_generation"),
    ),
    Api.CHAT: ("function", "custom"),
    Api.GEMINI: ("functiondeclarations", "codeexecution", "computeruse", "filesearch"),
}
"""Beginnings of the types of tools that reach nothing. Anthropic's and Google's code has no network."""
_LEAVES = {
    "web_search": "web_search",
    "web_fetch": "web_fetch",
    "mcp": "mcp",
    "code_interpreter": "code",
    "shell": "code",
    "googlesearch": "web_search",
    "googlemaps": "web_search",
    "enterprisewebsearch": "web_search",
    "urlcontext": "web_fetch",
}
"""The same of those that do, and by which way; any other type is `other`."""
_FIELDS = {
    "mcp_servers": "mcp",
    "web_search_options": "web_search",
    "search_parameters": "web_search",
    "plugins": "other",
}
"""Of a request itself; the last two are known to servers that speak OpenAI's API."""
_ADDRESSES = frozenset({"image_url", "file_url", "video_url", "audio_url"})
_USES = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_SCHEMAS = frozenset({"input_schema", "parameters", "parametersjsonschema"})
_APIS = {Shape.ANTHROPIC: Api.MESSAGES, Shape.GEMINI: Api.GEMINI}


def ways(api: Api, parsed: Mapping[str, Any]) -> dict[str, str]:
    """The ways out that a request takes, each with the word in it that says so.

    Args:
        api: How the request is to be read.
        parsed: Its body.
    """
    found: dict[str, str] = {}
    if api not in _STAYS:  # Ollama runs no tools and takes no addresses
        return found
    for name, way in _FIELDS.items():
        if parsed.get(name) not in (None, []):  # an empty object of options asks for it, too
            found.setdefault(way, name)
    for key, value in _parts(api, parsed):
        for way, what in _of_tools(api, value) if key == "tools" else _of_address(api, key, value):
            found.setdefault(way, what[:40])
    return found


def ways_of_free(route: Route, body: bytes) -> dict[str, str]:
    """The same of a request that is not billed and so not read otherwise: a provider that counts tokens fetches as well.

    Raises:
        ValueError: The body is no JSON object, or can be read in two ways.
    """
    api = _APIS.get(route.shape)
    if api is None or not route.has_body:
        return {}
    try:
        parsed = json.loads(body.decode("utf-8"), object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(parsed, dict):
        raise ValueError("it is no object")
    return ways(api, parsed)


def refused(found: Mapping[str, str], *, allowed: frozenset[str]) -> str:
    """Why a request that takes these ways is not passed on, in words for the agent; empty when it is."""
    for way, what in found.items():
        if way not in allowed:
            return (
                f"`{what}` has the provider reach the network in this run's place, which the grid does not allow; "
                f"go on without it (an operator may name {way} in GATEWAY_MAY_REACH)"
            )
    return ""


def _parts(api: Api, parsed: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key and value that the provider may read as its own; what a model gave a tool, and schemas, are only texts to it."""
    rest: list[Any] = [parsed]
    while rest:
        part = rest.pop()
        if isinstance(part, list):
            rest.extend(part)
        if not isinstance(part, Mapping):
            continue
        for name, value in part.items():
            key = _key(api, name)
            is_input = key == "input" and part.get("type") in _USES
            is_args = api == Api.GEMINI and key in ("args", "response")
            if is_input or is_args or key in _SCHEMAS:
                continue
            yield key, value
            rest.append(value)


def _key(api: Api, name: str) -> str:
    """Google's APIs read both spellings of a key, `fileUri` and `file_uri`."""
    return name.replace("_", "").casefold() if api == Api.GEMINI else name


def _of_tools(api: Api, value: object) -> Iterator[tuple[str, str]]:
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, Mapping):
            continue
        if api == Api.GEMINI:
            kinds = [_key(api, name) for name in item]
        elif api == Api.MESSAGES and item.get("type") is None:
            kinds = ["custom"]
        else:
            kinds = [str(item.get("type"))]
        for kind in kinds:
            if kind.startswith(_STAYS[api]) or _is_local(kind, item):
                continue
            yield next((way for start, way in _LEAVES.items() if kind.startswith(start)), "other"), kind


def _is_local(kind: str, item: Mapping[str, Any]) -> bool:
    """Whether a shell of OpenAI's is one that the client runs."""
    where = item.get("environment")
    return kind == "shell" and isinstance(where, Mapping) and where.get("type") == "local"


def _of_address(api: Api, key: str, value: object) -> Iterator[tuple[str, str]]:
    if api == Api.MESSAGES:
        if key == "source" and isinstance(value, Mapping) and value.get("type") == "url":
            yield "urls", "source.url"
    elif api == Api.GEMINI:
        if key == "fileuri" and value:
            yield "urls", "fileUri"
    elif key in _ADDRESSES:
        address = value.get("url") if isinstance(value, Mapping) else value
        if address and not (isinstance(address, str) and address.startswith("data:")):
            yield "urls", key


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object in it has a key twice")
    return found
