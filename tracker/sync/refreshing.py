"""One issue read whole into the mirror: text, labels, relations, comments, and what their authors may do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tracker import limits, queries
from tracker.github import mirror, names, parts, tokens, wire
from tracker.github.session import Session, open_session
from tracker.github.wire import RemoteComment, RemoteIssue
from tracker.models import Issue, Repository
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import AgentState, CloseReason, IssueView, Ref
from tracker.sync import pages, people, registry
from tracker.sync.pages import Answer, Json

_ETAG_SECONDS = 86_400
_CHILD_PAGES = 2
_BLOCKER_PAGES = 2
_COMMENT_PAGES = limits.COMMENTS_MAX // pages.PER_PAGE + 1
_PARTS = {"children": ("sub_issues", _CHILD_PAGES), "blockers": ("dependencies/blocked_by", _BLOCKER_PAGES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An issue before and after it was read again."""

    issue_id: int
    before: IssueView | None
    """None when we had not read it whole before."""
    after: IssueView
    is_gone: bool = False
    """It was deleted, or moved to another repository: closed as far as we are concerned."""


@dataclass(slots=True, kw_only=True)
class _Read:
    """What was read of an issue; None where it is what our rows say."""

    began: datetime
    issue: RemoteIssue | None = None
    parent: RemoteIssue | None = None
    """Where the issue has one that we do not know yet."""
    children: list[RemoteIssue] | None = None
    blockers: list[RemoteIssue] | None = None
    comments: list[RemoteComment] | None = None
    etags: dict[str, str] = field(default_factory=dict)


def refresh(repository_id: int, key: str) -> Seen:
    """Read an issue whole into the mirror, and issues it is linked to as far as they are new to us.

    An issue that does not exist any more is closed in the mirror. Parts that GitHub says are unchanged cost no quota.

    Raises:
        NotFoundError: There is no such issue, and we never had one.
        InvalidError: It is a pull request.
        TrackerError: GitHub did not let us look; nothing was changed.
    """
    repository = queries.repository(repository_id)
    if not limits.is_number(key):
        raise NotFoundError(f"There is no issue {key[:50]!r} in {repository.scope}.")
    row = mirror.find(repository, key)
    before = _view(row.pk) if row is not None and row.synced_at is not None else None
    if repository.tracker == Repository.Kind.LOCAL:
        if row is None:
            raise NotFoundError(f"There is no issue {repository.scope}#{key}.")
        return Seen(issue_id=row.pk, before=_view(row.pk), after=_view(row.pk))
    with open_session(repository) as session:
        try:
            read = _read(session, repository, key, row)
        except NotFoundError:
            if row is None or not registry.is_readable(session, repository):
                raise
            return _gone(row, before)
        if read.issue is not None and not parts.is_same_login(read.issue.scope, repository.scope):
            if not registry.follow_rename(session, repository, read.issue.scope):
                if row is None:
                    raise NotFoundError(f"{repository.scope}#{key} has moved to {read.issue.ref}.")
                return _gone(row, before)
            read = _read(session, repository, key, row)
        if read.issue is not None and (row is None or row.remote_id != read.issue.id):
            names.check(session, repository, afresh=True)
        trusts = people.trusts(session, repository, _authors(read))
    stored = _store(repository, row, read, trusts)
    return Seen(issue_id=stored.pk, before=before, after=_view(stored.pk))


def _read(session: Session, repository: Repository, key: str, row: Issue | None) -> _Read:
    read, old, path = _Read(began=timezone.now()), _known_etags(repository, key, row), f"{session.path}/issues/{key}"
    found = _once(session, path, "issue", read, old)
    if not found.is_unchanged:
        body = found.body if isinstance(found.body, dict) else {}
        read.issue = wire.issue(body, us=session.login)
        if read.issue.is_pull:
            raise InvalidError(f"{read.issue.ref} is a pull request, no issue.", field="key")
        if "parent_issue_url" not in body:  # GitHub Enterprise Server of some age
            read.issue = replace(read.issue, parent=_asked_parent(session, path))
        read.parent = _unknown_parent(session, repository, read.issue)
    for name, (tail, most) in _PARTS.items():
        items = _listing(session, f"{path}/{tail}?per_page={pages.PER_PAGE}", name, read, old, most=most)
        setattr(read, name, None if items is None else [wire.issue(item, us=session.login) for item in items])
    items = _listing(session, f"{path}/comments?per_page={pages.PER_PAGE}", "comments", read, old, most=_COMMENT_PAGES)
    read.comments = None if items is None else [wire.comment(item, us=session.login) for item in items]
    return read


