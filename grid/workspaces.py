"""Workspaces: the clones that agents work in, and the checkouts in which their work is tried.

Each is what `git clone --shared` would make of the store (own `.git`, borrowed objects), laid out by hand because that
takes half the time: two git processes fewer, no copying of refs. There is no remote, so that a plain `git push` has
nowhere to go. All functions raise WorkspaceError when git or the file system refuses.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from grid import git, removal
from grid.harvest import Harvest, harvest, trusted_index
from grid.public_errors import WorkspaceError
from grid.refs import checked_branch, checked_commit
from grid.removal import chown_tree

__all__ = ["Harvest", "checkout", "chown_tree", "create", "harvest", "remove"]

_CONFIG = f"""\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = false
	logallrefupdates = true
[gc]
	auto = 0
[user]
	name = {git.NAME}
	email = {git.EMAIL}
"""
# The outcome file and its folder are for us; without this line every `git add -A` of an agent would commit them.
_EXCLUDE = "/.agentgrid/\n"
_CHECKOUT_SECONDS = 600
_TICK_ATTEMPTS = 40


def create(*, store: Path, path: Path, base: str, branch: str, uid_gid: tuple[int, int] | None = None) -> None:
    """Make an agent's workspace at commit `base`, on the branch `branch`.

    It appears at `path` complete or not at all. With `uid_gid` it belongs to that user, who must be able to read the
    store; this needs root.

    Raises:
        WorkspaceError: `path` exists, or the store does not hold `base`.
    """
    checked_branch(branch)
    if os.path.lexists(path):
        raise WorkspaceError(f"{path} exists already; remove it first")
    refs = {f"refs/heads/{branch}": base}
    fresh = _lay_out(store, path, commit=base, head=f"ref: refs/heads/{branch}", refs=refs, uid_gid=uid_gid)
    # The harvest compares the work tree with this copy, never with the index that the agent can write.
    try:
        shutil.copyfile(fresh / ".git" / "index", trusted_index(path))
        _outlive(fresh / ".git" / "index", trusted_index(path))
        fresh.rename(path)
    except OSError as error:
        remove(fresh)
        raise WorkspaceError(f"cannot make the workspace {path}: {error}") from error


def checkout(*, store: Path, path: Path, commit: str, uid_gid: tuple[int, int] | None = None) -> None:
    """Make a fresh work tree at a commit, with a detached HEAD; what was at `path` before is removed.

    Raises:
        WorkspaceError: The store does not hold `commit`, or `path` cannot be cleared.
    """
    fresh = _lay_out(store, path, commit=commit, head=commit, refs={}, uid_gid=uid_gid)
    if not remove(path):
        remove(fresh)
        raise WorkspaceError(f"cannot remove {path}, something still writes to it; end it and try again")
    try:
        fresh.rename(path)
    except OSError as error:
        remove(fresh)
        raise WorkspaceError(f"cannot make the checkout {path}: {error}") from error


def remove(path: Path) -> bool:
    """Delete a workspace, a checkout or any other directory, with whatever an agent left in it; never raises.

    Returns:
        Whether it is gone. False when something keeps writing to it or we lack the right; try again later.
    """
    removal.remove(trusted_index(path))
    return removal.remove(path)


def _outlive(index: Path, copy: Path) -> None:
    """Wait for the file system's next clock tick, 4 ms or less, so that whatever the agent changes is later than the copy.

    The harvest relies on it to tell a file of ours from one that was changed at once (`trees.survey`). On a file system
    with a coarse clock the copy stays as old as the files are, which only costs the harvest time.
    """
    written = index.stat().st_mtime_ns
    for _ in range(_TICK_ATTEMPTS):
        os.utime(copy)
        if copy.stat().st_mtime_ns > written:
            return
        time.sleep(0.0005)
    os.utime(copy, ns=(written, written))


def _lay_out(
    store: Path, path: Path, *, commit: str, head: str, refs: dict[str, str], uid_gid: tuple[int, int] | None
) -> Path:
    """Make a complete work tree under a name of its own beside `path` and return that name."""
    fresh = path.with_name(f".{path.name}.new")
    if not removal.remove(fresh):
        raise WorkspaceError(f"cannot remove {fresh}, the rest of an earlier attempt; remove it by hand")
    git_dir = fresh / ".git"
    files = {
        "HEAD": f"{head}\n",
        "config": _CONFIG,
        "info/exclude": _EXCLUDE,
        "objects/info/alternates": f"{(store / 'objects').resolve()}\n",
        **{ref: f"{at}\n" for ref, at in refs.items()},
    }
    try:
        for folder in ("objects/info", "objects/pack", "info", "refs/heads/agent", "refs/tags"):
            (git_dir / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (git_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (git_dir / name).write_text(text)
        if uid_gid is not None:
            chown_tree(fresh, *uid_gid)
        # Run as the agent's user, every file is its own from the start; a chown afterwards would make the index stale.
        git.run(
            ["read-tree", "-m", "-u", checked_commit(commit)],
            git_dir=git_dir,
            work_tree=fresh,
            owner=uid_gid,
            timeout=_CHECKOUT_SECONDS,
        )
    except OSError as error:
        remove(fresh)
        raise WorkspaceError(f"cannot make {path}: {error}") from error
    except WorkspaceError:
        remove(fresh)
        raise
    return fresh
