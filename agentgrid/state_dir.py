"""The state folder belongs to one supervisor at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class AlreadyRunningError(Exception):
    """Another supervisor works on this state folder."""


def lock_state_dir(folder: Path) -> int:
    """Make this process the only supervisor of the folder until it ends.

    Returns:
        A file descriptor to keep; the kernel frees the lock with the process, however it ends.

    Raises:
        AlreadyRunningError: Names the pid of the other one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise AlreadyRunningError(
            f"`up` already runs on {folder} as pid {pid}: stop it, or set AGENTGRID_STATE_DIR to another folder"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
