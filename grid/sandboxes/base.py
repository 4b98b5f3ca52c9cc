"""What keeps an agent in: one interface for all backends.

A sandbox turns the command of a phase into the command that the shim starts. Whatever it does happens below the shim, so
stopping, killing and the lease work as without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

from grid import finding
from grid.conf import GridConf
from grid.public_errors import LaunchFailedError
from grid.public_types import Limits

ENFORCEABLE: Mapping[str, str] = {
    "files": "sees its workspace, its HOME, the system's programs and nothing else; writes to the first two and /tmp only",
    "network": "reaches the grid and the hosts that AGENTGRID_EGRESS_ALLOW names, nothing else",
    "pids": "sees and signals its own processes only; all of them end with it",
    "uid": "is not root to itself and holds no capability",
    "proc": "reads nothing of other processes in /proc, and changes no setting of the kernel there",
    "memory": "all its processes together stay below `memory_bytes`",
    "processes": "all its processes together stay below `processes`, or a bound of ours without one",
    "cpu": "gets, when processors are short, for all its processes together what one process of ours gets",
}
"""Everything that a backend may enforce, in words that end `an agent …`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command of an execution, as it would be started without a sandbox."""

    execution_id: UUID
    fence: int
    phase: str
    phase_dir: Path
    """The shim's run directory: ours, not to be shown to the agent."""
    workspace: Path
    home: Path
    objects: Path
    """Of the store: a workspace borrows its objects from there."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    limits: Limits
    settings: GridConf


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What the shim starts instead."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    rlimits: Mapping[str, int] = field(default_factory=dict)
    drop_caps: bool = True
    """Whether the shim takes root's capabilities away; a backend that needs them to build its walls drops them itself."""


class Sandbox(Protocol):
    """One way to keep an agent in."""

    @property
    def name(self) -> str:
        """As in AGENTGRID_SANDBOX and on the execution."""
        ...

    @property
    def enforces(self) -> frozenset[str]:
        """Keys of ENFORCEABLE that hold on this machine."""
        ...

    def available(self, settings: GridConf) -> str:
        """Empty when it works here, else why not and what would help. Really tried, once for each process."""
        ...

    def wrap(self, request: Request) -> Wrapped:
        """Make ready what the command needs, and say what the shim starts.

        Raises:
            LaunchFailedError: It cannot be had; the message names the fix.
        """
        ...


def check_program(request: Request) -> None:
    """Refuse a command whose program is not there. Raises LaunchFailedError, for good: no other attempt finds it."""
    if why := finding.why_missing(request.argv[0], path=request.env.get("PATH", "")):
        raise LaunchFailedError(why, permanent=True)


def rlimits(limits: Limits) -> dict[str, int]:
    """Limits of each process by itself, as the shim sets them."""
    wanted = {"as": limits.memory_bytes, "nproc": limits.processes, "fsize": limits.file_bytes}
    return {"core": 0, **{name: value for name, value in wanted.items() if value}}
