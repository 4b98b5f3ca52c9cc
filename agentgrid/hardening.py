"""What our long-lived processes do to keep their memory to themselves."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def hide_memory() -> bool:
    """Close this process's memory, environment and file descriptors to other processes of the same user.

    Agents may run under our own uid; without this any of them could read our keys from /proc/PID/environ or attach a
    debugger. Forked children inherit it; a program started by exec does not. Core dumps are off from then on.

    Returns:
        Whether the kernel took it; always False off Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
