"""Errors that leave the grid package.

GridError
    ExecutionNotFoundError   no such execution
    LaunchFailedError        the agent could not be started (permanent: trying again cannot help)
    WorkspaceError           git or the file system refused; the message names the command
        SourceUnavailableError  the source does not answer now; the same may work later
        BranchMovedError     the branch holds commits at its source that we did not know of
    MergeConflictError       two branches change the same lines; `paths` says where
    SpoolError               a spool that no shim can have written
    BusError                 the event bus: no queue is configured, or it cannot be used
    LockError                something about locks on paths cannot be done
        LockPatternError     no path or pattern of a repository
        LockLimitError       too many locks or waiters
        LockFencedError      the execution does not run, or its lease is over
        LockNotFoundError    there is no such open lock
"""

from __future__ import annotations


class GridError(Exception):
    """Base of every error that leaves this package."""


class ExecutionNotFoundError(GridError):
    """There is no execution with this id."""


NOT_THERE = (FileNotFoundError, NotADirectoryError, PermissionError)
"""Of an interpreter that cannot be run: trying again cannot help, as it may where the machine has no room at the moment."""


class LaunchFailedError(GridError):
    """The agent could not be started.

    Attributes:
        permanent: The same attempt again would fail again, until somebody does what the message says.
    """

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


class LockError(GridError):
    """Something about locks on paths cannot be done; the message says why and what to do."""


class LockPatternError(LockError):
    """What was given is no path or pattern of a repository."""


class LockLimitError(LockError):
    """One execution wants too many locks, or too many wait already."""


class LockFencedError(LockError):
    """The execution does not run, its lease is over, or the claim is another one: it can hold nothing."""


class LockNotFoundError(LockError):
    """There is no such open lock; it may have ended a moment ago."""


class BusError(GridError):
    """No queue is configured for events, or it cannot be reached or refuses; the message says what to change."""
