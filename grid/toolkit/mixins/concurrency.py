"""Lets only so many calls run at once."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field, model_validator

from grid.toolkit.calling import Hook, Proceed, ToolCall
from grid.toolkit.mixins.services import Services
from grid.toolkit.sources import Strict

_Number = Annotated[int, Field(ge=1, le=1_000)]


class Options(Strict):
    """At least one of the two."""

    limit: _Number | None = None
    """Calls of all tools together."""
    tools: Annotated[dict[str, _Number], Field(max_length=50)] = {}
    """Calls of one tool."""

    @model_validator(mode="after")
    def _says_something(self) -> Options:
        if self.limit is None and not self.tools:
            raise ValueError("give 'limit', a number for all tools, or 'tools', a number for each")
        return self


class Concurrency(Hook):
    """Calls over the limit wait their turn."""

    name = "concurrency"

    def __init__(self, options: Options, services: Services) -> None:
        self._all = asyncio.Semaphore(options.limit) if options.limit else None
        self._each = {name: asyncio.Semaphore(limit) for name, limit in options.tools.items()}

    async def around(self, call: ToolCall, proceed: Proceed) -> Any:
        """Wait for a place of the tool, then for one of all; in this order, so that nobody waits with a common place taken."""
        gates = [gate for gate in (self._each.get(call.tool.name), self._all) if gate is not None]
        for number, gate in enumerate(gates):
            try:
                await gate.acquire()
            except BaseException:
                for taken in gates[:number]:
                    taken.release()
                raise
        try:
            return await proceed()
        finally:
            for gate in gates:
                gate.release()
