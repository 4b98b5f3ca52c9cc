"""Errors that leave the coordinator package.

CoordinatorError
    AgentNotFoundError     nothing is known under this name; the message says what would be
    ThreadNotFoundError    no thread of this number, or none that this agent is in
    NotAllowedError        the act makes no sense in this state; the message names one that does
        ClosingWordsError  the agent that wrote them is told, once; then a person
        StaleWriteError    the same, for work under a lock that was lost
        PathsLockedError   others work on these files; the same may work later
    StoppedError           people stopped the agent, or what is around it, at this moment; nothing may become of its work now
    InvalidInputError      what was given cannot be used; the message names the fix
    LimitExceededError     a limit was met: `kind`, `value`, `limit`
"""

from __future__ import annotations


class CoordinatorError(Exception):
    """Base of every error that leaves this package."""


class AgentNotFoundError(CoordinatorError):
    """No agent, issue, repository or execution answers to this name."""


class ThreadNotFoundError(CoordinatorError):
    """No thread has this number; an agent is told the same of those that it is not in."""


class NotAllowedError(CoordinatorError):
    """The act makes no sense in the present state."""


class ClosingWordsError(NotAllowedError):
    """A commit's message would close issues outside the tree it was made for."""


class StaleWriteError(NotAllowedError):
    """A run changed files under a lock that it had lost, and somebody else had it since."""


class PathsLockedError(NotAllowedError):
    """A run's work changes files that others have locked; it can be taken when they are done."""


class StoppedError(CoordinatorError):
    """The agent was cancelled, paused or held while the end of its run was being applied."""


class InvalidInputError(CoordinatorError):
    """What was given cannot be used."""


class LimitExceededError(CoordinatorError):
    """A limit was met."""

    def __init__(self, *, kind: str, value: int, limit: int) -> None:
        super().__init__(f"{kind}: {value} of at most {limit}")
        self.kind, self.value, self.limit = kind, value, limit
