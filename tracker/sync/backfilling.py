"""Everything of a repository read into the mirror: issues, relations, comments, pull requests.

Cheap for large repositories: issues and comments come by the hundred, and only issues that have relations are asked for
them. How far it has come stands in the repository's row after each page, so that a broken one goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from tracker import queries
from tracker.github import mirror, wire
from tracker.github.session import Session, open_session
from tracker.github.wire import RemoteComment, RemoteIssue
from tracker.models import Issue, Repository
from tracker.public_types import Trust
from tracker.sync import pages, people

_EVER = datetime(2000, 1, 1, tzinfo=UTC)
_ENOUGH_PAGES = 100_000
_CHILD_PAGES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a backfill has come."""

    phase: str
    """`issues`, `comments`, `pull requests`; `done` at the end."""
    done: int
    """Things read in this phase by this call."""
    total: int | None
    """About how many there are; None when nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """What a backfill has read; what an earlier, broken one had read is not counted."""

    issues: int
    comments: int
    changes: int
    has_resumed: bool


def backfill(
    repository_id: int, *, progress: Callable[[Progress], None] = lambda _: None, afresh: bool = False
) -> Backfilled:
    """Read everything into the mirror; goes on where a broken one stopped.

    Changes while it runs are found by the next sweep, whose cursor is set to the beginning of this.

    Args:
        progress: Called after each page.
        afresh: Start at the beginning although an earlier one was broken.

    Raises:
        RateLimitedError: Call it again at `retry_at`; it goes on.
        TrackerError: GitHub did not answer; call it again.
    """
    repository = queries.repository(repository_id)
    state = {} if afresh or repository.backfill.get("done_at") else dict(repository.backfill)
    has_resumed = bool(state)
    state.setdefault("began_at", timezone.now().isoformat())
    _save(repository, state)
    with open_session(repository) as session:
        run = _Run(repository=repository, session=session, state=state, progress=progress)
        issues, comments, changes = run.issues(), run.comments(), run.changes()
    began = _time(state["began_at"])
    Repository.objects.filter(pk=repository.pk, swept_until__isnull=True).update(swept_until=began)
    _save(repository, {**state, "done_at": timezone.now().isoformat()})
    progress(Progress(phase="done", done=issues + comments + changes, total=None))
    return Backfilled(issues=issues, comments=comments, changes=changes, has_resumed=has_resumed)


@dataclass(slots=True, kw_only=True)
class _Run:
    repository: Repository
    session: Session
    state: dict[str, Any]
    progress: Callable[[Progress], None]
    trusts: dict[str, Trust] = field(default_factory=dict)

    def issues(self) -> int:
        """Texts, labels and relations."""
        total = self._about("issues?state=all")
        seen: set[int] = set()
        for answer in self._pages("issues", "issues?state=all"):
            began = timezone.now()
            found = [wire.issue(item, us=self.session.login) for item in answer.items]
            fresh = [issue for issue in found if issue.id not in seen]
            seen |= {issue.id for issue in fresh}
            self._store_issues([issue for issue in fresh if not issue.is_pull], began)
            self._advance("issues", found[-1].updated_at if found else None, len(seen), total)
        self._end("issues")
        return len(seen)

    def comments(self) -> int:
        """Comments on issues; those in pull requests' conversations are read when one is looked at."""
        total = self._about("issues/comments")
        seen: set[int] = set()
        for answer in self._pages("comments", "issues/comments"):
            found = [wire.comment(item, us=self.session.login) for item in answer.items]
            fresh = [comment for comment in found if comment.id not in seen]
            seen |= {comment.id for comment in fresh}
            self._store_comments(fresh)
            self._advance("comments", found[-1].updated_at if found else None, len(seen), total)
        self._end("comments")
        return len(seen)

    def changes(self) -> int:
        """Pull requests, open and closed."""
        count = 0
        if self.state.get("changes") == "done":
            return count
        path = f"{self.session.path}/pulls?state=all&sort=created&direction=asc&per_page={pages.PER_PAGE}"
        url = self.state.get("changes") or path
        total = self._about("pulls?state=all")
        for answer in pages.each(self.session, url, most=_ENOUGH_PAGES):
            for item in answer.items:
                mirror.store_change(self.repository, wire.pull(item, us=self.session.login))
            count += len(answer.items)
            self.state["changes"] = answer.next_url or "done"
            _save(self.repository, self.state)
            self.progress(Progress(phase="pull requests", done=count, total=total))
        return count

    def _pages(self, phase: str, path: str) -> Iterable[pages.Answer]:
        at = self.state.get(phase)
        if at == "done":
            return []
        since = _time(at) if at else _EVER
        return pages.changed_since(self.session, f"{self.session.path}/{path}", since=since, most=_ENOUGH_PAGES)

    def _advance(self, phase: str, at: datetime | None, done: int, total: int | None) -> None:
        if at is not None:
            self.state[phase] = at.isoformat()
            _save(self.repository, self.state)
        self.progress(Progress(phase=phase, done=done, total=total))

    def _end(self, phase: str) -> None:
        self.state[phase] = "done"
        _save(self.repository, self.state)

    def _store_issues(self, found: list[RemoteIssue], began: datetime) -> None:
        known = dict(
            Issue.objects.filter(repository=self.repository, key__in=[issue.key for issue in found])
            .exclude(synced_at=None)
            .values_list("key", "updated_at")
        )
        # What changed since we read it whole is left to the sweep: stored here, nobody would look at the difference.
        found = [issue for issue in found if known.get(issue.key) in (None, issue.updated_at)]
        relations = {issue.key: self._relations(issue) for issue in found}
        self._look_up(issue for issue in found if issue.is_open)
        linked = [other for pair in relations.values() for others in pair for other in others]
        with transaction.atomic():
            for issue in [*found, *mirror.same_repository(self.repository, linked)]:
                mirror.ensure_issue(self.repository, issue)
            for issue in found:
                trust = self.trusts.get(issue.author)
                row = mirror.store_issue(self.repository, issue, trust=trust, synced_at=began)
                children, blockers = (
                    [other.key for other in mirror.same_repository(self.repository, others)]
                    for others in relations[issue.key]
                )
                mirror.store_structure(row, self._parent_key(issue), children, blockers, read_at=began)

    def _relations(self, issue: RemoteIssue) -> tuple[list[RemoteIssue], list[RemoteIssue]]:
        path = f"{self.session.path}/issues/{issue.number}"
        children = self._list(f"{path}/sub_issues") if issue.children_total else []
        blockers = self._list(f"{path}/dependencies/blocked_by") if issue.blockers_total else []
        return children, blockers

    def _list(self, path: str) -> list[RemoteIssue]:
        answers = pages.each(self.session, f"{path}?per_page={pages.PER_PAGE}", most=_CHILD_PAGES)
        return [wire.issue(item, us=self.session.login) for answer in answers for item in answer.items]

    def _parent_key(self, issue: RemoteIssue) -> str | None:
        """Of a parent that we have met; one that comes later brings its children along."""
        if issue.parent is None or issue.parent.scope.casefold() != self.repository.scope.casefold():
            return None
        return issue.parent.key if mirror.find(self.repository, issue.parent.key) is not None else None

    def _store_comments(self, found: list[RemoteComment]) -> None:
        by_issue: dict[str, list[RemoteComment]] = {}
        for comment in found:
            by_issue.setdefault(str(comment.number), []).append(comment)
        rows = list(Issue.objects.filter(repository=self.repository, key__in=by_issue).select_related("repository"))
        self._look_up(comment for row in rows if row.is_open for comment in by_issue[row.key])
        for row in rows:
            mirror.store_comments(row, by_issue[row.key], self.trusts, is_all=False)

    def _look_up(self, things: Iterable[RemoteIssue | RemoteComment]) -> None:
        """What authors may do: of open issues only, because the others are in no prompt before they are read again."""
        new = [thing for thing in things if thing.author not in self.trusts]
        self.trusts |= people.trusts(self.session, self.repository, new)

    def _about(self, path: str) -> int | None:
        return pages.about_how_many(self.session, f"{self.session.path}/{path}")


def _save(repository: Repository, state: dict[str, Any]) -> None:
    repository.backfill = state
    Repository.objects.filter(pk=repository.pk).update(backfill=state)


def _time(text: object) -> datetime:
    try:
        found = parse_datetime(str(text))
    except ValueError:
        found = None
    return found if found is not None and found.tzinfo else _EVER
