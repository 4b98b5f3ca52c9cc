"""Carrying the conversation of a stopped run over into the next one, where the agent's program can take it up.

Files of an agent's HOME were written by somebody we do not trust: no link is followed, nothing but a regular file of bounded
size is read, and what is in it is only ever given to the same agent's next run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from grid import placing
from grid.agents.resuming import KEEPING, Keeping

MAX_BYTES = 64 << 20
"""A longer conversation is not carried over: the run begins a new one."""
KEPT = "conversation"
"""Folder in a run's directory that survives its HOME."""
_MAX_ENTRIES = 2_000
_MAX_DEPTH = 6
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def keep(run_dir: Path, *, adapter: str) -> bool:
    """Save a run's last conversation from its HOME, which is about to go; whether there was one."""
    keeping = KEEPING.get(adapter)
    found = _newest(run_dir / "home", keeping) if keeping else None
    if keeping is None or found is None:
        return False
    (run_dir / KEPT).mkdir(mode=0o700, exist_ok=True)
    placing.write(run_dir / KEPT, f"{keeping.folder}/{found[0]}", found[1])
    return True


def carry(before: Path, home: Path, *, adapter: str, workspace: Path) -> str:
    """Put the conversation of an earlier run of the same agent into a new HOME.

    Args:
        before: Directory of the earlier run; it may be gone.
        home: Of the new run.
        adapter: Of both.
        workspace: Of the new run.

    Returns:
        What the program calls it; empty when there is none that can be used.
    """
    keeping = KEEPING.get(adapter)
    found = _newest(before / KEPT, keeping) if keeping else None
    if keeping is None or found is None:
        return ""
    name, data = found
    placing.write(home, str(keeping.place(name, workspace)), data)
    match = keeping.name.fullmatch(name.name)
    return match["id"] if match else ""


def _newest(root: Path, keeping: Keeping) -> tuple[PurePosixPath, bytes] | None:
    """The conversation written to last: its name below the program's folder, and what is in it."""
    place = PurePosixPath(keeping.folder)
    best: tuple[int, PurePosixPath] | None = None
    for name, found in _files(root, place):
        if keeping.name.fullmatch(name.name) and (best is None or found.st_mtime_ns > best[0]):
            best = (found.st_mtime_ns, name)
    if best is None:
        return None
    data = _read(root, place / best[1])
    return (best[1], data) if data else None


def _files(root: Path, place: PurePosixPath) -> Iterator[tuple[PurePosixPath, os.stat_result]]:
    """Regular files below a folder, and what the file system says of them; no link is entered.

    Names are counted as they come, those of folders too: no maze holds up the host, and none is in its memory as a whole.
    """
    seen, todo = 0, [PurePosixPath()]
    while todo:
        below = todo.pop()
        try:
            fd = _descend(root, place / below, _FOLDER)
        except OSError:
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    seen += 1
                    if seen > _MAX_ENTRIES:
                        return
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode) and len(below.parts) < _MAX_DEPTH:
                        todo.append(below / entry.name)
                    elif stat.S_ISREG(found.st_mode):
                        yield below / entry.name, found
        except OSError:  # it goes away while it is read
            continue
        finally:
            os.close(fd)


def _read(root: Path, name: PurePosixPath) -> bytes | None:
    """A file below a folder, up to its last whole line; None for anything else than a regular one of bounded size."""
    try:
        fd = _descend(root, name, _FILE)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= MAX_BYTES:
            return None
        data = file.read(MAX_BYTES + 1)
    # A program that was killed while it wrote leaves a torn line, with which it would not begin again.
    return data[: data.rfind(b"\n") + 1] if len(data) <= MAX_BYTES else None


def _descend(root: Path, name: PurePosixPath, flags: int) -> int:
    """Open what a name leads to, entering folder by folder: any of them may have become a link meanwhile."""
    fd = os.open(root, _FOLDER)
    *folders, last = name.parts
    try:
        for folder in folders:
            inner = os.open(folder, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        return os.open(last, flags, dir_fd=fd)
    finally:
        os.close(fd)
