"""Commits, trees and refs of trusted repositories, read in this process through libgit2.

A git process costs as much as everything else that a short run asks of the store. What is read here has been checked by
git when it came in, and everything has a bound: a few kilobytes of nested trees can unfold into billions of files. Who
gets an `UnusualError` asks git itself, which knows all cases and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pygit2
from pygit2.enums import FileMode, ObjectType, ReferenceType, SortMode

from grid.public_errors import WorkspaceError

_COMMITS_MAX = 500_000
_MESSAGES_MAX = 10_000
_ENTRIES_MAX = 1_000_000
FAULTS = (pygit2.GitError, KeyError, ValueError, OSError)
"""What libgit2 raises about a repository that it does not like."""


class UnusualError(Exception):
    """Not decided here: a lock, another owner, a missing object, a kind of repository that libgit2 does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What one commit has and another has not."""

    commits: int
    has_merge: bool
    descends: bool
    """Whether the other is an ancestor."""


def head_branch(source: Path) -> str:
    """The branch that HEAD of a repository on this machine names.

    Raises:
        UnusualError: There is no commit on it, HEAD names no branch, or libgit2 does not open the repository.
    """
    try:
        repository = pygit2.Repository(str(source))
        name = repository.lookup_reference("HEAD").target
        if not isinstance(name, str) or not name.startswith("refs/heads/") or repository.head_is_unborn:
            raise UnusualError("HEAD is detached, or on a branch without a commit")
    except FAULTS as error:
        raise UnusualError(str(error)) from error
    return name.removeprefix("refs/heads/")


def compare(store: Path, *, tip: str, base: str) -> Ahead:
    """The commits of `tip` that `base` lacks.

    Raises:
        UnusualError: An object is missing or broken, or there are more than half a million.
    """
    try:
        repository = pygit2.Repository(str(store))
        walk = repository.walk(pygit2.Oid(hex=tip))
        walk.hide(pygit2.Oid(hex=base))
        count, has_merge = 0, False
        for commit in walk:
            count += 1
            has_merge = has_merge or len(commit.parent_ids) > 1
            if count > _COMMITS_MAX:
                raise UnusualError(f"more than {_COMMITS_MAX} commits")
        descends = repository.descendant_of(pygit2.Oid(hex=tip), pygit2.Oid(hex=base))
    except FAULTS as error:
        raise UnusualError(str(error)) from error
    return Ahead(commits=count, has_merge=has_merge, descends=descends)


def messages(store: Path, *, tip: str, known: Sequence[str]) -> dict[str, str]:
    """The whole message of each commit of `tip` that none of the known ones has, by commit.

    Raises:
        UnusualError: An object is missing, or there are more than ten thousand.
    """
    found: dict[str, str] = {}
    try:
        repository = pygit2.Repository(str(store))
        walk = repository.walk(pygit2.Oid(hex=tip))
        for commit_id in known:
            walk.hide(pygit2.Oid(hex=commit_id))
        for commit in walk:
            found[str(commit.id)] = commit.raw_message.decode("utf-8", "replace")
            if len(found) > _MESSAGES_MAX:
                raise UnusualError(f"more than {_MESSAGES_MAX} commits")
    except FAULTS as error:
        raise UnusualError(str(error)) from error
    return found


def has_commit(store: Path, commit: str) -> bool:
    """Whether a repository holds this commit. Raises UnusualError when it cannot be read."""
    try:
        found = pygit2.Repository(str(store)).get(pygit2.Oid(hex=commit))
    except FAULTS as error:
        raise UnusualError(str(error)) from error
    return isinstance(found, pygit2.Commit)


def is_ancestor(store: Path, commit: str, *, of: str) -> bool:
    """Whether one commit descends from another. Raises UnusualError when either is missing."""
    try:
        return pygit2.Repository(str(store)).descendant_of(pygit2.Oid(hex=of), pygit2.Oid(hex=commit))
    except FAULTS as error:
        raise UnusualError(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A file in which two commits differ."""

    status: Literal["A", "D", "M", "T"]
    path: str
    now: tuple[pygit2.Oid, FileMode] | None
    """What the later commit has there; None when it is gone."""


def changed_files(store: Path, *, base: str, tip: str) -> list[Changed]:
    """The files in which two commits differ, as `git diff-tree -r` lists them.

    Raises:
        WorkspaceError: They differ in more than a million files and folders.
        UnusualError: An object is missing.
    """
    try:
        repository = pygit2.Repository(str(store))
        trees = [repository[pygit2.Oid(hex=commit)].peel(pygit2.Tree) for commit in (base, tip)]
        return list(_differences(repository, trees[0], trees[1]))
    except FAULTS as error:
        raise UnusualError(str(error)) from error


