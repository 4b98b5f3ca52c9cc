"""What the tools of one run share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grid.agents.builtin.inbox import Inbox, Message
from grid.agents.builtin.options import Options
from grid.agents.builtin.report import Report
from grid.agents.builtin.workspace import Workspace
from grid.public_types import Outcome
from grid.toolkit.calling import Hook
from grid.toolkit.tools import Tool


@dataclass(slots=True, kw_only=True)
class Session:
    """The state of one run. Mixins and tools see it as the context of each call."""

    options: Options
    workspace: Workspace
    report: Report
    command_env: Mapping[str, str]
    """Environment of commands: the agent's own without keys and tokens."""
    tools: Sequence[Tool] = ()
    hooks: Sequence[Hook] = ()
    """Built from the mixins, outermost first."""
    inbox: Inbox = field(default_factory=Inbox)
    showing: list[Message] = field(default_factory=list)
    """Messages in the request under way; acknowledged when it is answered."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a signal: nothing new is begun."""
    children: list[dict[str, Any]] = field(default_factory=list)
    """Proposals so far, in the shape of `.agentgrid/outcome.json`."""
    outcome: Outcome | None = None
    """Set by the tool `finish`; ends the loop."""
    grid_problem: str = ""
    """Why the last call of a grid tool got no answer; empty when it did."""
    tool_calls: int = 0
    answered: set[str] = field(default_factory=set)
    """Ids of tool calls whose result was reported."""


class StoppedError(Exception):
    """A signal asked the run to end."""
