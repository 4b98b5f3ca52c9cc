"""The store: one bare repository per repository under care, trusted because only the grid writes it.

    refs/upstream/<branch>   fetched from the source
    refs/heads/agent/*       agents' branches, the results
    refs/executions/<uuid>   kept work of one execution
    refs/remote/<branch>     agents' branches as last fetched from the source
    refs/published/<branch>  where they stood there when we last pushed or took them in

Workspaces borrow its objects, so nothing is ever pruned from it. Every change of a branch compares and swaps, so any
number of processes may work on one store. All functions raise WorkspaceError when git or the file system refuses.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import random
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grid import credentials, git, local_push, objects, sources
from grid.git import Command
from grid.history import CommitInfo, FileChange, commits_between, diff, diff_stat, read_file, readable
from grid.objects import UnusualError
from grid.public_errors import BranchMovedError, MergeConflictError, WorkspaceError
from grid.public_types import Credential
from grid.refs import (
    branch_name,
    checked_branch,
    checked_commit,
    commit_tree,
    has_commit,
    head,
    is_commit_id,
    past_locks,
    set_ref,
)

__all__ = [
    "CommitInfo",
    "FileChange",
    "MergeResult",
    "branch_name",
    "commit_tree",
    "commits_between",
    "default_branch",
    "diff",
    "diff_stat",
    "ensure",
    "fetch",
    "has_commit",
    "head",
    "merge",
    "merge_base",
    "publish",
    "published_ref",
    "read_file",
    "remote_head",
    "set_branch",
    "set_ref",
]

_MERGE_ATTEMPTS = 100
_FETCH_SECONDS = 1800
_AGENT_BRANCHES = "refs/heads/agent/"
_CONFIG = '[gc]\n\tauto = 0\n\tpruneExpire = never\n[remote "origin"]\n\turl = "{url}"\n'
"""Nothing may disappear from a store while workspaces borrow from it. `git config` is a process for each value."""

# A store or workspace of another uid is refused by the *other side* of a fetch or push, and that side gets no `-c` of ours.
_UPLOAD_PACK = "--upload-pack=git -c 'safe.directory=*' upload-pack"
_RECEIVE_PACK = "--receive-pack=git -c 'safe.directory=*' receive-pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """What a merge did."""

    commit: str
    """Where the branch stands now."""
    kind: Literal["already", "fast_forward", "merge"]


def ensure(store: Path, source: str) -> None:
    """Make the store unless it exists; when several processes try at once, all end with the same one."""
    if (store / "HEAD").exists():
        return
    location, _ = sources.locate(source)
    store.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{store.name}-", dir=store.parent))
    try:
        fresh.chmod(0o755)
        git.run(["init", "--quiet", "--bare", "--template=", "--initial-branch=none", str(fresh)])
        url = location.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        with (fresh / "config").open("a", encoding="utf-8", errors="surrogateescape") as config:
            config.write(_CONFIG.format(url=url))
        fresh.rename(store)
    except OSError as error:
        # A rival renamed first: a directory that holds something is not replaced.
        if not (store / "HEAD").exists():
            raise WorkspaceError(f"cannot make the store {store}: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def default_branch(source: str, *, credential: Credential | None = None) -> str:
    """The branch that the source's HEAD names.

    Raises:
        WorkspaceError: No git repository, no commit yet, or a detached HEAD.
    """
    location, local = sources.locate(source)
    if local and Path(location).is_dir():
        with contextlib.suppress(UnusualError):
            return objects.head_branch(Path(location))
    args = ["ls-remote", "--symref", *([_UPLOAD_PACK] if local else []), "--", location, "HEAD"]
    command = Command(args=args)
    completed = credentials.execute(command, location=location, credential=credential, timeout=60)
    answer = git.checked(command, completed=completed).output
    found = re.match(r"ref: refs/heads/(\S+)\tHEAD\n", answer)
    if not answer:
        raise WorkspaceError(f"{source} has no commit yet; commit something first")
    if not found:
        raise WorkspaceError(f"the HEAD of {source} is not on a branch; switch to its default branch")
    return found[1]


def fetch(store: Path, source: str, branches: tuple[str, ...] = (), *, credential: Credential | None = None) -> None:
    """Bring refs/upstream/* up to date with the source: the named branches, or all but agents' own."""
    location, local = sources.locate(source)
    if local and any((Path(location) / name).is_file() for name in ("shallow", ".git/shallow")):
        # Git would leave out every branch whose history is cut off, and call that a success.
        raise WorkspaceError(f"{source} is a shallow clone; run `git fetch --unshallow` in it")
    refspecs = [f"+refs/heads/{checked_branch(name)}:refs/upstream/{name}" for name in branches]
    if not branches:
        refspecs = ["--prune", "+refs/heads/*:refs/upstream/*", f"^{_AGENT_BRANCHES}*"]
    prune, wanted = [r for r in refspecs if r.startswith("--")], [r for r in refspecs if not r.startswith("--")]
    _fetch(store, location, [*prune, *([_UPLOAD_PACK] if local else [])], wanted, credential)


def _fetch(store: Path, location: str, options: list[str], refspecs: list[str], credential: Credential | None) -> None:
    args = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", *options, "--", location, *refspecs]
    command = Command(args=args, git_dir=store)
    # Two fetches at once would fight over the ref locks, and the second mostly has nothing left to do.
    with (store / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        completed = credentials.execute(
            command,
            location=location,
            credential=credential,
            timeout=_FETCH_SECONDS,
            past=functools.partial(past_locks, store=store),
        )
        git.checked(command, completed=completed)


def remote_head(store: Path, source: str, branch: str, *, credential: Credential | None = None) -> str:
    """Commit at which an agent's branch stands at the source, brought into the store; empty when there is none."""
    ref = f"refs/heads/{checked_branch(branch)}"
    location, local = sources.locate(source)
    options = [_UPLOAD_PACK] if local else []
    command = Command(args=["ls-remote", *options, "--", location, ref], git_dir=store)
    completed = credentials.execute(command, location=location, credential=credential, timeout=60)
    found = re.match(r"([0-9a-f]{40})\t", git.checked(command, completed=completed).output)
    if found is None:
        return ""
    if not has_commit(store, found[1]):
        _fetch(store, location, options, [f"+{ref}:refs/remote/{branch}"], credential)
    # It may have moved between the two looks; what is returned is in the store in any case.
    return found[1] if has_commit(store, found[1]) else head(store, f"refs/remote/{branch}")


def merge_base(store: Path, one: str, other: str) -> str:
    """The youngest commit that both grew from (one of them, if several); empty when they have none in common."""
    command = Command(args=["merge-base", checked_commit(one), checked_commit(other)], git_dir=store)
    completed = git.execute(command)
    if completed.codes[0] not in (0, 1):
        git.checked(command, completed=completed)
    return completed.output.strip()


def set_branch(store: Path, branch: str, new: str, expected_old: str) -> bool:
    """Move an agent's branch from a known commit (empty: create it); False when it stood elsewhere."""
    return set_ref(store, f"refs/heads/{checked_branch(branch)}", new, expected_old)


def merge(store: Path, *, into: str, commit: str, message: str) -> MergeResult:
    """Merge a commit into a branch, without a work tree; repeated when somebody else moved the branch meanwhile.

    Raises:
        MergeConflictError: Both changed the same lines. Nothing is written then.
        WorkspaceError: There is no such branch or commit, or git is older than 2.38.
    """
    ref = f"refs/heads/{checked_branch(into)}"
    for _ in range(_MERGE_ATTEMPTS):
        tip = head(store, ref)
        if not tip:
            raise WorkspaceError(f"there is no branch {into} to merge into; create it first")
        result = _merged(store, tip=tip, commit=checked_commit(commit), message=message)
        if result.kind == "already" or set_ref(store, ref, result.commit, tip):
            return result
        time.sleep(random.uniform(0, 0.02))  # noqa: S311 - only spreads rivals
    raise WorkspaceError(f"branch {into} moved during each of {_MERGE_ATTEMPTS} attempts to merge into it")


def _merged(store: Path, *, tip: str, commit: str, message: str) -> MergeResult:
    """Make the merge of two commits; moves nothing."""
    base = merge_base(store, tip, commit)
    if base == commit:
        return MergeResult(commit=tip, kind="already")
    if base == tip:
        return MergeResult(commit=commit, kind="fast_forward")
    tree = _merged_tree(store, tip=tip, commit=commit)
    return MergeResult(commit=commit_tree(store, tree, parents=(tip, commit), message=message), kind="merge")


def _merged_tree(store: Path, *, tip: str, commit: str) -> str:
    args = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", tip, commit]
    command = Command(args=args, git_dir=store)
    completed = git.execute(command)
    if completed.codes[0] == 129:
        version = git.run(["version"]).strip()
        raise WorkspaceError(
            f"merging needs git 2.38 or newer, this is {version}; install a newer one and set GIT to it"
        )
    fields = completed.output.split("\0")
    if completed.codes[0] == 1 and is_commit_id(fields[0]):
        raise MergeConflictError(tuple(dict.fromkeys(readable(path) for path in fields[1:] if path)))
    return git.checked(command, completed=completed).output.split("\0")[0].strip()


def publish(
    store: Path,
    source: str,
    *,
    branch: str,
    commit: str,
    expected_old: str = "",
    credential: Credential | None = None,
) -> None:
    """Push one agent's branch to the source; repeating it is harmless.

    Without `expected_old` the branch is created or moved forward, never back or sideways. With it, the branch may be
    replaced, provided that it stands exactly there.

    Raises:
        BranchMovedError: The branch stands elsewhere.
        WorkspaceError: It is not an `agent/` one, is checked out in the source, or the source refuses.
    """
    ref = f"refs/heads/{checked_branch(branch)}"
    if not ref.startswith(_AGENT_BRANCHES):
        raise WorkspaceError(f"refusing to push {branch}: only agent/ branches are ours")
    location, local = sources.locate(source)
    if local and Path(location).is_dir():
        with contextlib.suppress(UnusualError):
            old = checked_commit(expected_old) if expected_old else None
            if local_push.push(store, Path(location), ref=ref, commit=checked_commit(commit), expected_old=old):
                return
    args = ["push", "--porcelain", "--no-verify", "--no-follow-tags", *([_RECEIVE_PACK] if local else [])]
    if expected_old:
        args.append(f"--force-with-lease={ref}:{checked_commit(expected_old)}")
    command = Command(args=[*args, "--", location, f"{checked_commit(commit)}:{ref}"], git_dir=store)
    completed = credentials.execute(command, location=location, credential=credential, timeout=_FETCH_SECONDS)
    if completed.ok:
        return
    said = completed.output + completed.errors
    if "checked out" in said:
        raise WorkspaceError(f"branch {branch} is checked out in {source}; switch to another branch there and retry")
    if any(word in said for word in ("stale info", "non-fast-forward", "fetch first")):
        raise BranchMovedError(f"branch {branch} of {source} holds other commits; delete or rename it there and retry")
    git.checked(command, completed=completed)


def published_ref(branch: str) -> str:
    """Ref that remembers what we last knew of an agent's branch at the source."""
    return f"refs/published/{checked_branch(branch)}"
