"""Names of branches and commits, making commits, and moving refs by compare and swap."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

from grid import git, objects
from grid.git import Command, Completed
from grid.public_errors import WorkspaceError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOCKED = re.compile(r"Unable to create '(?P<path>[^']+\.lock)': File exists")
_STALE_LOCK_SECONDS = 10
"""Git holds the lock of a ref for milliseconds."""


def branch_name(issue_key: str, title: str) -> str:
    """`agent/<key>-<slug>`: readable, and valid for git whatever the title is.

    A key that cannot be spelled in a branch name keeps apart from its look-alikes by a short hash.
    """
    key = _slug(issue_key, length=40)
    if key != issue_key:
        key = "-".join(filter(None, (key, hashlib.sha256(issue_key.encode("utf-8", "replace")).hexdigest()[:8])))
    slug = _slug(title, length=48)
    return f"agent/{key}-{slug}" if slug else f"agent/{key}"


def _slug(text: str, *, length: int) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:length].strip("-")


def is_commit_id(text: str) -> bool:
    """Whether this is a full commit id: 40 hex digits."""
    return _COMMIT.fullmatch(text) is not None


def checked_commit(commit: str) -> str:
    """Return `commit` if it is a full commit id, so that no option or expression can hide in it."""
    if not is_commit_id(commit):
        raise WorkspaceError(f"{commit!r} is not a commit id of 40 hex digits")
    return commit


def checked_branch(branch: str) -> str:
    """Return `branch` if git would take it, judged by `git check-ref-format`'s rules."""
    bad = re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-./]|[./]$|^@$", branch)
    if bad or not branch or len(branch) > 200:
        raise WorkspaceError(f"{branch[:200]!r} is not a valid branch name")
    return branch


def head(store: Path, ref: str) -> str:
    """Commit that a ref (in full, `refs/…`) or a commit id names; empty when there is none."""
    loose = store / ref
    if ref.startswith("refs/") and ".." not in ref:  # a file as a rule, and read in no time
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = loose.read_text().strip()
            if is_commit_id(text):
                return text
        if not loose.exists():
            return _packed(store, ref)
    command = Command(args=["rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"], git_dir=store)
    completed = git.execute(command)
    return completed.output.strip() if completed.ok else ""


def _packed(store: Path, ref: str) -> str:
    """Commit of a ref that has no file of its own; packed after that file was looked for, it would be missed but once."""
    try:
        lines = (store / "packed-refs").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    found = next((line for line in lines if line.endswith(f" {ref}")), "")
    return found[:40] if is_commit_id(found[:40]) else ""


def has_commit(store: Path, commit: str) -> bool:
    """Whether the store holds this commit (40 hex digits)."""
    return is_commit_id(commit) and head(store, commit) == commit


def set_ref(store: Path, ref: str, new: str, expected_old: str | None) -> bool:
    """Move any ref by compare and swap (`expected_old` empty: create, None: whatever it was); False when it stood elsewhere."""
    checked_commit(new)
    with contextlib.suppress(objects.UnusualError):
        return objects.swap_ref(store, ref, new, expected_old)
    args = ["update-ref", "--no-deref", ref, new]
    if expected_old is not None:
        args.append(expected_old or git.NO_COMMIT)
    command = Command(args=args, git_dir=store)
    completed = execute_past_locks(command, store=store)
    if not completed.ok and expected_old is not None and head(store, ref) != expected_old:
        return False
    git.checked(command, completed=completed)
    return True


def execute_past_locks(command: Command, *, store: Path, timeout: float = 60) -> Completed:
    """Run a command that moves refs; see `past_locks`."""
    return past_locks(lambda: git.execute(command, timeout=timeout), store=store)


def past_locks(attempt: Callable[[], Completed], *, store: Path) -> Completed:
    """Run what moves refs until no lock is in its way, removing those of a git that was killed.

    Nobody else would remove such a lock, and the ref could never move again.
    """
    deadline = time.monotonic() + _STALE_LOCK_SECONDS + 2
    while True:
        completed = attempt()
        found = None if completed.ok else _LOCKED.search(completed.errors)
        if found is None or time.monotonic() > deadline:
            return completed
        _remove_if_stale(Path(found["path"]), store)
        time.sleep(0.05)


def _remove_if_stale(lock: Path, store: Path) -> None:
    with contextlib.suppress(OSError):
        age = time.time() - lock.stat().st_mtime  # noqa: TID251 - compared with the file system's clock
        if age > _STALE_LOCK_SECONDS and lock.resolve().is_relative_to(store.resolve()):
            lock.unlink()


def commit_tree(store: Path, tree: str, *, parents: tuple[str, ...], message: str) -> str:
    """Write a commit made by the grid itself and return its id; moves no ref."""
    args = ["commit-tree", tree, "-F", "-"]
    for parent in parents:
        args += ["-p", parent]
    text = message.replace("\0", "").encode("utf-8", "replace").decode().strip() or "Work of an agent"
    return git.run(args, git_dir=store, stdin=f"{text}\n").strip()
