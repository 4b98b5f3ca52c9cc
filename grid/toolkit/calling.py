"""One call of a tool with its hooks: before (may answer in the tool's place) → around → the tool → after."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grid.toolkit.tools import Tool

type Proceed = Callable[[], Awaitable[Any]]
"""Goes on with the call: the hooks further in, then the tool. A hook may call it again, or not at all."""


@dataclass(slots=True, kw_only=True)
class ToolCall:
    """A call under way. Hooks may change `arguments` before the tool sees them."""

    id: str
    tool: Tool
    arguments: dict[str, Any]
    context: Any
    """The caller's own: a session of the built-in agent, or who called the grid's tools."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Between hooks of one call."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What `before` returns to answer in the tool's place; `value` goes through `after` like a result of the tool."""

    value: Any


class Hook:
    """A reusable block around tool calls; subclasses override what they need. One object serves one run at a time."""

    name = "hook"

    async def before(self, call: ToolCall) -> Answer | None:
        """Look at a call, change its arguments, refuse it (ToolRefusedError), or answer it: then nothing further in runs."""
        return None

    async def around(self, call: ToolCall, proceed: Proceed) -> Any:
        """Run the call: once, again after a failure, later, or not at all."""
        return await proceed()

    async def after(self, call: ToolCall, result: Any) -> Any:
        """Change what the model is told."""
        return result


async def call(
    tool: Tool, arguments: Mapping[str, Any], *, context: Any, hooks: Sequence[Hook] = (), call_id: str = ""
) -> Any:
    """Call a tool through hooks, the first of them outermost.

    Returns:
        What the tool, or a hook in its place, answered.

    Raises:
        ToolRefusedError: The arguments are wrong, or a hook or the tool refused; its message is for the model.
    """
    under_way = ToolCall(id=call_id, tool=tool, arguments=tool.read(arguments), context=context)
    return await _through(under_way, list(hooks))


async def _through(under_way: ToolCall, hooks: list[Hook]) -> Any:
    if not hooks:
        result = under_way.tool.function(under_way.context, **under_way.arguments)
        return await result if inspect.isawaitable(result) else result
    outer, inner = hooks[0], hooks[1:]
    answer = await outer.before(under_way)
    if answer is not None:
        result = answer.value
    else:
        result = await outer.around(under_way, lambda: _through(under_way, inner))
    return await outer.after(under_way, result)
