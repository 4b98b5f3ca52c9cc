"""The sweep: what changed since the last one, whether a webhook told us or not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from tracker import queries
from tracker.github import parts, wire
from tracker.github.session import Session, open_session
from tracker.github.wire import RemoteComment, RemoteIssue
from tracker.models import Change, Issue, Repository
from tracker.public_types import ChecksState, Hint, HintKind
from tracker.sync import pages

OVERLAP = timedelta(minutes=2)
"""Listings lag: what was changed may show up later than the change."""
MAX_PAGES = 5
"""Of each listing in one sweep; the next one goes on behind them."""
SWEEP = "sweep"
_CLOSE = timedelta(seconds=5)
_OPEN_CHANGES = 50
_CHECKS_MAY_COME_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A hint and when the tracker says it happened."""

    at: datetime
    hint: Hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep found. The cursor stays where it was until `settle`."""

    steps: tuple[Step, ...]
    """In the order of their times."""
    started_from: datetime | None
    """The cursor at the start."""
    until: datetime
    """Where the cursor goes when all steps have been taken up."""
    is_complete: bool
    """False when there was more than one sweep reads."""


def sweep(repository_id: int, now: datetime) -> Swept:
    """Read what changed since the cursor; stores nothing.

    Issues come as ISSUE hints unless we have read them whole since they changed; comments as COMMENT hints, our own
    excepted; pull requests as CHANGE hints, and so do open ones of ours whose checks may have ended.

    Raises:
        NotFoundError: No such repository, or it is not ours to see.
        RateLimitedError: Wait until then; the next sweep finds the same.
        TrackerError: GitHub did not answer; the next sweep finds the same.
    """
    repository = queries.repository(repository_id)
    since = (repository.swept_until or repository.created_at) - OVERLAP
    with open_session(repository, afresh=True) as session:
        issues = _Listing(session, f"{session.path}/issues?state=all", since=since)
        comments = _Listing(session, f"{session.path}/issues/comments", since=since)
        us = session.login
    ends = [listing.end for listing in (issues, comments) if listing.end is not None]
    # An unfinished one goes on exactly where it stopped: the overlap is added here and taken off by the next sweep.
    until = min([listing_end + OVERLAP for listing_end in ends] or [min(issues.began, comments.began)])
    steps = [
        *_of_issues(repository, [wire.issue(item, us=us) for item in issues.items]),
        *_of_comments(repository, [wire.comment(item, us=us) for item in comments.items]),
    ]
    steps = [step for step in steps if not ends or step.at <= min(ends)]
    if not ends:
        told = {step.hint.key for step in steps if step.hint.kind == HintKind.CHANGE}
        steps += [step for step in _of_checks(repository, now) if step.hint.key not in told]
    return Swept(
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        started_from=repository.swept_until,
        until=until,
        is_complete=not ends,
    )


def settle(repository_id: int, swept: Swept, *, taken: int) -> bool:
    """Move the cursor behind the first `taken` steps; all of them: behind the sweep.

    Returns:
        False when another sweep moved it meanwhile, or there was nothing to move.
    """
    until = swept.until if taken >= len(swept.steps) else min(swept.until, swept.steps[taken].at + OVERLAP)
    until = max(until, swept.started_from or until)
    values: dict[str, datetime] = {"swept_until": until}
    if swept.is_complete and taken >= len(swept.steps):
        values["swept_at"] = timezone.now()
    rows = Repository.objects.filter(pk=repository_id, swept_until=swept.started_from)
    return bool(rows.update(**values)) and until != swept.started_from


class _Listing:
    """All that a listing says since a time, each thing once, in its latest version."""

    def __init__(self, session: Session, path: str, *, since: datetime) -> None:
        answers = list(pages.changed_since(session, path, since=since, most=MAX_PAGES))
        self.began = answers[0].at
        self.items = list({item.get("id"): item for answer in answers for item in answer.items}.values())
        self.end: datetime | None = None
        """Where an unfinished one stopped; None when nothing is left."""
        if answers[-1].next_url and answers[-1].items:
            self.end = parts.moment(answers[-1].items[-1], "updated_at")


def _of_issues(repository: Repository, issues: list[RemoteIssue]) -> list[Step]:
    rows = Issue.objects.filter(repository=repository, key__in=[issue.key for issue in issues])
    known = {row.key: row for row in rows.only("key", "updated_at", "synced_at")}
    steps = []
    for issue in issues:
        kind = HintKind.CHANGE if issue.is_pull else HintKind.ISSUE
        if issue.is_pull or issue.key not in known or _is_stale(known[issue.key], issue.updated_at):
            hint = Hint(kind=kind, action=SWEEP, scope=repository.scope, key=issue.key)
            steps.append(Step(at=issue.updated_at, hint=hint))
    return steps


def _is_stale(row: Issue, at: datetime) -> bool:
    """Whether it may have changed since we last read it whole.

    A whole read leaves the time of change that it saw. Within seconds of the read that alone says nothing: times of
    change have whole seconds, and clocks differ.
    """
    return row.synced_at is None or at != row.updated_at or at > row.synced_at - _CLOSE


def _of_comments(repository: Repository, comments: list[RemoteComment]) -> list[Step]:
    steps = []
    for comment in comments:
        if comment.is_ours or not comment.number:
            continue
        in_change = f"/pull/{comment.number}" in comment.url
        hint = Hint(
            kind=HintKind.CHANGE if in_change else HintKind.COMMENT,
            action=SWEEP,
            scope=repository.scope,
            key=str(comment.number),
            comment_id=str(comment.id),
            text=comment.body,
            actor=comment.author,
            actor_is_bot=comment.author_is_bot,
        )
        steps.append(Step(at=comment.updated_at, hint=hint))
    return steps


def _of_checks(repository: Repository, now: datetime) -> list[Step]:
    """Open pull requests of ours whose checks may have ended: that alone does not show in any listing."""
    waiting = Change.objects.filter(
        repository=repository,
        is_ours=True,
        is_open=True,
        checks__in=[ChecksState.NONE, ChecksState.PENDING],
        updated_at__gt=now - _CHECKS_MAY_COME_FOR,
    ).order_by("-updated_at")
    keys = waiting.values_list("key", flat=True)[:_OPEN_CHANGES]
    hints = [Hint(kind=HintKind.CHANGE, action=SWEEP, scope=repository.scope, key=key) for key in keys]
    return [Step(at=now, hint=hint) for hint in hints]
