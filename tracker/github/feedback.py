"""What people and checks say about a pull request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone

from tracker import limits
from tracker.conf import conf
from tracker.github import changes, parts, permissions
from tracker.github.changes import Check
from tracker.github.desk import Desk, raws
from tracker.github.session import open_session
from tracker.github.wire import RemotePull
from tracker.models import Repository
from tracker.public_errors import NotFoundError, RateLimitedError, TrackerError, UnavailableError
from tracker.public_types import ChecksState, Feedback, FeedbackKind, Trust

_SAID_MAX = 1_000
"""Of each kind, the oldest first."""
_REVIEWS = {"CHANGES_REQUESTED", "COMMENTED", "APPROVED"}


def read(repository: Repository, key: str) -> list[Feedback]:
    """Reviews, comments and failed checks, oldest first; bots' and our own words are left out.

    Raises:
        NotFoundError: There is no such pull request.
    """
    if not limits.is_number(key):
        raise NotFoundError(f"{repository.scope} has no pull request {key[:40]!r}; keys are numbers.")
    with open_session(repository) as session, session.calling():
        desk = Desk(repository=repository, session=session)
        remote = changes.pull(desk, key)
        thing = session.repo.get_pull(int(key))
        with desk.calling():
            reviews = raws(thing.get_reviews(), most=_SAID_MAX)
            line_comments = raws(thing.get_review_comments(), most=_SAID_MAX)
            comments = raws(desk.handle(key).get_comments(), most=_SAID_MAX)
        checks = changes.read_checks(desk, remote.head_sha)
        said = _People(desk)
        found = [
            *(said.review(data) for data in reviews),
            *(said.line_comment(data) for data in line_comments),
            *(said.comment(data, remote) for data in comments),
            *(_check(check, remote) for check in checks if check.state is ChecksState.FAILURE),
        ]
    return sorted((one for one in found if one is not None), key=lambda one: (one.created_at, one.id))


class _People:
    """Turns what was said into feedback, and asks for each author's rights once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._trusts: dict[str, Trust] = {}

    def review(self, data: Mapping[str, Any]) -> Feedback | None:
        """A submitted review; one without words just holds its line comments together."""
        state, text = data.get("state"), parts.text(data.get("body"))
        if state not in _REVIEWS or (state == "COMMENTED" and not text.strip()):
            return None
        return self._feedback(
            data,
            kind=FeedbackKind.REVIEW,
            text=text,
            head_sha=parts.text(data.get("commit_id"), longest=64),
            asks_for_changes=state != "APPROVED",
            at=parts.optional_moment(data.get("submitted_at")),
        )

    def line_comment(self, data: Mapping[str, Any]) -> Feedback | None:
        """A comment on a line; outdated ones tell the line it had."""
        line = data.get("line") or data.get("original_line")
        return self._feedback(
            data,
            kind=FeedbackKind.REVIEW_COMMENT,
            text=parts.text(data.get("body")),
            head_sha=parts.text(data.get("original_commit_id") or data.get("commit_id"), longest=64),
            asks_for_changes=True,
            at=parts.optional_moment(data.get("created_at")),
            path=parts.text(data.get("path"), longest=1_000),
            line=line if isinstance(line, int) else None,
        )

    def comment(self, data: Mapping[str, Any], remote: RemotePull) -> Feedback | None:
        """A comment in the conversation."""
        return self._feedback(
            data,
            kind=FeedbackKind.COMMENT,
            text=parts.text(data.get("body")),
            head_sha=remote.head_sha,
            asks_for_changes=True,
            at=parts.optional_moment(data.get("created_at")),
        )

    def _feedback(
        self,
        data: Mapping[str, Any],
        *,
        kind: FeedbackKind,
        text: str,
        head_sha: str,
        asks_for_changes: bool,
        at: datetime | None,
        path: str = "",
        line: int | None = None,
    ) -> Feedback | None:
        author = parts.login(data.get("user"))
        is_refused_bot = parts.is_bot(data.get("user")) and author.lower() not in conf().allowed_bots
        if at is None or is_refused_bot or parts.is_same_login(author, self._desk.us):
            return None
        return Feedback(
            id=f"{kind}:{parts.number(data, 'id')}",
            kind=kind,
            author=author,
            trust=self._trust(author),
            text=text,
            path=path,
            line=line,
            head_sha=head_sha,
            asks_for_changes=asks_for_changes,
            created_at=at,
            # Reviews have no such time.
            is_edited=parts.optional_moment(data.get("updated_at")) not in (None, at),
        )

    def _trust(self, author: str) -> Trust:
        if author not in self._trusts:
            self._trusts[author] = self._asked(author)
        return self._trusts[author]

    def _asked(self, author: str) -> Trust:
        try:
            return permissions.ask(self._desk.session, self._desk.repository, author, now=timezone.now())
        except (RateLimitedError, UnavailableError):
            raise  # a writer's words would be lost for ever: nothing makes us look here again
        except TrackerError as error:
            permissions.doubt(self._desk.repository, author, error)
            return Trust.NONE


def _check(check: Check, remote: RemotePull) -> Feedback:
    # Only who may write gets a check onto a commit of the repository itself; on a fork its words are an outsider's.
    return Feedback(
        id=f"{FeedbackKind.CHECK}:{check.name}:{remote.head_sha}",
        kind=FeedbackKind.CHECK,
        author=check.by or check.name[: limits.PERSON_MAX_CHARS],
        trust=Trust.NONE if remote.is_from_fork else Trust.ADMIN,
        text=f"{check.name} failed.\n\n{check.log}".strip(),
        path="",
        line=None,
        head_sha=remote.head_sha,
        asks_for_changes=True,
        created_at=check.at or remote.updated_at,
    )
