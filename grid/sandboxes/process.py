"""No sandbox: the agent is a process of ours, with its own environment and limits of its own, and no walls."""

from __future__ import annotations

from grid.conf import GridConf
from grid.sandboxes.base import Request, Wrapped, check_program, rlimits


class ProcessSandbox:
    """Enforces nothing; what the shim does for every run is in docs/shim.md."""

    name = "process"
    enforces: frozenset[str] = frozenset()

    def available(self, settings: GridConf) -> str:
        """Always."""
        return ""

    def wrap(self, request: Request) -> Wrapped:
        """The command as it is."""
        check_program(request)
        return Wrapped(argv=request.argv, env=request.env, cwd=request.workspace, rlimits=rlimits(request.limits))
