"""Asks for the lock of a path before a tool writes there."""

from __future__ import annotations

import posixpath
from typing import Any

from grid.toolkit.calling import Hook, Proceed, ToolCall
from grid.toolkit.errors import ToolRefusedError
from grid.toolkit.mixins.services import Blocker, Services
from grid.toolkit.sources import Strict


class Options(Strict):
    """How long a lock is held."""

    keep: bool = True
    """True: until the run ends, so that nobody changes what this agent is working on. False: for the call alone."""


class FileLock(Hook):
    """Holds the locks of all paths that a call writes. Commands name no path: what they write is not seen here."""

    name = "file_lock"

    def __init__(self, options: Options, services: Services) -> None:
        self._options, self._locks = options, services.locks
        self._kept: set[str] = set()

    async def around(self, call: ToolCall, proceed: Proceed) -> Any:
        """Take the locks, in the order of the paths so that two agents cannot wait for each other; run the call."""
        if "write" not in call.tool.effects:
            return await proceed()
        wanted = sorted(
            {
                posixpath.normpath(value)
                for name in call.tool.path_arguments
                if isinstance(value := call.arguments.get(name), str)
            }
        )
        taken: list[str] = []
        try:
            for path in wanted:
                if blocker := await self._locks.acquire(path):
                    raise ToolRefusedError(_in_words(path, blocker))
                taken.append(path)
            result = await proceed()
        except BaseException:
            # Nothing was written by this call: what it took goes back, but for what an earlier one has written.
            await self._give_back([path for path in taken if path not in self._kept])
            raise
        if self._options.keep:
            self._kept |= set(taken)
        else:
            await self._give_back(taken)
        return result

    async def _give_back(self, paths: list[str]) -> None:
        for path in paths:
            await self._locks.release(path)


def _in_words(path: str, blocker: Blocker) -> str:
    until = f" until {blocker.until}" if blocker.until else ""
    advice = blocker.advice or "work on something else first, or try again later"
    return f"{path} is locked by {blocker.holder}{until}; {advice}"
