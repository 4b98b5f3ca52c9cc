"""The client's side of the protocol: prints updates, answers requests for permission, offers nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Any

from acp import RequestError
from acp.schema import (
    AllowedOutcome,
    DeniedOutcome,
    PermissionOption,
    RequestPermissionResponse,
    ToolCallUpdate,
)
from pydantic import BaseModel

from grid.agents.acp_client.locks import CHANGING, PathLocks, places
from grid.agents.acp_client.permissions import decide
from grid.agents.bounds import bounded

_SKIPPED = frozenset(
    {"available_commands_update", "config_option_update", "current_mode_update", "session_info_update"}
)


def print_line(value: dict[str, Any]) -> None:
    """One JSON line on standard output, cut down to 16 KiB. ASCII only and one write, so that lines are never torn."""
    data = json.dumps(bounded(value)).encode("ascii") + b"\n"
    while data:
        data = data[os.write(1, data) :]


def plain(model: BaseModel) -> dict[str, Any]:
    """A message of the protocol as it goes over the wire."""
    return model.model_dump(by_alias=True, exclude_none=True, mode="json")


class GridClient:
    """Implements the methods of `acp.Client` that an agent may call.

    There is no file system and no terminal on offer: the agent works in the workspace with its own tools.
    """

    def __init__(self, allowed: Collection[str], locks: PathLocks | None = None) -> None:
        self._allowed, self._locks = allowed, locks
        self._kinds: dict[str, str] = {}
        self._places: dict[str, set[str]] = {}

    async def session_update(self, session_id: str, update: BaseModel, **_: Any) -> None:
        """Print an update, and remember of which kind a tool call is."""
        data = plain(update)
        name = data.get("sessionUpdate")
        if name in ("tool_call", "tool_call_update") and data.get("kind"):
            self._kinds[data["toolCallId"]] = data["kind"]
        if name in ("tool_call", "tool_call_update") and self._locks is not None:
            self._places.setdefault(data["toolCallId"], set()).update(places(data))
        if name not in _SKIPPED:
            # The name first: it must survive when a giant update is cut down.
            print_line({"sessionUpdate": name} | data)

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: list[PermissionOption], **_: Any
    ) -> RequestPermissionResponse:
        """Allow or refuse one tool call, and print which."""
        kind = tool_call.kind or self._kinds.get(tool_call.tool_call_id)
        offered = [(option.option_id, option.kind) for option in options]
        answer = decide(kind, offered, self._allowed)
        locked = await self._locked(kind, tool_call) if answer.allowed else ""
        if locked:
            answer = decide(kind, offered, ())
        print_line(
            {
                "type": "permission",
                "allowed": answer.allowed,
                "kind": kind or "other",
                "toolCallId": tool_call.tool_call_id,
                "title": tool_call.title,
                **({"locked": locked} if locked else {}),
            }
        )
        if answer.option_id is None:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=answer.option_id))

    async def _locked(self, kind: str | None, tool_call: ToolCallUpdate) -> str:
        """Why the files of a call that changes some may not be changed now; empty: it has their locks."""
        if self._locks is None or kind not in CHANGING:
            return ""
        known = self._places.get(tool_call.tool_call_id, set())
        return await self._locks.ask(sorted(known | places(plain(tool_call))))

    async def read_text_file(self, **_: Any) -> None:
        """Not offered."""
        raise RequestError.method_not_found("fs/read_text_file")

    async def write_text_file(self, **_: Any) -> None:
        """Not offered."""
        raise RequestError.method_not_found("fs/write_text_file")

    async def create_terminal(self, **_: Any) -> None:
        """Not offered."""
        raise RequestError.method_not_found("terminal/create")

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Not offered."""
        raise RequestError.method_not_found(method)

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        """Extensions of an agent say nothing that a verdict could use."""

    def on_connect(self, conn: Any) -> None:
        """Nothing to do."""
