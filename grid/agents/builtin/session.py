"""What the tools of one run share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grid.agents.builtin.options import Options
from grid.agents.builtin.report import Report
from grid.agents.builtin.workspace import Workspace
from grid.public_types import Outcome


@dataclass(slots=True, kw_only=True)
class Session:
    """The state of one run."""

    options: Options
    workspace: Workspace
    report: Report
    command_env: Mapping[str, str]
    """Environment of commands: the agent's own without the model's keys."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a signal: nothing new is begun."""
    children: list[dict[str, Any]] = field(default_factory=list)
    """Proposals so far, in the shape of `.agentgrid/outcome.json`."""
    outcome: Outcome | None = None
    """Set by the tool `finish`; ends the loop."""
    tool_calls: int = 0
    answered: set[str] = field(default_factory=set)
    """Ids of tool calls whose result was reported."""


class StoppedError(Exception):
    """A signal asked the run to end."""
