"""Errors that leave the tracker package, split by what the caller does next.

TrackerError
    NotFoundError        the issue, comment or repository is gone: permanent
        NotOursError     our repository's name leads to another one, or to none: nothing was done; it waits for a person
    ForbiddenError       we may not: permanent, show the missing permission
    InvalidError         the tracker would refuse this write for ever (limits, cycles): permanent, `field` names the input
        NotProposableError  no pull request can come of the branch: nothing to repair in the write, a person looks at the branch
    ConflictError        somebody was faster: read again, decide again
        ChangedError     the issue's texts are others than the write was decided on: they were left
    RateLimitedError     wait until `retry_at`
    UnavailableError     try later; `maybe_applied` means: look before repeating a create
        CredentialError  nothing was done, and nothing will be until somebody renews our credentials
"""

from __future__ import annotations

from datetime import datetime


class TrackerError(Exception):
    """Base of every error that leaves this package."""


class NotFoundError(TrackerError):
    """The issue, comment or repository does not exist."""


class NotOursError(NotFoundError):
    """By the name of our repository there is another one, or none that is shown to us."""


class ForbiddenError(TrackerError):
    """The tracker does not let us do this."""


class InvalidError(TrackerError):
    """The write breaks a rule of the tracker and would be refused for ever."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotProposableError(InvalidError):
    """As things stand no pull request can come of a branch: it has nothing new, or somebody else has opened one."""


class ConflictError(TrackerError):
    """The state changed under us; read it again."""


class ChangedError(ConflictError):
    """Somebody changed the texts that were to be replaced."""


class RateLimitedError(TrackerError):
    """Too many requests; nothing was done."""

    def __init__(self, message: str, *, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class UnavailableError(TrackerError):
    """The tracker did not answer, or answered with a fault of its own."""

    def __init__(self, message: str, *, maybe_applied: bool) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class CredentialError(UnavailableError):
    """The tracker does not accept our credentials. What was asked waits: a token that ran out overnight loses nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, maybe_applied=False)
