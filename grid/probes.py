"""Questions about this machine that `doctor` asks: which git there is, how fast workspaces are made."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

from grid import git, workspaces
from grid.conf import conf
from grid.public_errors import WorkspaceError
from grid.refs import commit_tree

_FILES = 20


def git_version() -> tuple[int, ...]:
    """Version of the git that the grid uses. Raises WorkspaceError when it cannot be run."""
    said = git.run(["version"]).strip()
    found = re.search(r"(\d+(?:\.\d+)+)", said)
    if found is None:
        raise WorkspaceError(f"git does not say which version it is: {said[:100]!r}")
    return tuple(int(part) for part in found[1].split("."))


def workspace_seconds() -> float:
    """Seconds that a workspace of a few files takes where executions work; leaves nothing behind.

    Raises:
        WorkspaceError: Git or the file system refuses.
    """
    try:
        runs = conf().state_dir / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        # Its name is no UUID, so housekeeping takes it for nobody's run.
        with tempfile.TemporaryDirectory(prefix="probe-", dir=runs) as scratch:
            store = Path(scratch) / "store.git"
            base = _tiny_store(store)
            started = time.perf_counter()
            workspaces.create(store=store, path=Path(scratch) / "workspace", base=base, branch="agent/probe")
            return time.perf_counter() - started
    except OSError as error:
        raise WorkspaceError(f"cannot write below {conf().state_dir}: {error}") from error


def _tiny_store(store: Path) -> str:
    """A bare repository with one commit; returns the commit."""
    git.run(["init", "--quiet", "--bare", "--template=", "--initial-branch=none", str(store)])
    blob = git.run(["hash-object", "-w", "--stdin"], git_dir=store, stdin="probe\n").strip()
    listing = "".join(f"100644 blob {blob}\tfile-{number}\n" for number in range(_FILES))
    tree = git.run(["mktree"], git_dir=store, stdin=listing).strip()
    return commit_tree(store, tree, parents=(), message="probe")
