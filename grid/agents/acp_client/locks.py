"""The grid's locks for an ACP agent: the files of each call that it asks permission for are locked before it may change them.

The protocol has no words for why a call is refused. So the agent is told in the next turn, as it is told messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from grid.gridctl import script

CHANGING = frozenset({"edit", "delete", "move"})
"""Kinds of tool calls that change files; what a command changes is not known before it runs."""


class PathLocks:
    """Asks for locks in the name of the run."""

    def __init__(self, root: str, *, tell: Callable[[str], None]) -> None:
        self._root, self._tell = root, tell
        self._told: set[str] = set()
        """Files of which the agent was told once: each telling is another turn, and it may ask again in that."""

    async def ask(self, paths: Iterable[str]) -> str:
        """Take the locks of files, in this order; returns why one may not be changed now, or nothing."""
        for path in paths:
            if why := await asyncio.to_thread(script.ask_for, script.inside(self._root, path)):
                if path not in self._told:
                    self._told.add(path)
                    self._tell(f"A change of yours was refused: {why}")
                return why
        return ""


def places(call: Mapping[str, Any]) -> set[str]:
    """The files that a call names: where it says that it works, those of the changes that it shows, and of its arguments."""
    found = set[str]()
    for key in ("locations", "content"):
        entries = call.get(key)
        for entry in entries if isinstance(entries, list) else ():
            path = entry.get("path") if isinstance(entry, dict) else None
            if isinstance(path, str) and path:
                found.add(path)
    raw = call.get("rawInput")
    given = [raw.get(key) for key in script.PATH_KEYS] if isinstance(raw, dict) else []
    return found | {path for path in given if isinstance(path, str) and path}
