"""Errors that leave the grid package.

GridError
    ExecutionNotFoundError   no such execution
    LaunchFailedError        the agent could not be started (permanent: trying again cannot help)
    WorkspaceError           git or the file system refused; the message names the command
        SourceUnavailableError  the source does not answer now; the same may work later
        BranchMovedError     the branch holds commits at its source that we did not know of
    MergeConflictError       two branches change the same lines; `paths` says where
    SpoolError               a spool that no shim can have written
"""

from __future__ import annotations


class GridError(Exception):
    """Base of every error that leaves this package."""


class ExecutionNotFoundError(GridError):
    """There is no execution with this id."""


class LaunchFailedError(GridError):
    """The agent could not be started."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class WorkspaceError(GridError):
    """Git or the file system refused what was asked; the message names the command."""


class SourceUnavailableError(WorkspaceError):
    """The source of a repository does not answer now; the same may work later."""


class BranchMovedError(WorkspaceError):
    """Somebody else moved the branch at its source; nothing was pushed."""


class MergeConflictError(GridError):
    """Two branches change the same lines; `paths` says where, relative to the repository's root."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(f"merge conflict in {', '.join(paths) or 'unknown paths'}")
        self.paths = paths


class SpoolError(GridError):
    """The spool holds what no shim writes."""
