"""Tools to call, and a clock that only moves when somebody sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from grid.toolkit import calling
from grid.toolkit.calling import Hook
from grid.toolkit.mixins import Services
from grid.toolkit.tools import Tool, tool


def a_tool(
    function: Callable[..., Any] | None = None, *, name: str = "read_file", effects: Sequence[str] = ("read",)
) -> Tool:
    """A tool with one text argument, `path`."""

    def answer(context: Any, path: str = "a") -> str:
        """Answer with the path."""
        return f"read {path}"

    return tool(function or answer, name=name, description="For tests.", effects=effects, path_arguments=("path",))


def run(tool_: Tool, *hooks: Hook, context: Any = None, **arguments: Any) -> Any:
    """One call to its end."""
    return asyncio.run(calling.call(tool_, arguments, context=context, hooks=hooks, call_id="c1"))


@dataclass
class Clock:
    """Seconds that pass by sleeping alone."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def services(self, **more: Any) -> Services:
        return Services(clock=lambda: self.now, sleep=self.sleep, **more)
