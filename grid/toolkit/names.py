"""Names of the tools that there are, and guesses at what somebody meant. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LOCAL_TOOLS = (
    "list_files",
    "read_file",
    "write_file",
    "edit_file",
    "run_command",
    "propose_children",
    "finish",
)
"""Tools that work in the workspace, by our names; each adapter translates them."""
GRID_TOOLS = (
    "get_children",
    "spawn_agents",
    "nudge",
    "report_state",
    "read_inbox",
    "send_message",
    "open_thread",
    "acquire_lock",
    "release_lock",
    "list_locks",
    "list_prompts",
    "get_prompt",
    "save_prompt",
    "list_toolsets",
    "request_upgrade",
    "answer_upgrade",
    "list_conflicts",
    "resolve_conflict",
    "get_plan",
    "update_plan",
    "finish",
)
"""Tools of the grid, over MCP or REST. `finish` is in both lists: it is one right, and each agent gets one such tool."""
KNOWN_TOOLS = frozenset(LOCAL_TOOLS) | frozenset(GRID_TOOLS)


def split(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Local tools and tools of the grid among some names, each in the order of the lists above."""
    wanted = set(names)
    return (
        tuple(name for name in LOCAL_TOOLS if name in wanted),
        tuple(name for name in GRID_TOOLS if name in wanted),
    )


def hint(word: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown word."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(names) or 'none'}"
