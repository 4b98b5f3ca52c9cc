"""Where one method of the tracker works: its session with GitHub, and the time it may take."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from github.GithubObject import GithubObject, NotSet
from github.Issue import Issue as GithubIssue
from github.IssueComment import IssueComment as GithubComment

from tracker.github import mirror, wire
from tracker.github.session import Session
from tracker.github.wire import RemoteComment, RemoteIssue
from tracker.models import Issue, Repository
from tracker.public_errors import NotFoundError, RateLimitedError
from tracker.public_types import Ref

_STOP_AFTER_SECONDS = 20
"""No request starts later, so that a method ends before the lease of the outbox does."""
COMMENTS_MAX = 2_500
"""GitHub holds no more on one issue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A session, the repository it is for, and a clock."""

    repository: Repository
    session: Session
    started: float = field(default_factory=time.monotonic)

    @property
    def us(self) -> str:
        """Our login."""
        return self.session.login

    @contextmanager
    def calling(self, *, write: bool = False) -> Iterator[None]:
        """Requests to GitHub are made in here, within the block of the whole method.

        Raises:
            RateLimitedError: This method has taken its time; what it did is kept, and the next call goes on from there.
            TrackerError: Whatever GitHub says.
        """
        if time.monotonic() - self.started > _STOP_AFTER_SECONDS:
            raise RateLimitedError(
                "Too many requests for one go; the rest follows.", retry_at=timezone.now() + timedelta(seconds=1)
            )
        with self.session.calling(write=write):
            yield

    # --- issues and comments without asking for them -----------------------------------------------------------------

    def issue_url(self, number: int | str) -> str:
        """The API's address of an issue."""
        return f"{self.session.path}/issues/{number}"

    def handle(self, number: int | str, *, issue_id: int = 0) -> GithubIssue:
        """PyGithub's issue for acting on it; nothing is asked for."""
        attributes = {"url": self.issue_url(number), "number": int(number), "id": issue_id}
        return GithubIssue(self.session.github.requester, {}, attributes, completed=True)

    def comment_handle(self, comment_id: int) -> GithubComment:
        """PyGithub's comment for acting on it; nothing is asked for."""
        attributes = {"url": f"{self.session.path}/issues/comments/{comment_id}", "id": comment_id}
        return GithubComment(self.session.github.requester, {}, attributes, completed=True)

    # --- reads -------------------------------------------------------------------------------------------------------

    def issue(self, ref: Ref, *, allow_pull: bool = False) -> RemoteIssue:
        """The issue as it is now.

        Raises:
            NotFoundError: There is none, or it is a pull request.
        """
        with self.calling():
            data = self.session.repo.get_issue(int(ref.key)).raw_data
        remote = wire.issue(data, us=self.us)
        if remote.is_pull and not allow_pull:
            raise NotFoundError(f"{ref} is a pull request, no issue.")
        if remote.key != ref.key:  # GitHub sends us on to wherever an issue was moved
            raise NotFoundError(f"{ref} has moved to {remote.ref}.")
        return remote

    def row(self, ref: Ref) -> Issue:
        """Our row of the issue; read from GitHub when we have none.

        Raises:
            NotFoundError: There is no such issue.
        """
        found = mirror.find(self.repository, ref.key)
        if found is not None and found.remote_id is not None:
            return found
        return mirror.ensure_issue(self.repository, self.issue(ref))

    def comments(self, ref: Ref, *, since: datetime | None = None) -> list[RemoteComment]:
        """Comments of an issue or in a pull request's conversation, oldest first; those made or edited since."""
        with self.calling():
            listing = self.handle(ref.key).get_comments(since.astimezone(UTC) if since else NotSet)
            found = raws(listing, most=COMMENTS_MAX)
        return [wire.comment(data, us=self.us) for data in found]


def raws(things: Iterable[GithubObject], *, most: int) -> list[dict[str, Any]]:
    """The answers behind a listing, at most `most`."""
    return [wire.raw(thing) for thing in itertools.islice(things, most)]
