"""Taking an agent's commits into the store without running git in the agent's directory.

The refs are read by hand, the repository's own objects are copied to a scratch directory, and what a commit adds enters the
store as a pack that git checks object by object. The agent's configuration, hooks and alternates are never looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grid import git, loose, objects, refs, trees
from grid.git import Command
from grid.public_errors import WorkspaceError

_REF = re.compile(r"refs/[\w+=@.-]+(/[\w+=@.-]+)*")
_REF_BYTES = 4096
_PACKED_REFS_BYTES = 4 << 20
_LATE = 2**32 - 2
"""Seconds since 1970: the latest time that git's 32 bits hold, less a margin."""
_UNPACK_LIMIT = 100
"""Loose objects that are unpacked one by one; more are kept as a pack."""
_FEW_BYTES = 8 << 20
"""So much is read here; more is left to git, which keeps little of it in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How a commit of the agent relates to the base."""

    tip: str
    kind: Literal["same", "ahead", "behind", "foreign"]
    """`behind`: an ancestor of the base. `foreign`: neither a descendant nor an ancestor."""
    commits: int = 0
    """Commits that the base does not have."""
    has_merge: bool = False
    """Whether one of these has several parents, so that they matter even when no file differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all steps of one harvest share."""

    store: Path
    workspace: Path
    base: str
    scratch: Path
    max_file_bytes: int
    max_total_bytes: int
    notes: list[str]
    is_settled: bool
    """Whether the times in the work tree can be trusted, see `trees.survey`."""

    @property
    def index(self) -> Path:
        """Our index of the work tree."""
        return self.scratch / "index"

    def on_tree(self, *args: str, stdin: str = "") -> str:
        """Run git on the work tree with the store's configuration and our index."""
        if self.is_settled and self.index.exists():
            # Later than any file: git need not read what has the right time and size. Each command that writes resets it.
            os.utime(self.index, (_LATE, _LATE))
        env = {"GIT_INDEX_FILE": str(self.index)}
        return git.run(args, git_dir=self.store, work_tree=self.workspace, env_extra=env, stdin=stdin)


def check_sizes(job: Job, sizes: Iterable[int], what: str) -> None:
    """Raise WorkspaceError when one size or their sum exceeds the limits."""
    total = 0
    for size in sizes:
        total += size
        if size > job.max_file_bytes:
            raise WorkspaceError(f"{what} has {size} bytes, more than the accepted {job.max_file_bytes}")
    if total > job.max_total_bytes:
        raise WorkspaceError(f"the work adds {total} bytes, more than the accepted {job.max_total_bytes}")


def agent_refs(workspace: Path, branch: str) -> tuple[str, str]:
    """Commits that the workspace's HEAD and the agent's branch name, read by hand; empty where there is none to read."""
    try:
        with trees.opened(workspace) as root, trees.opened(".git", within=root) as git_dir:
            return _resolve(git_dir, "HEAD"), _resolve(git_dir, f"refs/heads/{branch}")
    except OSError:
        return "", ""


def _resolve(git_dir: int, name: str) -> str:
    for _ in range(5):
        text = trees.read_small(git_dir, name, limit=_REF_BYTES).strip()
        if refs.is_commit_id(text):
            return text
        if not text:
            packed = trees.read_small(git_dir, "packed-refs", limit=_PACKED_REFS_BYTES)
            found = re.search(rf"^([0-9a-f]{{40}}) {re.escape(name)}$", packed, re.MULTILINE)
            return found[1] if found else ""
        name = text.removeprefix("ref:").strip()
        if not _REF.fullmatch(name) or ".." in name:
            return ""
    return ""


