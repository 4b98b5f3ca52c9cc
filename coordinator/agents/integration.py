"""Bring accepted work together: onto the agent's branch, into the parent's, out to the source. Git outside transactions.

Every step may be repeated: what is there already stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from django.db.models import Q

from coordinator import lifecycle
from coordinator.agents import stops
from coordinator.documents.policy import protected
from coordinator.documents.pull_requests import closed_by
from coordinator.models import Agent
from coordinator.public_errors import ClosingWordsError, NotAllowedError
from grid import public_api as grid
from grid import public_code as grid_code
from grid.public_errors import BranchMovedError, MergeConflictError
from grid.public_types import Credential
from tracker import public_accounts
from tracker import public_api as tracker

GITHUB = "github"
"""The tracker whose repositories people push to as well, and where a root ends as a pull request."""
PUSH_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrated:
    """Where the work is now."""

    head: str
    """Commit of the agent's own branch; empty when there never was work."""
    parent_head: str = ""
    """Commit of the parent's branch after the merge."""
    conflict: tuple[str, ...] = ()
    """Paths that could not be merged; nothing was changed then."""
    against: str = ""
    """Commit that the conflict is with."""


def keep(agent: Agent, commit: str) -> str:
    """Put a commit on the agent's branch, made from its base when new; returns where the branch stands."""
    repository = key(agent)
    tip = grid_code.branch_head(repository=repository, branch=agent.branch)
    if not tip:
        start = commit or agent.base
        if grid_code.set_branch(repository=repository, branch=agent.branch, commit=start, expected=""):
            return start
        tip = grid_code.branch_head(repository=repository, branch=agent.branch)
    if not commit or tip == commit:
        return tip
    merged = grid_code.merge(
        repository=repository, into=agent.branch, commit=commit, message=f"Merge work of {agent.branch}"
    )
    return merged.commit


def branch_head(agent: Agent) -> str:
    """Where the agent's branch stands: work that was checked and merged; empty before the first."""
    return grid_code.branch_head(repository=key(agent), branch=agent.branch)


def check(agent: Agent, commit: str, *, allowed: Collection[str] = ()) -> None:
    """Refuse a run's work before it is on any branch: what stands there once, no later run can take back.

    Args:
        allowed: As for `publish`.

    Raises:
        ClosingWordsError: A message of its commits would close issues outside the tree.
        NotAllowedError: It changes a protected file.
    """
    settled = _settled(agent)
    if settled:
        _refuse_protected(set.intersection(*(_changed(agent, one, commit) for one in settled)), allowed)
    _check_messages(agent, commit, known=settled)


def own_paths(agent: Agent, commit: str, *, base: str) -> list[str]:
    """Paths that work changes itself: what it has merged in was settled by others. Asks git.

    Args:
        base: Where the work began.
    """
    return sorted(set.intersection(*(_changed(agent, one, commit) for one in {base, *_settled(agent)})))


def _settled(agent: Agent) -> list[str]:
    """Commits whose contents were looked at already: on its branch, above it, and what it was told to merge."""
    above = branch_head(agent.parent) if agent.parent is not None else ""
    return [one for one in (branch_head(agent) or agent.base, above, str(agent.conflict.get("commit", ""))) if one]


def integrate(agent: Agent, commit: str, *, title: str) -> Integrated:
    """Merge an agent's accepted commit (empty: it made none) into its branch and its parent's. Raises StoppedError as `publish`."""
    repository = key(agent)
    if not commit:
        return Integrated(head="")
    try:
        head = keep(agent, commit)
    except MergeConflictError as error:
        return Integrated(
            head=commit, conflict=error.paths, against=grid_code.branch_head(repository=repository, branch=agent.branch)
        )
    if agent.parent is None:
        return Integrated(head=head)
    keep(agent.parent, "")
    stops.check(agent)
    try:
        merged = grid_code.merge(
            repository=repository, into=agent.parent.branch, commit=head, message=f"Merge {agent.branch}\n\n{title}"
        )
    except MergeConflictError as error:
        against = grid_code.branch_head(repository=repository, branch=agent.parent.branch)
        return Integrated(head=head, conflict=error.paths, against=against)
    return Integrated(head=head, parent_head=merged.commit)


def note_head(agent: Agent) -> str:
    """Write down where an agent's branch stands after a merge, and return it.

    Of two merges at once the later head stays: the row is changed only from what it was before git was asked.
    """
    while True:
        known = Agent.objects.values_list("head", flat=True).get(pk=agent.pk)
        head = grid_code.branch_head(repository=key(agent), branch=agent.branch)
        if head == known:
            return head
        # Of the agent as it was given nothing but the row is touched: callers go on with the head that they know.
        row = Agent(pk=agent.pk, root_id=agent.root_id)
        if lifecycle.change(row, event="agent.head-moved", only_if={"head": known}, head=head):
            return head


