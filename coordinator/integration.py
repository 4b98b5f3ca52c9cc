"""Bring accepted work together: onto the agent's branch, into the parent's, out to the source. Git outside transactions.

Every step may be repeated: what is there already stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.models import Agent
from grid import public_api as grid
from grid.public_errors import MergeConflictError


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
    tip = grid.branch_head(repository=repository, branch=agent.branch)
    if not tip:
        start = commit or agent.base
        if grid.set_branch(repository=repository, branch=agent.branch, commit=start, expected=""):
            return start
        tip = grid.branch_head(repository=repository, branch=agent.branch)
    if not commit or tip == commit:
        return tip
    merged = grid.merge(
        repository=repository, into=agent.branch, commit=commit, message=f"Merge work of {agent.branch}"
    )
    return merged.commit


def integrate(agent: Agent, commit: str, *, title: str) -> Integrated:
    """Merge an agent's accepted commit (empty: it made none) into its branch and its parent's."""
    repository = key(agent)
    if not commit:
        return Integrated(head="")
    try:
        head = keep(agent, commit)
    except MergeConflictError as error:
        return Integrated(
            head=commit, conflict=error.paths, against=grid.branch_head(repository=repository, branch=agent.branch)
        )
    if agent.parent is None:
        return Integrated(head=head)
    keep(agent.parent, "")
    try:
        merged = grid.merge(
            repository=repository, into=agent.parent.branch, commit=head, message=f"Merge {agent.branch}\n\n{title}"
        )
    except MergeConflictError as error:
        against = grid.branch_head(repository=repository, branch=agent.parent.branch)
        return Integrated(head=head, conflict=error.paths, against=against)
    return Integrated(head=head, parent_head=merged.commit)


def note_head(agent: Agent) -> str:
    """Write down where an agent's branch stands after a merge, and return it.

    Of two merges at once the later head stays: the row is changed only from what it was before git was asked.
    """
    while True:
        known = Agent.objects.values_list("head", flat=True).get(pk=agent.pk)
        head = grid.branch_head(repository=key(agent), branch=agent.branch)
        if Agent.objects.filter(pk=agent.pk, head=known).update(head=head):
            return head


def publish(agent: Agent, commit: str) -> None:
    """Push a root's finished branch to the source. Raises WorkspaceError that names the fix."""
    grid.publish(repository=key(agent), source=agent.repository.source, branch=agent.branch, commit=commit)


def key(agent: Agent) -> str:
    """Name of the repository in the grid's store."""
    return store_key(agent.repository_id)


def store_key(repository_id: int) -> str:
    """Name of a repository in the grid's store."""
    return f"r{repository_id}"
