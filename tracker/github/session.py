"""One task's conversation with GitHub about one repository."""

from __future__ import annotations

from functools import cached_property

from github.Repository import Repository as RemoteRepository

from tracker.github import names
from tracker.github.auth import Identity, identity
from tracker.github.calls import Calls
from tracker.models import Repository
from tracker.public_errors import InvalidError


class Session(Calls):
    """A client for one repository; for one task, in one thread. See `Calls` for `calling` and `json`."""

    def __init__(self, *, who: Identity, scope: str) -> None:
        super().__init__(auth=who.auth, account=who.account, renew=who.renew)
        self.login = who.login
        """Who we are: `agent-grid[bot]` or the token's login."""
        self.scope = scope
        """`acme/widgets`."""
        self.path = f"/repos/{scope}"
        """Where raw calls about the repository begin."""

    def __repr__(self) -> str:
        return f"Session({self.scope!r} as {self.login!r}, {self.account})"

    @cached_property
    def repo(self) -> RemoteRepository:
        """The repository, lazy: nothing is sent until something of it is read."""
        return self.github.get_repo(self.scope)


def open_session(repository: Repository, *, afresh: bool = False) -> Session:
    """A session for a repository; an unsaved row with just a scope will do.

    Asks GitHub who we are once an hour, whose the name is once a minute, and for the App's installation once for ever.

    Args:
        afresh: Ask whose the name is, however short a time ago that was done.

    Raises:
        ForbiddenError: Nothing is configured, the credentials are unusable, or the App is not installed there.
        InvalidError: The repository's issues are not on GitHub.
        NotOursError: Its name leads to another repository, or to none.
        TrackerError: GitHub could not be asked.
        RuntimeError: Inside a database transaction.
    """
    if repository.tracker != Repository.Kind.GITHUB:
        raise InvalidError(f"{repository.scope} has its issues in {repository.tracker}, not on GitHub.")
    session = Session(who=identity(repository), scope=repository.scope)
    try:
        names.check(session, repository, afresh=afresh)
    except BaseException:
        session.close()
        raise
    return session
