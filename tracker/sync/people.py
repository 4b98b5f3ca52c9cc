"""What the authors of issues and comments may do."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from tracker.github import parts, permissions
from tracker.github.session import Session
from tracker.github.wire import RemoteComment, RemoteIssue
from tracker.models import Repository
from tracker.public_errors import RateLimitedError, TrackerError, UnavailableError
from tracker.public_types import Trust

type Trusts = dict[str, Trust]
MAX_AUTHORS = 100
"""Of one issue; those beyond are not trusted."""


def trusts(session: Session, repository: Repository, things: Iterable[RemoteIssue | RemoteComment]) -> Trusts:
    """What each author may do, by login; ourselves may write, whoever GitHub does not answer for may nothing.

    Raises:
        RateLimitedError, UnavailableError: GitHub could not be asked; ask again rather than distrust everybody.
    """
    now = timezone.now()
    authors = list(dict.fromkeys(thing.author for thing in things))
    found: Trusts = dict.fromkeys(authors[MAX_AUTHORS:], Trust.NONE)
    for author in authors[:MAX_AUTHORS]:
        if parts.is_same_login(author, session.login):
            found[author] = Trust.WRITE
            continue
        try:
            found[author] = permissions.ask(session, repository, author, now=now)
        except (RateLimitedError, UnavailableError):
            raise
        except TrackerError as error:
            permissions.doubt(repository, author, error)
            found[author] = Trust.NONE
    return found
