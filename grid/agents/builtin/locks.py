"""The grid's locks for the mixin `file_lock`: each path that a file tool is about to change is asked for first."""

from __future__ import annotations

from typing import Any

from grid.agents.builtin.grid_tools import GridServer
from grid.locks.patterns import escaped
from grid.toolkit.errors import ToolRefusedError
from grid.toolkit.mixins import Blocker

ACQUIRE, RELEASE = "acquire_lock", "release_lock"
_OURS = (".agentgrid", ".git")
"""Folders whose files are not the repository's: every run has its own."""


class GridLocks:
    """`Locks` over the run's connection to the grid; before there is one, and without the tool, every path can be had."""

    def __init__(self) -> None:
        self._server: GridServer | None = None
        self._held_before: set[str] = set()
        """Paths whose locks somebody else in this run has asked for, the model for one: they are not ours to give back."""

    def connect(self, server: GridServer) -> None:
        """Ask this server from now on."""
        self._server = server

    async def acquire(self, path: str) -> Blocker | None:
        """Take the write lock of a file.

        Raises:
            ToolUnavailableError: The grid does not answer: nobody knows whose the file is, so it is not changed.
            ToolRefusedError: The grid refuses, for instance too many locks.
        """
        if self._server is None or _is_ours(path):
            return None
        answer = await self._server.ask(ACQUIRE, {"path": escaped(path), "reason": "a file tool is about to change it"})
        if answer.get("held_before"):
            self._held_before.add(path)
        if answer.get("granted") or not answer.get("enforced"):
            return None
        held = answer.get("held_by")
        first = held[0] if isinstance(held, list) and held and isinstance(held[0], dict) else {}
        advice = str(answer.get("advice") or "")
        if answer.get("conflict"):
            advice += f". Conflict {answer['conflict']} about it is being decided"
        return Blocker(holder=str(first.get("by") or "another agent"), advice=advice)

    async def release(self, path: str) -> None:
        """Give a path back."""
        if self._server is None or _is_ours(path) or path in self._held_before:
            return
        try:
            await self._server.ask(RELEASE, {"path": escaped(path)})
        except ToolRefusedError:  # it ends with the run in any case
            return


def _is_ours(path: str) -> bool:
    return path.split("/")[0].lower() in _OURS


def usable(grid_tools: Any) -> bool:
    """Whether a run may ask for locks."""
    return ACQUIRE in (grid_tools or ())
