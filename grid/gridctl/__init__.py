"""`gridctl`: the grid's tools for agents whose program speaks no MCP. A script of its own, put into the run's HOME."""

from __future__ import annotations

import shlex
from pathlib import Path

from grid import placing

FOLDER = "bin"
"""Below HOME; it leads the PATH of a run that has tools of ours."""
_SCRIPT = Path(__file__).with_name("script.py")
_WRAPPER = """#!/bin/sh
here=$(dirname "$0")
for python in {python} python3 python; do
    if command -v "$python" >/dev/null 2>&1; then
        exec "$python" -I "$here/gridctl.py" "$@"
    fi
done
echo "gridctl: there is no Python here; POST to $AGENTGRID_URL/api/agent/v1/tools/NAME instead" >&2
exit 69
"""


def place(home: Path, *, python: str) -> Path:
    """Put `gridctl` into a run's HOME, whatever lies there; returns the folder for PATH.

    HOME may have been used by the repository's set-up commands already, so no link in it is followed.

    Args:
        home: Of the run; it exists.
        python: Interpreter to try first.
    """
    placing.write(home, f"{FOLDER}/gridctl.py", _SCRIPT.read_bytes())
    placing.write(home, f"{FOLDER}/gridctl", _WRAPPER.format(python=shlex.quote(python)).encode(), mode=0o700)
    return home / FOLDER
