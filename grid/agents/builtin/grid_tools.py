"""The grid's own tools, over MCP (streamable HTTP), as tools of the toolkit.

A client of our own for the four messages that this needs: the one of the MCP library takes a second longer to import than
all the rest of the agent, at every start.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Collection, Mapping
from typing import Any

import httpx

from grid.agents.builtin.session import Session
from grid.toolkit.errors import ToolRefusedError, ToolUnavailableError
from grid.toolkit.tools import Tool, foreign_tool

_VERSION = "2025-06-18"
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_WAITS = (0.3, 1.0, 2.0)
"""Seconds before the grid is asked again at the start: it may just be restarting."""
_MAX_PAGES = 20
_MAX_ANSWER_BYTES = 4 << 20
_SAID = 300


class GridLostError(Exception):
    """The grid cannot be used in this run; the message says why and what to do."""


class GridServer:
    """A connection to the grid's tools. Not a session: each call is a request of its own."""

    def __init__(self, *, url: str, token: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)
        self._headers = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def tools(self, wanted: Collection[str]) -> list[Tool]:
        """Say hello and learn the tools; those of `wanted` that the server has.

        Raises:
            GridLostError: Out of reach, token refused, or no MCP server.
        """
        hello = {
            "protocolVersion": _VERSION,
            "capabilities": {},
            "clientInfo": {"name": "agent-grid-builtin", "version": "1"},
        }
        for wait in (*_WAITS, None):
            try:
                answer = await self._request("initialize", hello)
                self._headers["MCP-Protocol-Version"] = str(answer.get("protocolVersion") or _VERSION)
                await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
                listed = await self._listed()
                break
            except ToolRefusedError as error:
                if wait is None or not isinstance(error, ToolUnavailableError):
                    raise GridLostError(f"the grid's tools cannot be had: {error}") from error
            await asyncio.sleep(wait)
        return [self._tool(item) for item in listed if item.get("name") in wanted]

    async def ask(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool for the program itself, not for the model.

        Raises:
            ToolUnavailableError: No answer, or one that is none.
            ToolRefusedError: The tool or the server says no.
            GridLostError: The token is not, or no longer, good.
        """
        answer = await self._request("tools/call", {"name": name, "arguments": dict(arguments)})
        value = answer.get("structuredContent")
        if answer.get("isError") or not isinstance(value, dict):
            _result(name, {**answer, "isError": True})
        return dict(value or {})

    async def _listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._request("tools/list", {"cursor": cursor} if cursor else {})
            found += [item for item in page.get("tools", []) if isinstance(item, dict)]
            cursor = page.get("nextCursor")
            if not cursor:
                break
        return found

    def _tool(self, item: Mapping[str, Any]) -> Tool:
        name = str(item["name"])
        reads = bool((item.get("annotations") or {}).get("readOnlyHint"))

        async def function(session: Session, /, **arguments: Any) -> Any:
            try:
                answer = await self._request("tools/call", {"name": name, "arguments": arguments})
            except ToolUnavailableError as error:
                session.grid_problem = str(error)
                raise
            except ToolRefusedError:  # an answer as well
                session.grid_problem = ""
                raise
            session.grid_problem = ""
            return _result(name, answer)

        return foreign_tool(
            function,
            name=name,
            description=str(item.get("description") or name),
            schema=item.get("inputSchema") or {"type": "object"},
            effects={"grid", "read"} if reads else {"grid"},
        )

    async def _request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of one request.

        Raises:
            ToolUnavailableError: No answer, or one that is none.
            ToolRefusedError: The server says no.
            GridLostError: The token is not, or no longer, good.
        """
        number = next(self._numbers)
        response = await self._post({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        answer = _answer_to(number, response)
        if answer is None:
            raise ToolUnavailableError(
                f"the grid gave no answer to {method} (HTTP {response.status_code}); try again later"
            )
        if "error" in answer:
            error = answer["error"] if isinstance(answer["error"], dict) else {}
            raise ToolRefusedError(
                f"the grid refuses {method}: {str(error.get('message') or 'no reason given')[:_SAID]}"
            )
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    async def _post(self, message: Mapping[str, Any]) -> httpx.Response:
        try:
            response = await self._http.post(self._url, json=message, headers=self._headers)
        except httpx.HTTPError as error:
            raise ToolUnavailableError(f"the grid is out of reach ({type(error).__name__}); try again later") from error
        if response.status_code in (401, 403):
            raise GridLostError(
                f"the grid refused this run's token (HTTP {response.status_code}): the run is over, or AGENTGRID_TOKEN is wrong"
            )
        if response.status_code >= 500 or response.status_code == 429:
            raise ToolUnavailableError(f"the grid answers with HTTP {response.status_code}; try again later")
        if session := response.headers.get("mcp-session-id"):
            self._headers["Mcp-Session-Id"] = session
        return response


def _answer_to(number: int, response: httpx.Response) -> dict[str, Any] | None:
    """The JSON-RPC message with this id, out of plain JSON or a stream of events."""
    if len(response.content) > _MAX_ANSWER_BYTES:
        return None
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        texts = _events(response.text)
    else:
        texts = [response.text]
    for text in texts:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and value.get("id") == number:
            return value
    return None


def _events(stream: str) -> list[str]:
    """The data of each server-sent event."""
    events = stream.replace("\r\n", "\n").split("\n\n")
    return ["\n".join(line[5:].strip() for line in event.split("\n") if line.startswith("data:")) for event in events]


def _result(name: str, answer: Mapping[str, Any]) -> Any:
    """What the model is told: the text parts, else the structured content."""
    content = answer.get("content")
    parts = [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []
    text = "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    if answer.get("isError"):
        raise ToolRefusedError(text or f"{name} failed without a reason")
    return text or answer.get("structuredContent") or "(nothing)"