def take_history(job: Job, tip: str) -> History:
    """Bring a commit of the workspace into the store and compare it with the base; the base when it cannot be had."""
    if tip == job.base:
        return History(tip=tip, kind="same")
    try:
        taken = _import_few(job, tip) or _import(job, tip)
        ahead = objects.compare(job.store, tip=tip, base=job.base) if taken else None
    except objects.UnusualError:
        ahead = None
    if ahead is None:
        job.notes.append(f"The commits up to {tip[:12]} could not be read; the files were taken as they are.")
        return History(tip=job.base, kind="same")
    if not ahead.commits:
        return History(tip=tip, kind="behind")
    kind: Literal["ahead", "foreign"] = "ahead" if ahead.descends else "foreign"
    return History(tip=tip, kind=kind, commits=ahead.commits, has_merge=ahead.has_merge)


def _import_few(job: Job, tip: str) -> bool:
    """Bring what a short run committed into the store by one git process, which checks it; False for what is not plain."""
    limit = min(_FEW_BYTES, job.max_file_bytes, job.max_total_bytes)
    try:
        with (
            trees.opened(job.workspace) as root,
            trees.opened(".git", within=root) as git_dir,
            trees.opened("objects", within=git_dir) as folder,
        ):
            pack = loose.pack(folder, tip, at_most=_UNPACK_LIMIT, limit=limit)
    except OSError:
        return False
    unpacking = Command(args=["unpack-objects", "-q", "--strict"], git_dir=job.store)
    return pack is not None and _attempt(unpacking, stdin=pack.decode("utf-8", "surrogateescape")) is not None


def _import(job: Job, tip: str) -> bool:
    """Copy the objects a commit adds into the store, each checked by git; False when they are not all there and sound."""
    objects = job.scratch / f"objects-{tip}"
    (objects / "info").mkdir(parents=True)
    (objects / "info" / "alternates").write_text(f"{(job.store / 'objects').resolve()}\n")
    try:
        with trees.opened(job.workspace) as root, trees.opened(".git", within=root) as git_dir:
            copied = trees.copy_objects(git_dir, objects, limit=job.max_total_bytes)
    except OSError:
        return refs.has_commit(job.store, tip)
    # Writes of this git, if it made any, would land in the scratch directory too.
    env = {"GIT_OBJECT_DIRECTORY": str(objects)}
    loose = copied.loose_sizes
    if copied.packs or max(loose, default=0) > job.max_file_bytes or sum(loose) > job.max_total_bytes:
        # Which of them the commit really uses, and how large those in packs are, takes git to find out.
        sizes = _added_sizes(job, tip, env)
        if sizes is None:
            return False
        check_sizes(job, sizes, "a file in the workspace's commits")
    is_large = copied.packs > 0 or len(loose) > _UNPACK_LIMIT
    take = ["index-pack", "--stdin", "--fix-thin", "--strict"] if is_large else ["unpack-objects", "-q", "--strict"]
    packing = Command(args=["pack-objects", "--revs", "--thin", "--stdout", "-q"], git_dir=job.store, env_extra=env)
    unpacking = Command(args=take, git_dir=job.store)
    return _attempt(packing, unpacking, stdin=f"{tip}\n^{job.base}\n") is not None


def _added_sizes(job: Job, tip: str, env: Mapping[str, str]) -> list[int] | None:
    """Sizes of all objects that a commit has and the base has not; None when some are missing."""
    listing = ["rev-list", "--objects", "--no-object-names", tip, f"^{job.base}"]
    listed = _attempt(
        Command(args=listing, git_dir=job.store, env_extra=env),
        Command(args=["cat-file", "--batch-check=%(objectsize)"], git_dir=job.store, env_extra=env),
    )
    return None if listed is None else [int(line) for line in listed.split() if line.isdigit()]


def _attempt(*commands: Command, stdin: str = "") -> str | None:
    """Output of a pipeline, None when git refused or gave up: what an agent wrote may be broken in any way."""
    try:
        completed = git.execute(*commands, stdin=stdin)
    except WorkspaceError:
        return None
    return completed.output if completed.ok and not completed.truncated else None
