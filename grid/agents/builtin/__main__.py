"""The built-in agent as a program: `python -I __main__.py OPTIONS.json < prompt`, working in the current directory.

Prints JSON lines (see `report`). Needs nothing of Django and nothing of the workspace: `-I` keeps the working directory
off the module path, and the package is found by this file's own place.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

# Before anything slow: closes /proc/<pid>/environ, memory and descriptors, and the keys in them, to other processes of
# the same user, such as the commands that this agent runs. PR_SET_DUMPABLE is 4.
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from grid.agents.builtin.program import main  # noqa: E402 - needs the path set above

if __name__ == "__main__":
    sys.exit(main(sys.argv))
