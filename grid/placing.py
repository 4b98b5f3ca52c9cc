"""Put files of ours into a run's folders, whatever lies there.

The repository's set-up commands may have used HOME before, an agent with our user id reaches the folders of its later phases as
well, and what they left there is hostile: no symbolic link is followed, and nothing that is in the way is opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path, PurePosixPath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(root: Path, name: str, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file below a folder; folders on the way are made, what is no folder there is replaced.

    Args:
        root: The folder; it exists and is no link.
        name: Relative path, `/` between its parts.
        data: What it holds.
        mode: Its permissions.

    Raises:
        ValueError: The name leads out of the folder: a bug of the caller.
        OSError: The folder is gone or a link, or the disk is full.
    """
    *folders, last = PurePosixPath(name).parts
    if name.startswith("/") or ".." in (*folders, last):
        raise ValueError(f"no name below a folder: {name!r}")
    fd = os.open(root, _FOLDER)
    try:
        for folder in folders:
            inner = _enter(fd, folder)
            os.close(fd)
            fd = inner
        _remove(fd, last)
        with os.fdopen(os.open(last, _FILE, mode, dir_fd=fd), "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(data)
    finally:
        os.close(fd)


def _enter(fd: int, name: str) -> int:
    """Open a folder inside of another one, made if need be."""
    try:
        return os.open(name, _FOLDER, dir_fd=fd)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
    _remove(fd, name)
    os.mkdir(name, 0o700, dir_fd=fd)
    return os.open(name, _FOLDER, dir_fd=fd)


def _remove(fd: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=fd)
        except IsADirectoryError:
            shutil.rmtree(name, dir_fd=fd)
