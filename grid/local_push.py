"""Pushing to a repository on this machine without asking it to receive: no git process instead of seven.

Only for plain cases, which nearly all are. A repository that has a say of its own (hooks, checks, work trees on other
branches, another owner) is left to `git push`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pygit2
from pygit2.enums import ReferenceType

from grid import git, objects
from grid.git import Command
from grid.objects import UnusualError

_HOOKS = frozenset(
    {
        "pre-receive",
        "update",
        "post-receive",
        "post-update",
        "proc-receive",
        "push-to-checkout",
        "reference-transaction",
    }
)
_OWN_WAYS = (
    "core.hookspath",
    "core.sharedrepository",
    "receive.fsckobjects",
    "transfer.fsckobjects",
    "receive.denycurrentbranch",
)
_REFS_MAX = 2_000
_FEW_OBJECTS = 200
_FEW_BYTES = 8 << 20
"""More is packed by git, which keeps little of it in memory."""


def push(store: Path, source: Path, *, ref: str, commit: str, expected_old: str | None) -> bool:
    """Create the source's branch, or move it forward; with `expected_old` replace it where it stands exactly there.

    Returns:
        False when it would have to be moved back or sideways. Nothing is changed then.

    Raises:
        UnusualError: Not a plain case; nothing is changed.
        WorkspaceError: Git refused to copy the commits.
    """
    try:
        target, ours = pygit2.Repository(str(source)), pygit2.Repository(str(store))
        old = _checked(target, ref)
        if old == commit:
            return True
        if expected_old is not None and old != expected_old:
            return False
        if expected_old is None and old and not objects.is_ancestor(store, old, of=commit):
            return False
        known = _known(target, ours, old)
        if not _copy_few(ours, target, commit=commit, known=known):
            _copy(store, Path(target.path), commit=commit, known=known)
    except objects.FAULTS as error:
        raise UnusualError(str(error)) from error
    return objects.swap_ref(Path(target.path), ref, commit, old)


def _checked(target: pygit2.Repository, ref: str) -> str:
    """Where the branch stands, empty when it does not exist; raises UnusualError when the repository has own ways."""
    folder = Path(target.path)
    with contextlib.suppress(FileNotFoundError):
        if any(entry.name in _HOOKS for entry in (folder / "hooks").iterdir()):
            raise UnusualError("it has hooks")
    if any(name in target.config for name in _OWN_WAYS) or target.is_shallow or target.list_worktrees():
        raise UnusualError("it has ways of its own")
    head = target.lookup_reference("HEAD")
    if head.type != ReferenceType.SYMBOLIC or head.target == ref:
        raise UnusualError("the branch is checked out, or HEAD is on none")
    found = target.references.get(ref)
    if found is not None and found.type != ReferenceType.DIRECT:
        raise UnusualError(f"{ref} is symbolic")
    return str(found.target) if found is not None else ""


def _known(target: pygit2.Repository, ours: pygit2.Repository, old: str) -> list[str]:
    """Commits of ours that refs of the source name: everything behind them is there.

    The branch itself and the default one, as a rule. A source may have a thousand other branches of agents.
    """
    default = target.references.get(str(target.lookup_reference("HEAD").target))
    first = {old, str(default.target) if default is not None else ""} - {""}
    return _commits(ours, first) or _commits(ours, _tips(target))


def _commits(ours: pygit2.Repository, tips: set[str]) -> list[str]:
    return [tip for tip in tips if isinstance(ours.get(pygit2.Oid(hex=tip)), pygit2.Commit)]


def _tips(target: pygit2.Repository) -> set[str]:
    tips = {str(found.target) for found in target.references.objects if found.type == ReferenceType.DIRECT}
    if len(tips) > _REFS_MAX:
        raise UnusualError(f"it has more than {_REFS_MAX} refs")
    return tips


def _copy_few(ours: pygit2.Repository, target: pygit2.Repository, *, commit: str, known: list[str]) -> bool:
    """Copy what the source lacks in this process; False, and nothing is copied, when it is much."""
    wanted = objects.added(ours, tip=commit, known=known, at_most=_FEW_OBJECTS)
    if wanted is None or sum(ours.odb.read_header(oid)[1] for oid in wanted) > _FEW_BYTES:
        return False
    for oid in wanted:
        kind, data = ours.odb.read(oid)[:2]
        target.odb.write(kind, data)
    return True


def _copy(store: Path, target: Path, *, commit: str, known: list[str]) -> None:
    wanted = "".join(f"{line}\n" for line in (commit, *(f"^{tip}" for tip in known)))
    packing = Command(args=["pack-objects", "--revs", "--thin", "--stdout", "-q"], git_dir=store)
    unpacking = Command(args=["unpack-objects", "-q"], git_dir=target)
    git.checked(packing, unpacking, completed=git.execute(packing, unpacking, stdin=wanted))
