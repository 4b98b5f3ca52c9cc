"""The mixins of a run's profile around calls of our tools: those that make sense where the calls come one by one, over HTTP.

The server records every call itself, so `trace` has nothing to add. `retry`, `concurrency` and `file_lock` are about what the
agent does on its own machine. `budget` counts in the database: a run's calls may come to several processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coordinator.toolbox import locking
from coordinator.toolbox.context import Call
from grid import public_events as grid_events
from grid.public_toolkit import Answer, Hook, ToolCall, ToolRefusedError, build

DOOR = "grid"
REQUESTED, RESULT = "tool.requested", "tool.result"
FREE = frozenset({"finish", "report_state", "read_inbox", *locking.NAMES})
"""Work past any limit: an agent must be able to end well."""


class CallBudget(Hook):
    """Refuses calls of our tools beyond a number for the whole run."""

    name = "budget"

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def before(self, call: ToolCall) -> Answer | None:
        """Look at how many there were; this one is among them."""
        if call.tool.name in FREE:
            return None
        context: Call = call.context
        stream = f"execution:{context.caller.execution_id}"
        if grid_events.count_events(stream, kind=REQUESTED, door=DOOR) > self._limit:
            raise ToolRefusedError(
                f"all {self._limit} calls of the grid's tools that this run may make are used; call finish now"
            )
        return None


def hooks_for(profile: Mapping[str, Any]) -> list[Hook]:
    """The hooks of a frozen profile for one call, outermost first."""
    hooks: list[Hook] = []
    for name, options in _entries(profile.get("mixins") or ()):
        if name == "denylist":
            hooks.append(build(name, options))
        elif name == "budget" and isinstance(limit := options.get("tool_calls"), int):
            hooks.append(CallBudget(limit))
    limit = (profile.get("limits") or {}).get("tool_calls")
    return [*hooks, CallBudget(limit)] if isinstance(limit, int) else hooks


def _entries(mixins: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for entry in mixins:
        if isinstance(entry, str):
            yield entry, {}
        else:
            yield from ((name, options or {}) for name, options in entry.items())
