"""Every tool that the grid offers, by name."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.rules.capability import Capability
from coordinator.toolbox import conflicts, ending, family, library, locking, planning, rights, talk
from grid.public_toolkit import Tool, tool

_GRID, _READ = ("grid",), ("read",)

TOOLS: Mapping[str, Tool] = {
    item.name: item
    for item in (
        tool(family.spawn_agents, effects=_GRID),
        tool(family.get_children, effects=_READ),
        tool(family.nudge, effects=_GRID),
        tool(family.report_state, effects=_GRID),
        tool(talk.send_message, effects=_GRID),
        tool(talk.open_thread, effects=_GRID),
        tool(talk.read_inbox, effects=_READ),
        tool(locking.acquire_lock, effects=_GRID),
        tool(locking.release_lock, effects=_GRID),
        tool(locking.list_locks, effects=_READ),
        tool(library.list_prompts, effects=_READ),
        tool(library.get_prompt, effects=_READ),
        tool(library.save_prompt, effects=_GRID),
        tool(library.list_toolsets, effects=_READ),
        tool(rights.request_upgrade, effects=_GRID),
        tool(rights.answer_upgrade, effects=_GRID),
        tool(conflicts.list_conflicts, effects=_READ),
        tool(conflicts.resolve_conflict, effects=_GRID),
        tool(planning.get_plan, effects=_READ),
        tool(planning.update_plan, effects=_GRID),
        tool(ending.finish, effects=_GRID),
    )
}


def allowed(capability: Capability) -> list[Tool]:
    """The tools that a capability holds, in the order in which they are shown."""
    return [item for name, item in TOOLS.items() if name in capability.tools]
