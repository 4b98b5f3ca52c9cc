"""The first process of a container: takes the agent's streams from the keeper, then is the bridge.

    python3 -I -S inside.py [--door PORT=SOCKET]... --lifeline SOCKET -- PROGRAM [ARGUMENT]...

It is process 1, which the agent can neither kill nor stop, and hides its memory, so that the agent cannot make it let go of the
lifeline either. Standard library only, of the image's own Python (3.10 or later).
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # -I leaves it out

from grid.sandboxes import bridge

PR_SET_DUMPABLE = 4


def take_streams(path: str) -> socket.socket:
    """Connect to the keeper and make its streams ours; the connection is the lifeline from now on."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(path)
    _, fds, _, _ = socket.recv_fds(line, 16, 3)
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
        os.close(fd)
    return line


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    where = sys.argv.index("--lifeline")
    sys.exit(bridge.main([*sys.argv[1:where], *sys.argv[where + 2 :]], lifeline=take_streams(sys.argv[where + 1])))
