"""Tries a call again that failed for a reason that may pass."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from grid.toolkit.calling import Hook, Proceed, ToolCall
from grid.toolkit.errors import ToolUnavailableError
from grid.toolkit.mixins.services import Services
from grid.toolkit.sources import Strict


class Options(Strict):
    """How often and for which tools."""

    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """All of them, the first included."""
    wait_seconds: Annotated[float, Field(ge=0, le=60, strict=False)] = 1.0
    """Before the second attempt; it doubles each time, up to 30 s."""
    also: Annotated[tuple[str, ...], Field(max_length=50, strict=False)] = ()
    """Tools that are tried again although they change something."""


class Retry(Hook):
    """Tries again after ToolUnavailableError and errors of the system; a refusal is final, and so is a fault of ours.

    Tools that write, execute, or change something in the grid are left alone unless named: nobody knows whether the
    attempt that failed had its effect.
    """

    name = "retry"

    def __init__(self, options: Options, services: Services) -> None:
        self._options, self._services = options, services

    async def around(self, call: ToolCall, proceed: Proceed) -> Any:
        """Run the call until it works, is refused, or the attempts are used up."""
        if call.tool.name not in self._options.also and not call.tool.is_repeatable:
            return await proceed()
        wait = self._options.wait_seconds
        for _ in range(self._options.attempts - 1):
            try:
                return await proceed()
            except (ToolUnavailableError, OSError):  # time-outs are among the latter
                pass
            await self._services.sleep(wait)
            wait = min(wait * 2, 30.0)
        return await proceed()
