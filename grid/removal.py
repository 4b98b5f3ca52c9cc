"""Deleting directories, and giving them to a user, whatever they hold."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from grid.trees import make_accessible, opened

_REMOVE_PASSES = 20


def chown_tree(root: Path, uid: int, gid: int) -> None:
    """Give a directory with all it holds to a user; links themselves are given, never what they point at."""
    os.chown(root, uid, gid, follow_symlinks=False)
    for _, folders, files, folder_fd in os.fwalk(root, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=folder_fd, follow_symlinks=False)


def remove(path: Path) -> bool:
    """Delete a file or a directory with whatever it holds; never raises.

    Depth does not matter: every directory found is first moved up beside the others, so that two descriptors are enough.

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
    for _ in range(_REMOVE_PASSES):
        try:
            with _entered(path.name, path.parent) as root_fd:
                _empty(root_fd)
            path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
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


def _empty(root_fd: int) -> None:
    """Remove what a directory holds, except what cannot be removed."""
    number, mark = 0, os.urandom(4).hex()
    with os.scandir(root_fd) as entries:
        pending = [entry.name for entry in entries]
    while pending:
        name = pending.pop()
        try:
            os.unlink(name, dir_fd=root_fd)
            continue
        except FileNotFoundError:
            continue
        except OSError:
            pass
        with contextlib.suppress(OSError), _entered(name, root_fd) as folder_fd:
            with os.scandir(folder_fd) as entries:
                inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for child, is_folder in inside:
                if not is_folder:
                    with contextlib.suppress(OSError):
                        os.unlink(child, dir_fd=folder_fd)
                    continue
                # A directory is only moved when it is writable itself, for its `..` changes.
                make_accessible(child, folder_fd, 0o700)
                number += 1
                lifted = f".removing-{mark}-{number}"
                with contextlib.suppress(OSError):
                    os.rename(child, lifted, src_dir_fd=folder_fd, dst_dir_fd=root_fd)
                    pending.append(lifted)
            os.rmdir(name, dir_fd=root_fd)
