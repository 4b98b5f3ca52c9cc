"""`gridctl`: the grid's tools for agents whose program speaks no MCP. A script of its own, put into the run's HOME."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from pathlib import Path

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
    folder = home / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        with contextlib.suppress(FileNotFoundError):
            folder.unlink()
        folder.mkdir(mode=0o700)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _write(fd, "gridctl.py", _SCRIPT.read_bytes(), mode=0o600)
        _write(fd, "gridctl", _WRAPPER.format(python=shlex.quote(python)).encode(), mode=0o700)
    finally:
        os.close(fd)
    return folder


def _write(folder_fd: int, name: str, data: bytes, *, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=folder_fd)
        except IsADirectoryError:
            shutil.rmtree(name, dir_fd=folder_fd)
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder_fd)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
