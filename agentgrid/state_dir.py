"""The state folder belongs to one user, and to one supervisor at a time.

Prompts, events, sessions and password hashes lie in it: only its owner gets in, which closes everything below it. There is
no umask beside that: pushes into people's repositories, workspaces and what a container reads of the store keep usual modes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from django.conf import settings

_OTHERS = 0o077


class AlreadyRunningError(Exception):
    """Another supervisor works on this state folder."""


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; one that exists stays as it is.

    Does nothing where it cannot be made: whoever needs it will say so, and not every process does.
    """
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file that only its owner may read, unless there is one; SQLite gives its other files the same mode."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def check_modes() -> list[str]:
    """What other users of this machine may look into, and the remedy; a sentence each, for `doctor`."""
    database = settings.DATABASES["default"]
    file = Path(database["NAME"]) if database["ENGINE"].endswith("sqlite3") else None
    return open_to_others(folder=settings.STATE_DIR, database=file)


def open_to_others(*, folder: Path, database: Path | None) -> list[str]:
    """The same of a state folder and the file of a database; None: it is kept by a server."""
    looked_at = [(folder, "700", "prompts, events and runs")]
    if database is not None and folder not in database.parents:
        looked_at.append((database, "600", "password hashes, sessions and prompts"))
    return [
        f"{path} is open to other users, who find {what} there: run `chmod {mode} {path}`"
        for path, mode, what in looked_at
        if path.exists() and path.stat().st_mode & _OTHERS
    ]


def lock_state_dir(folder: Path) -> int:
    """Make this process the only supervisor of the folder until it ends.

    Returns:
        A file descriptor to keep; the kernel frees the lock with the process, however it ends.

    Raises:
        AlreadyRunningError: Names the pid of the other one.
    """
    make_private(folder)
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
