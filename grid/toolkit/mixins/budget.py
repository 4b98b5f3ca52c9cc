"""Limits the tool calls and the time of one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from grid.toolkit.calling import Answer, Hook, ToolCall
from grid.toolkit.errors import ToolRefusedError
from grid.toolkit.mixins.services import Services
from grid.toolkit.sources import Strict

ALWAYS = frozenset({"finish", "report_state"})
"""Tools that tell how it went: they cost nothing and work past the limit."""


class Options(Strict):
    """At least one of the two limits."""

    tool_calls: Annotated[int, Field(ge=0, le=100_000)] | None = None
    seconds: Annotated[float, Field(gt=0, le=86_400, strict=False)] | None = None
    """From the first call."""
    warn_percent: Annotated[int, Field(ge=1, le=100)] = 80

    @model_validator(mode="after")
    def _says_something(self) -> Options:
        if self.tool_calls is None and self.seconds is None:
            raise ValueError("give 'tool_calls', 'seconds', or both")
        return self


class Budget(Hook):
    """Refuses calls past a limit, and says so in the next result when most of it is used."""

    name = "budget"

    def __init__(self, options: Options, services: Services) -> None:
        self._options, self._clock = options, services.clock
        self._calls = 0
        self._begun: float | None = None
        self._warned: set[str] = set()

    async def before(self, call: ToolCall) -> Answer | None:
        """Count the call, or refuse it."""
        if call.tool.name in ALWAYS:
            return None
        for what, used, limit in self._state():
            if used >= limit:
                raise ToolRefusedError(f"the budget of {limit:g} {what} is used up; call finish now with what you have")
        self._calls += 1
        return None

    async def after(self, call: ToolCall, result: Any) -> Any:
        """Add a warning, once for each limit, to a result that has room for one."""
        near = {
            what: f"{used:.0f} of {limit:g} {what} are used; come to an end and call finish"
            for what, used, limit in self._state()
            if used * 100 >= limit * self._options.warn_percent and what not in self._warned
        }
        if not near or call.tool.name in ALWAYS:
            return result
        note = "; ".join(near.values())
        if isinstance(result, str):
            noted: Any = f"{result}\n\n[budget: {note}]"
        elif isinstance(result, Mapping) and "budget" not in result:
            noted = {**result, "budget": note}
        else:
            return result
        self._warned |= near.keys()
        return noted

    def _state(self) -> list[tuple[str, float, float]]:
        """What is limited, how much of it is used, and the limit."""
        found: list[tuple[str, float, float]] = []
        if self._options.tool_calls is not None:
            found.append(("tool calls", self._calls, self._options.tool_calls))
        if self._options.seconds is not None:
            now = self._clock()
            self._begun = now if self._begun is None else self._begun
            found.append(("seconds", now - self._begun, self._options.seconds))
        return found
