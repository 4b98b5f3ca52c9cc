"""The ACP client as a program: `python -I __main__.py CONFIG.json < prompt`, working in the current directory.

It starts an agent that speaks the Agent Client Protocol, gives it the prompt, decides what it may do and prints every update
of the session as a JSON line. Needs nothing of Django and nothing of the workspace: `-I` keeps the working directory off
the module path, and the package is found by this file's own place.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from grid.agents.acp_client.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