def publish(agent: Agent, done: Integrated, *, allowed: Collection[str] = ()) -> Integrated:
    """Push a root's finished branch to the source.

    Where people may push as well, what they added is merged in first; nothing of theirs is ever overwritten.

    Args:
        done: Where the work is; its head is pushed.
        allowed: Patterns of protected files that agents may change, on GitHub.

    Returns:
        Where the work is now: with what people added, or in conflict with it. Nothing was pushed in that case.

    Raises:
        WorkspaceError: Git refuses; the message names the fix. SourceUnavailableError is one of them.
        NotAllowedError: The branch was rewritten by somebody else, or the work changes a protected file.
        TrackerError: There is no credential to push with.
        StoppedError: It was stopped meanwhile; nothing was pushed.
    """
    if agent.repository.tracker != GITHUB:
        stops.check(agent)
        grid_code.publish(repository=key(agent), source=agent.repository.source, branch=agent.branch, commit=done.head)
        return done
    door = access(agent.repository_id)
    for _ in range(PUSH_ATTEMPTS):
        theirs = _remote_head(agent, door)
        together = _with_theirs(agent, done, theirs)
        if together.conflict:
            return together
        if together.head != theirs:
            _check_paths(agent, together.head, theirs=theirs, allowed=allowed)
            _check_messages(agent, together.head, known=[agent.base, theirs])
            stops.check(agent)
            try:
                grid_code.publish(
                    repository=key(agent),
                    source=door.source,
                    branch=agent.branch,
                    commit=together.head,
                    expected_old=theirs,
                    credential=door.credential,
                )
            except BranchMovedError:
                continue  # somebody pushed this very moment
        grid_code.note_published(repository=key(agent), branch=agent.branch, commit=together.head)
        return together
    raise BranchMovedError(f"{agent.branch} moved during each of {PUSH_ATTEMPTS} attempts to push; retry later")


def take_in(agent: Agent) -> Integrated:
    """Take in what people pushed onto a root's published branch; the same as before when they did not.

    Raises:
        WorkspaceError, NotAllowedError, TrackerError: As for `publish`.
    """
    theirs = _remote_head(agent, access(agent.repository_id))
    together = _with_theirs(agent, Integrated(head=agent.head), theirs)
    if theirs and together.head == theirs:
        grid_code.note_published(repository=key(agent), branch=agent.branch, commit=theirs)
    return together


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How git gets at a repository."""

    source: str
    credential: Credential | None = None


def access(repository_id: int) -> Access:
    """How git gets at a repository, with a fresh credential where one is needed. Asks the network.

    Raises:
        TrackerError: There is none to be had.
    """
    repository = tracker.get_repository(repository_id)
    if repository.tracker != GITHUB:
        return Access(source=repository.source)
    found = public_accounts.git_credential(repository_id)
    credential = Credential(username=found.username, password=found.password)
    return Access(source=found.url, credential=credential)


def commits_of(agent: Agent, head: str, *, limit: int = 60) -> list[grid.CommitInfo]:
    """The commits that a root's branch has and the default branch has not, newest first."""
    repository = key(agent)
    base = grid_code.upstream_head(repository=repository, branch=agent.repository.default_branch) or agent.base
    return grid_code.commits(repository=repository, base=base, head=head, limit=limit)


def _remote_head(agent: Agent, door: Access) -> str:
    return grid_code.remote_head(
        repository=key(agent), source=door.source, branch=agent.branch, credential=door.credential
    )


def _with_theirs(agent: Agent, done: Integrated, theirs: str) -> Integrated:
    """The work together with what stands at the source; moves the agent's branch in the store only."""
    repository = key(agent)
    if not theirs or grid_code.merge_base(repository=repository, one=done.head, other=theirs) == theirs:
        return done
    ours = grid_code.published_head(repository=repository, branch=agent.branch) or agent.head
    if not ours or grid_code.merge_base(repository=repository, one=ours, other=theirs) != ours:
        raise NotAllowedError(
            f"{agent.branch} at the source does not hold what was pushed there; it is left alone. "
            "Put it back, or delete it, and retry"
        )
    message = f"Merge what was pushed to {agent.branch}"
    try:
        merged = grid_code.merge(repository=repository, into=agent.branch, commit=theirs, message=message)
    except MergeConflictError as error:
        return replace(done, conflict=error.paths, against=theirs)
    return replace(done, head=merged.commit)


def _check_paths(agent: Agent, head: str, *, theirs: str, allowed: Collection[str]) -> None:
    """Refuse work that changes protected files, those apart that people have changed so on the branch themselves."""
    repository = key(agent)
    upstream = grid_code.upstream_head(repository=repository, branch=agent.repository.default_branch) or agent.base
    base = grid_code.merge_base(repository=repository, one=upstream, other=head) or agent.base
    changed = _changed(agent, base, head)
    _refuse_protected(changed & _changed(agent, theirs, head) if theirs else changed, allowed)


def _changed(agent: Agent, base: str, head: str) -> set[str]:
    return set(grid_code.changed_paths(repository=key(agent), base=base, head=head))


def _refuse_protected(changed: Collection[str], allowed: Collection[str]) -> None:
    refused = protected(sorted(changed), allowed=allowed)
    if refused:
        raise NotAllowedError(
            f"it changes {', '.join(refused[:5])}, which agents may not change here; somebody who may can allow it "
            "by allow_protected_paths in .agentgrid.yml, or take the change over by hand"
        )


def _check_messages(agent: Agent, head: str, *, known: Collection[str]) -> None:
    """Refuse commits that would close other issues than those of this tree as soon as people merge them."""
    repository = key(agent)
    upstream = grid_code.upstream_head(repository=repository, branch=agent.repository.default_branch)
    settled = [commit for commit in (upstream, *known) if commit]
    tree_keys = Agent.objects.filter(Q(pk=agent.tree_id) | Q(root=agent.tree_id)).values_list("issue__key", flat=True)
    mine = set(tree_keys)
    for commit, message in grid_code.messages(repository=repository, head=head, known=settled).items():
        if others := sorted(closed_by(message) - mine):
            raise ClosingWordsError(
                f"the message of commit {commit[:12]} would close {', '.join(others[:5])} when people merge it; "
                "write it without such words: `see 9`, not `fixes #9`"
            )


def key(agent: Agent) -> str:
    """Name of the repository in the grid's store."""
    return store_key(agent.repository_id)


def store_key(repository_id: int) -> str:
    """Name of a repository in the grid's store."""
    return f"r{repository_id}"
