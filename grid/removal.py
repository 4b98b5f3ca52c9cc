"""Deleting directories, and giving them to a user, whatever they hold."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from grid.trees import make_accessible, opened

_REMOVE_PASSES = 20
_MAX_DEPTH = 100


def chown_tree(root: Path, uid: int, gid: int) -> None:
    """Give a directory with all it holds to a user; links themselves are given, never what they point at."""
    os.chown(root, uid, gid, follow_symlinks=False)
    for _, folders, files, folder_fd in os.fwalk(root, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=folder_fd, follow_symlinks=False)


def remove(path: Path) -> bool:
    """Delete a file or a directory with whatever it holds; never raises.

    Depth does not matter: directories deeper than a hundred levels are first moved up to the root, so that neither
    descriptors nor the stack run out.

    Returns:
        Whether it is gone. False when something keeps writing to it or we lack the right.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return True
    except FileNotFoundError:
        return True
    except OSError:
        return False
    failures = 0
    while failures < _REMOVE_PASSES:
        lifted = False
        try:
            with _entered(path.name, path.parent) as root_fd:
                lifted = _empty(root_fd, root_fd)
            path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            # Passes that brought a deep tree up are progress, whatever their number.
            failures += not lifted
            continue
        return True
    return False


@contextlib.contextmanager
def _entered(name: str, parent: Path | int) -> Iterator[int]:
    """A descriptor of a directory that is about to be emptied, made writable for us."""
    with contextlib.ExitStack() as stack:
        parent_fd = parent if isinstance(parent, int) else stack.enter_context(opened(parent))
        make_accessible(name, parent_fd, 0o700)
        yield stack.enter_context(opened(name, within=parent_fd))


def _empty(folder_fd: int, root_fd: int, *, depth: int = 0) -> bool:
    """Remove what a directory holds, except what cannot be removed; True when something was moved up to the root."""
    lifted = False
    with os.scandir(folder_fd) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        try:
            os.unlink(name, dir_fd=folder_fd)
            continue
        except OSError:
            # Mostly a directory; for the rest, what follows fails too.
            pass
        with contextlib.suppress(OSError):
            if depth == _MAX_DEPTH:
                # Moving a directory changes its `..`, for which it must be writable itself.
                make_accessible(name, folder_fd, 0o700)
                os.rename(name, f".removing-{os.urandom(6).hex()}", src_dir_fd=folder_fd, dst_dir_fd=root_fd)
                lifted = True
                continue
            with _entered(name, folder_fd) as inner_fd:
                lifted |= _empty(inner_fd, root_fd, depth=depth + 1)
            os.rmdir(name, dir_fd=folder_fd)
    return lifted