def _asked_parent(session: Session, path: str) -> Ref | None:
    try:
        body = pages.get(session, f"{path}/parent").body
    except NotFoundError:
        return None
    return wire.issue(body if isinstance(body, dict) else {}, us=session.login).ref


def _unknown_parent(session: Session, repository: Repository, issue: RemoteIssue) -> RemoteIssue | None:
    if issue.parent is None or not parts.is_same_login(issue.parent.scope, repository.scope):
        return None
    if mirror.find(repository, issue.parent.key) is not None:
        return None
    body = pages.get(session, f"{session.path}/issues/{issue.parent.key}").body
    return wire.issue(body if isinstance(body, dict) else {}, us=session.login)


def _once(session: Session, path: str, name: str, read: _Read, old: dict[str, str]) -> Answer:
    answer = pages.get(session, path, etag=old.get(name, ""))
    etag = old.get(name, "") if answer.is_unchanged else answer.etag
    if etag and not answer.next_url:  # of a listing with more pages the first one's tag says nothing about the rest
        read.etags[name] = etag
    return answer


def _listing(
    session: Session, path: str, name: str, read: _Read, old: dict[str, str], *, most: int
) -> list[Json] | None:
    first = _once(session, path, name, read, old)
    if first.is_unchanged:
        return None
    items = first.items
    if first.next_url:
        for answer in pages.each(session, first.next_url, most=most - 1):
            items += answer.items
    return items


def _authors(read: _Read) -> list[Any]:
    return [*([read.issue] if read.issue else []), *(read.comments or [])]


def _store(repository: Repository, row: Issue | None, read: _Read, trusts: people.Trusts) -> Issue:
    """Write down what was read; what we wrote ourselves meanwhile stays."""
    with transaction.atomic():
        if read.issue is not None:
            trust = trusts.get(read.issue.author)
            row = mirror.store_issue(repository, read.issue, trust=trust, synced_at=read.began)
        if row is None:
            raise RuntimeError("an issue without a row cannot be unchanged")
        for other in mirror.same_repository(repository, _linked(read)):
            mirror.ensure_issue(repository, other)
        is_current = mirror.store_structure(
            row,
            _parent_key(repository, row, read),
            _keys(repository, read.children, Issue.objects.filter(parent=row).order_by("position", "pk")),
            _keys(repository, read.blockers, Issue.objects.filter(waiting_links__issue=row).order_by("pk")),
            read_at=read.began,
        )
        if read.comments is not None:
            mirror.store_comments(row, read.comments, trusts, read_at=read.began)
        if is_current:
            newer = Q(synced_at__isnull=True) | Q(synced_at__lt=read.began)
            Issue.objects.filter(newer, pk=row.pk).update(synced_at=read.began)
        row.refresh_from_db(fields=["synced_at"])
    if is_current and row.synced_at == read.began:
        kept = {"of": read.began, "etags": read.etags}
        tokens.keep(_cache_key(repository, row.key), kept, seconds=_ETAG_SECONDS)
    return row


def _linked(read: _Read) -> Iterable[RemoteIssue]:
    return [*([read.parent] if read.parent else []), *(read.children or []), *(read.blockers or [])]


def _parent_key(repository: Repository, row: Issue, read: _Read) -> str | None:
    if read.issue is None:
        return Issue.objects.filter(children=row).values_list("key", flat=True).first()
    parent = read.issue.parent
    return parent.key if parent and parts.is_same_login(parent.scope, repository.scope) else None


def _keys(repository: Repository, found: Sequence[RemoteIssue] | None, rows: Any) -> list[str]:
    if found is None:
        return list(rows.values_list("key", flat=True))
    return [other.key for other in mirror.same_repository(repository, found)]


def _known_etags(repository: Repository, key: str, row: Issue | None) -> dict[str, str]:
    """ETags of what our rows hold; none when the rows are others by now, or nobody has read the issue whole."""
    kept = tokens.cached(_cache_key(repository, key))
    if row is None or row.synced_at is None or not isinstance(kept, dict) or kept.get("of") != row.synced_at:
        return {}
    if mirror.is_overtaken(row, row.synced_at):
        return {}
    return dict(kept["etags"])


def _cache_key(repository: Repository, key: str) -> str:
    return f"tracker:etags:{repository.pk}:{key}"


def _gone(row: Issue, before: IssueView | None) -> Seen:
    now = timezone.now()
    Issue.objects.filter(pk=row.pk, is_open=True).update(
        is_open=False,
        close_reason=CloseReason.NOT_PLANNED,
        closed_at=now,
        agent_state=AgentState.NONE,
        updated_at=now,
    )
    return Seen(issue_id=row.pk, before=before, after=_view(row.pk), is_gone=True)


def _view(issue_id: int) -> IssueView:
    return queries.issue_views_by_id([issue_id])[issue_id]