def added(repository: pygit2.Repository, *, tip: str, known: Sequence[str], at_most: int) -> list[pygit2.Oid] | None:
    """Objects to copy to whoever has the known commits, each after those that it refers to; None when there are more.

    Never too few; what was merely moved within the tree is among them, too. Raises what libgit2 raises.
    """
    walk = repository.walk(pygit2.Oid(hex=tip), SortMode.TOPOLOGICAL)
    for commit_id in known:
        walk.hide(pygit2.Oid(hex=commit_id))
    found: dict[pygit2.Oid, None] = {}

    def note(oid: pygit2.Oid) -> None:
        found.pop(oid, None)  # one that an earlier commit refers to as well belongs behind that
        found[oid] = None

    for commit in walk:
        note(commit.id)
        old_trees = [parent.tree for parent in commit.parents]
        pending = [] if any(old.id == commit.tree_id for old in old_trees) else [(commit.tree, old_trees)]
        while pending:
            tree, beside = pending.pop()
            note(tree.id)
            if len(found) > at_most:
                return None
            known_entries = [_entries(old) for old in beside]
            for name, entry in _entries(tree).items():
                before = [entries[name] for entries in known_entries if name in entries]
                if any(old.id == entry.id for old in before) or entry.type == ObjectType.COMMIT:
                    continue
                if isinstance(entry, pygit2.Tree):
                    pending.append((entry, [old for old in before if isinstance(old, pygit2.Tree)]))
                else:
                    note(entry.id)
    return None if len(found) > at_most else list(found)[::-1]


def update_index(index: Path, changed: Sequence[Changed]) -> None:
    """Bring an index file of ours from the earlier commit to the later one, as `git read-tree -m -i` does.

    What did not change keeps what the index knows of its file. Raises UnusualError, and leaves the index as it was.
    """
    try:
        entries = pygit2.Index(str(index))
        for one in changed:
            if one.now is None:
                entries.remove(one.path)
        for one in changed:
            if one.now is not None:
                entries.add(pygit2.IndexEntry(one.path, *one.now))
        entries.write()
    except FAULTS as error:
        raise UnusualError(str(error)) from error


def _differences(repository: pygit2.Repository, base: pygit2.Tree, tip: pygit2.Tree) -> Iterator[Changed]:
    """By hand and with a stack: libgit2's own diff is made whole, in memory, before one entry of it can be counted."""
    seen = 0
    pairs: list[tuple[bytes, pygit2.Tree | None, pygit2.Tree | None]] = [(b"", base, tip)]
    while pairs:
        folder, old_tree, new_tree = pairs.pop()
        old, new = _entries(old_tree), _entries(new_tree)
        seen += len(old) + len(new)
        if seen > _ENTRIES_MAX:
            raise WorkspaceError(f"the commits change more than the accepted {_ENTRIES_MAX} files and folders")
        for name in sorted(old.keys() | new.keys()):
            before, after = old.get(name), new.get(name)
            if before is not None and after is not None and (before.id, before.filemode) == (after.id, after.filemode):
                continue
            below, path = (_tree(repository, before), _tree(repository, after)), folder + name
            if any(below):
                pairs.append((path + b"/", *below))
            if (status := _status(before, after)) is not None:
                now = (after.id, FileMode(after.filemode)) if after is not None and status != "D" else None
                yield Changed(status=status, path=path.decode("utf-8", "surrogateescape"), now=now)


def _entries(tree: pygit2.Tree | None) -> dict[bytes, pygit2.Object]:
    return {entry.raw_name or b"": entry for entry in tree} if tree is not None else {}


def _tree(repository: pygit2.Repository, entry: pygit2.Object | None) -> pygit2.Tree | None:
    return repository[entry.id].peel(pygit2.Tree) if entry is not None and entry.type == ObjectType.TREE else None


def _status(before: pygit2.Object | None, after: pygit2.Object | None) -> Literal["A", "D", "M", "T"] | None:
    """How the file at this name changed, None when neither is one. A submodule counts as a file."""
    old = before if before is not None and before.type != ObjectType.TREE else None
    new = after if after is not None and after.type != ObjectType.TREE else None
    if old is None or new is None:
        return "A" if new is not None else "D" if old is not None else None
    return "M" if _kind(old.filemode) == _kind(new.filemode) else "T"


def _kind(mode: int) -> int:
    """Regular files are of one kind, executable or not."""
    return FileMode.BLOB if mode == FileMode.BLOB_EXECUTABLE else mode


def swap_ref(repository_path: Path, ref: str, new: str, expected_old: str | None) -> bool:
    """Move a ref by compare and swap (`expected_old` empty: create, None: whatever it was); False when it stood elsewhere.

    Raises:
        UnusualError: A lock is in the way, the ref is symbolic, or somebody moved it at this moment.
    """
    try:
        repository = pygit2.Repository(str(repository_path))
        target = pygit2.Oid(hex=new)
        found = repository.references.get(ref)
        if found is not None and found.type != ReferenceType.DIRECT:
            raise UnusualError(f"{ref} is symbolic")
        if found is None:
            if expected_old:
                return False
            repository.create_reference_direct(ref, target, force=False)
        elif expected_old is not None and str(found.target) != expected_old:
            return False
        else:
            found.set_target(target)  # fails when it moved since it was looked up
    except FAULTS as error:
        raise UnusualError(str(error)) from error
    return True
