"""Who this host is: a name that survives restarts of the worker, on this machine and state folder only."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from uuid import uuid4

from grid.conf import GridConf
from grid.sandboxes import choosing
from grid.sandboxes.base import ENFORCEABLE


class HostBusyError(RuntimeError):
    """Another `executions` worker serves this state folder."""


def host_name(settings: GridConf) -> str:
    """`<machine>-<8 hex digits>`, made once for each state folder."""
    settings.host_dir.mkdir(parents=True, exist_ok=True)
    path = settings.host_dir / "id"
    try:
        with path.open("x") as file:
            file.write(f"{socket.gethostname().split('.')[0][:48]}-{uuid4().hex[:8]}\n")
    except FileExistsError:
        pass
    return path.read_text().strip()


def lock(settings: GridConf) -> int:
    """Take this state folder for the life of the process; returns the descriptor that holds the lock.

    Raises:
        HostBusyError: Another worker has it.
    """
    settings.host_dir.mkdir(parents=True, exist_ok=True)
    fd = os.open(settings.host_dir / "worker.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise HostBusyError(
            f"another executions worker serves {settings.state_dir}; stop it, or give this one its own AGENTGRID_STATE_DIR"
        ) from error
    return fd


def boot_id() -> str:
    """Changes when the machine boots."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def own_pid() -> int:
    """This process."""
    return os.getpid()


def isolation_note(settings: GridConf) -> str:
    """What operators should know about how agents are kept in here; a warning where they are not."""
    found = choosing.warning(settings)
    if found:
        return f"Warning: {found}"[:500]
    sandbox = choosing.default(settings)
    missing = ", ".join(sorted(ENFORCEABLE.keys() - sandbox.enforces))
    return f"Agents run in the sandbox {sandbox.name}{f'; not enforced here: {missing}' if missing else ''}."
