"""Reading commits of a store: files, differences, lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from grid import git, objects
from grid.git import Command
from grid.public_errors import WorkspaceError
from grid.refs import checked_commit


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file that differs between two commits."""

    path: str
    """Readable: bytes that are not UTF-8 are shown as `\\xNN`."""
    added: int | None
    """Lines; None for a binary file."""
    removed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitInfo:
    """One commit, for people."""

    commit: str
    author: str
    at: datetime
    subject: str


def read_file(store: Path, commit: str, path: str, limit: int = 256 << 10) -> bytes | None:
    """A regular file of a commit; None when there is none. Symbolic links are not followed.

    Raises:
        WorkspaceError: The file is larger than `limit` bytes.
    """
    if not path or path.startswith("/") or ".." in path.split("/"):
        return None
    entry = git.run(["ls-tree", "-z", "--long", checked_commit(commit), "--", path], git_dir=store)
    found = re.match(r"100\d{3} blob ([0-9a-f]{40}) +(\d+)\t", entry)
    if not found or entry[found.end() :] != f"{path}\0":
        return None
    if int(found[2]) > limit:
        raise WorkspaceError(f"{path} has {found[2]} bytes, more than the accepted {limit}")
    content = git.run(["cat-file", "blob", found[1]], git_dir=store, limit=limit)
    return content.encode("utf-8", "surrogateescape")


def diff_stat(store: Path, base: str, head: str) -> list[FileChange]:
    """Files that differ between two commits, with lines added and removed; a moved file is one removed and one added."""
    args = ["diff-tree", "-r", "-z", "--numstat", "--no-renames", checked_commit(base), checked_commit(head)]
    changes = []
    for record in filter(None, git.run(args, git_dir=store).split("\0")):
        added, removed, path = record.split("\t", 2)
        changes.append(FileChange(path=readable(path), added=_count(added), removed=_count(removed)))
    return changes


def changed_paths(store: Path, base: str, head: str) -> list[str]:
    """Of the same files only the paths, read in this process where it can be."""
    try:
        found = objects.changed_files(store, base=checked_commit(base), tip=checked_commit(head))
    except objects.UnusualError:
        return [change.path for change in diff_stat(store, base, head)]
    return [readable(change.path) for change in found]


def diff(store: Path, base: str, head: str, limit: int = 1 << 20) -> str:
    """The difference of two commits as a patch, cut with a mark after `limit` bytes."""
    args = ["diff", "--no-color", "--no-ext-diff", "--no-textconv", checked_commit(base), checked_commit(head)]
    command = Command(args=args, git_dir=store)
    completed = git.execute(command, limit=limit)
    if completed.truncated:
        return f"{readable(completed.output)}\n… cut after {limit} bytes\n"
    return readable(git.checked(command, completed=completed).output)


def patch_of(store: Path, base: str, head: str, paths: Sequence[str], limit: int = 16 << 10) -> str:
    """The difference of two commits in some files, each named exactly, as a patch cut with a mark after `limit` bytes."""
    literal = [f":(literal){path}" for path in paths]
    args = ["diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"]
    command = Command(args=[*args, checked_commit(base), checked_commit(head), "--", *literal], git_dir=store)
    completed = git.execute(command, limit=limit)
    if completed.truncated:
        return f"{readable(completed.output)}\n… cut after {limit} bytes\n"
    return readable(git.checked(command, completed=completed).output)


def commits_between(store: Path, base: str, head: str, limit: int = 100) -> list[CommitInfo]:
    """Commits of `head` that `base` does not have, newest first."""
    args = ["log", f"--max-count={limit}", "--no-show-signature", "--format=%H%x1f%aI%x1f%an%x1f%s"]
    commits = []
    for line in git.run([*args, f"{checked_commit(base)}..{checked_commit(head)}"], git_dir=store).split("\n"):
        if line:
            commit, at, author, subject = readable(line).split("\x1f", 3)
            commits.append(CommitInfo(commit=commit, author=author, at=datetime.fromisoformat(at), subject=subject))
    return commits


def _count(number: str) -> int | None:
    return None if number == "-" else int(number)


def readable(text: str) -> str:
    r"""Text that any database and terminal takes: what was not UTF-8 is shown as `\xNN`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\0")
