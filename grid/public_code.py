"""What the rest of agent-grid may ask of the grid about code: stores of repositories, branches, merges, pushes. Thin."""

from __future__ import annotations

from collections.abc import Sequence

from grid import (
    history,
    objects,
    store,
)
from grid.conf import conf
from grid.public_errors import WorkspaceError
from grid.public_types import (
    Credential,
)
from grid.store import CommitInfo, FileChange, MergeResult


def fetch_repository(*, repository: str, source: str, credential: Credential | None = None) -> None:
    """Bring the store of a repository up to date with its source. Raises WorkspaceError."""
    bare = conf().store_dir(repository)
    store.ensure(bare, source)
    store.fetch(bare, source, credential=credential)


def default_branch(source: str, *, credential: Credential | None = None) -> str:
    """The branch the source's HEAD names. Raises WorkspaceError when the source is not a git repository."""
    return store.default_branch(source, credential=credential)


def remote_head(*, repository: str, source: str, branch: str, credential: Credential | None = None) -> str:
    """Commit of an agent's branch at the source, brought into the store; empty when there is none. Raises WorkspaceError."""
    bare = conf().store_dir(repository)
    store.ensure(bare, source)
    return store.remote_head(bare, source, branch, credential=credential)


def merge_base(*, repository: str, one: str, other: str) -> str:
    """A youngest commit that both commits grew from; empty when they have none in common."""
    return store.merge_base(conf().store_dir(repository), one, other)


def upstream_head(*, repository: str, branch: str) -> str:
    """Commit of a fetched branch of the source; empty when there is none."""
    return store.head(conf().store_dir(repository), f"refs/upstream/{branch}")


def branch_head(*, repository: str, branch: str) -> str:
    """Commit of an agent's branch in the store; empty when there is none."""
    return store.head(conf().store_dir(repository), f"refs/heads/{branch}")


def set_branch(*, repository: str, branch: str, commit: str, expected: str) -> bool:
    """Move an agent's branch from a known commit (empty: create it); False when it stood elsewhere."""
    return store.set_branch(conf().store_dir(repository), branch, commit, expected)


def read_file(*, repository: str, commit: str, path: str) -> bytes | None:
    """A file of a commit, at most 256 KiB; None when there is none."""
    return store.read_file(conf().store_dir(repository), commit, path)


def merge(*, repository: str, into: str, commit: str, message: str) -> MergeResult:
    """Merge a commit into an agent's branch in the store. Raises MergeConflictError with the paths."""
    return store.merge(conf().store_dir(repository), into=into, commit=commit, message=message)


def publish(
    *,
    repository: str,
    source: str,
    branch: str,
    commit: str,
    expected_old: str = "",
    credential: Credential | None = None,
) -> None:
    """Push an agent's finished branch to the source.

    Args:
        expected_old: Replace the branch if it stands exactly there; else it is created or moved forward only.

    Raises:
        BranchMovedError: It stands elsewhere.
        WorkspaceError: Git or the source refuses.
    """
    store.publish(
        conf().store_dir(repository),
        source,
        branch=branch,
        commit=commit,
        expected_old=expected_old,
        credential=credential,
    )


def changes(*, repository: str, base: str, head: str) -> list[FileChange]:
    """Files that differ between two commits."""
    return store.diff_stat(conf().store_dir(repository), base, head)


def changed_paths(*, repository: str, base: str, head: str) -> list[str]:
    """Paths of the files that differ between two commits. Raises WorkspaceError when they are too many."""
    return history.changed_paths(conf().store_dir(repository), base, head)


def patch(*, repository: str, base: str, head: str, paths: Sequence[str]) -> str:
    """What changed between two commits in these files, at most 16 KiB. Raises WorkspaceError."""
    return history.patch_of(conf().store_dir(repository), base, head, paths)


def note_published(*, repository: str, branch: str, commit: str) -> None:
    """Remember where an agent's branch stood at the source when we last pushed it or took it in."""
    store.set_ref(conf().store_dir(repository), store.published_ref(branch), commit, None)


def published_head(*, repository: str, branch: str) -> str:
    """What `note_published` was told last; empty before the first."""
    return store.head(conf().store_dir(repository), store.published_ref(branch))


def commits(*, repository: str, base: str, head: str, limit: int = 100) -> list[CommitInfo]:
    """Commits of `head` that `base` does not have, newest first."""
    return store.commits_between(conf().store_dir(repository), base, head, limit)


def messages(*, repository: str, head: str, known: Sequence[str]) -> dict[str, str]:
    """Whole messages of the commits of `head` that none of the known ones has, by commit. Raises WorkspaceError."""
    try:
        return objects.messages(conf().store_dir(repository), tip=head, known=known)
    except objects.UnusualError as error:
        raise WorkspaceError(f"the commits of {head[:12]} cannot be read: {error}") from error


def branch_name(key: str, title: str) -> str:
    """`agent/<key>-<slug>`, valid for git whatever the title."""
    return store.branch_name(key, title)
