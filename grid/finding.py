"""Whether the program of an agent is on this machine. Looks at the disk, starts nothing."""

from __future__ import annotations

import os
import shutil


def why_missing(program: str, *, path: str) -> str:
    """What is wrong with a program's name, in words that name the fix; empty when it can be found.

    A path that begins in the workspace, such as `./agent.sh`, is not looked at: the run's own commands may put it there.

    Args:
        program: First word of a command.
        path: The agent's PATH.
    """
    if os.sep in program and not program.startswith(os.sep):
        return ""
    if shutil.which(program, path=path or os.defpath):
        return ""
    return f"there is no program {program[:200]!r} on this machine; install it in a folder of AGENTGRID_AGENT_PATH"
