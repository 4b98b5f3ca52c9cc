"""Tells a recorder about every call: name, duration, success."""

from __future__ import annotations

from typing import Any

from grid.toolkit.calling import Hook, Proceed, ToolCall
from grid.toolkit.mixins.services import Services
from grid.toolkit.sources import Strict


class Options(Strict):
    """There is nothing to choose."""


class Trace(Hook):
    """Records calls that went through; what a hook further out answered or refused is not seen here."""

    name = "trace"

    def __init__(self, options: Options, services: Services) -> None:
        self._services = services

    async def around(self, call: ToolCall, proceed: Proceed) -> Any:
        """Run the call and record how it went, whatever happens."""
        begun, ok = self._services.clock(), False
        try:
            result = await proceed()
            ok = True
        finally:
            milliseconds = round((self._services.clock() - begun) * 1000)
            self._services.record({"name": call.tool.name, "id": call.id, "ok": ok, "ms": milliseconds})
        return result
