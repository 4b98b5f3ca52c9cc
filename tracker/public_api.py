"""Repositories and issues as we know them, and people's acts on the local tracker.

Views are frozen values; errors are those of `tracker.public_errors`. What the grid writes goes through
`tracker.public_writes`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from django.db import transaction

from tracker import labels, limits, queries
from tracker.base import Tracker
from tracker.github.tracker import GithubTracker
from tracker.local import people
from tracker.local.tracker import OPERATOR, LocalTracker
from tracker.models import Issue, Repository
from tracker.public_errors import ForbiddenError, InvalidError, NotFoundError
from tracker.public_types import (
    CloseReason,
    CommentView,
    IssueDraft,
    IssueFacts,
    IssueLinks,
    IssueView,
    Ref,
    RepositoryView,
)
from tracker.sync import refreshing

logger = logging.getLogger(__name__)

# --- repositories --------------------------------------------------------------------------------------------------


def ensure_repository(*, tracker: str, scope: str, source: str, default_branch: str) -> RepositoryView:
    """The repository of this tracker and scope, created unless it exists; source and branch follow the arguments.

    Raises:
        InvalidError: An unknown tracker, or a bad name.
    """
    _check_tracker(tracker)
    texts = {"source": source, "default_branch": default_branch}
    for field, text in texts.items():
        longest: int = getattr(Repository._meta.get_field(field), "max_length", 0)
        if not 0 < len(text) <= longest or limits.clean_text(text) != text or "\n" in text:
            raise InvalidError(f"The {field} is empty, longer than {longest} or has control characters.", field=field)
    with transaction.atomic():
        row, is_new = Repository.objects.get_or_create(
            tracker=tracker, scope=limits.name(scope, field="scope"), defaults=texts
        )
        if not is_new and (row.source, row.default_branch, row.is_active) != (source, default_branch, True):
            row.source, row.default_branch, row.is_active = source, default_branch, True
            row.save(update_fields=["source", "default_branch", "is_active"])
    return queries.repository_view(row)


def get_repository(repository_id: int) -> RepositoryView:
    """The repository.

    Raises:
        NotFoundError: There is none.
    """
    return queries.repository_view(queries.repository(repository_id))


def find_repository(name: str) -> RepositoryView | None:
    """The active repository with this scope or source, or the only one whose scope or source ends with `/name`.

    Raises:
        InvalidError: Several fit; the message lists them.
    """
    found = queries.find_repository(name)
    return queries.repository_view(found) if found else None


def list_repositories() -> list[RepositoryView]:
    """Active repositories by scope."""
    rows = Repository.objects.filter(is_active=True).order_by("scope", "tracker")
    return [queries.repository_view(row) for row in rows]


def tracker_for(repository_id: int) -> Tracker:
    """The tracker that holds this repository's issues.

    Raises:
        NotFoundError: No such repository.
        InvalidError: This version cannot talk to that tracker.
    """
    repository = queries.repository(repository_id)
    _check_tracker(repository.tracker)
    return GithubTracker(repository) if repository.tracker == Repository.Kind.GITHUB else LocalTracker()


# --- issues --------------------------------------------------------------------------------------------------------


def get_issue(issue_id: int) -> IssueView:
    """The issue as we know it.

    Raises:
        NotFoundError: There is none.
    """
    found = queries.issue_views_by_id([issue_id])
    if issue_id not in found:
        raise NotFoundError(f"There is no issue with id {issue_id}.")
    return found[issue_id]


def get_issues(issue_ids: Iterable[int]) -> dict[int, IssueView]:
    """Issues by id in three queries; ids that do not exist are left out."""
    return queries.issue_views_by_id(issue_ids)


def issue_id(ref: Ref, *, repository_id: int | None = None) -> int:
    """Our id of an issue.

    Raises:
        NotFoundError: We know no such issue.
        InvalidError: Two trackers have this scope and `repository_id` is None.
    """
    return queries.issue_id(ref, repository_id=repository_id)


def children_ids(issue_id: int) -> list[int]:
    """Ids of the sub-issues in their order, closed ones too."""
    return list(Issue.objects.filter(parent_id=issue_id).order_by("position", "id").values_list("pk", flat=True))


def parent_id(issue_id: int) -> int | None:
    """Id of the issue that this one is a part of.

    Raises:
        NotFoundError: No such issue.
    """
    return queries.issue(issue_id).parent_id


def open_blockers(issue_id: int) -> list[Ref]:
    """Open issues that this one waits for, sorted.

    Raises:
        NotFoundError: No such issue.
    """
    return queries.blockers(queries.issue(issue_id), only_open=True)


def blocker_ids(issue_id: int) -> list[int]:
    """Ids of the issues that this one waits for or waited for, closed ones too."""
    return list(Issue.objects.filter(waiting_links__issue_id=issue_id).order_by("pk").values_list("pk", flat=True))


def blocked_by(issue_ids: Collection[int]) -> list[int]:
    """Ids of the open issues that wait for any of these."""
    waiting = Issue.objects.filter(blocker_links__blocker_id__in=issue_ids, is_open=True)
    return list(waiting.order_by("pk").values_list("pk", flat=True).distinct())


def facts(issue_ids: Collection[int]) -> dict[int, IssueFacts]:
    """What admission must know, in two queries; ids that do not exist are left out."""
    return queries.facts(issue_ids)


def links(issue_ids: Collection[int]) -> dict[int, IssueLinks]:
    """How issues hang together, in three queries; ids that do not exist are left out."""
    return queries.links(issue_ids)


def text_digest(*, title: str, body: str) -> str:
    """What a write `edit` names the texts by that it replaces."""
    return limits.text_digest(title=title, body=body)


def comments(issue_id: int) -> list[CommentView]:
    """The comments we know of, oldest first, each with its author's trust; none for an issue that does not exist."""
    return queries.comments(issue_id)


def is_held(issue_id: int) -> bool:
    """Whether a person keeps us away from the issue; `facts` says how."""
    return queries.is_held(issue_id)


def refresh(issue_id: int) -> None:
    """Read the issue again from its tracker into our mirror; the local tracker's rows are the truth already.

    Call it outside any transaction: it may go over the network.

    Raises:
        NotFoundError: No such issue.
        TrackerError: The tracker could not be asked; nothing was changed.
    """
    row = queries.issue(issue_id)
    if row.repository.tracker != Repository.Kind.LOCAL:
        refreshing.refresh(row.repository_id, row.key)


# --- acts of operators: on the local tracker only, elsewhere people act on the tracker's own pages -----------------


def create_issue(*, repository_id: int, draft: IssueDraft, dedupe_key: str = "", author: str = OPERATOR) -> IssueView:
    """Open an issue; with a dedupe key only once, for ever.

    Raises:
        NotFoundError: No such repository.
        InvalidError: The draft breaks a limit.
        ForbiddenError: The repository's issues are not ours to make.
    """
    repository = queries.repository(repository_id)
    _check_local(repository, "open the issue")
    return people.create(scope=repository.scope, draft=draft, author=author, dedupe_key=dedupe_key)


def add_comment(issue_id: int, *, markdown: str, author: str = OPERATOR) -> CommentView:
    """Write a comment as a person.

    Raises:
        NotFoundError, InvalidError, ForbiddenError: As for `create_issue`.
    """
    return people.comment(ref=_local_ref(issue_id, act="comment", actor=author), author=author, markdown=markdown)


def set_hold(issue_id: int, *, held: bool, actor: str = OPERATOR) -> None:
    """Put `agent:hold` on the issue, which keeps the grid away from it, or take it off.

    Raises:
        NotFoundError, ForbiddenError: As for `create_issue`.
    """
    act = f"put the label {labels.HOLD} on" if held else f"take the label {labels.HOLD} off"
    people.set_label(ref=_local_ref(issue_id, act=act, actor=actor), name=labels.HOLD, present=held)


def close_issue(issue_id: int, *, reason: CloseReason = CloseReason.COMPLETED, actor: str = OPERATOR) -> None:
    """Close the issue; an issue already closed keeps its reason.

    Raises:
        NotFoundError, ForbiddenError: As for `create_issue`.
    """
    people.close(ref=_local_ref(issue_id, act="close it", actor=actor), reason=reason)


def reopen_issue(issue_id: int, *, actor: str = OPERATOR) -> None:
    """Open the issue again; does nothing when it is open.

    Raises:
        NotFoundError, ForbiddenError: As for `create_issue`.
    """
    people.reopen(ref=_local_ref(issue_id, act="reopen it", actor=actor))


def _check_tracker(name: str) -> None:
    if name not in Repository.Kind.values:
        raise InvalidError(f"There is no tracker {name[:40]!r}; use 'local' or 'github'.", field="tracker")


def _check_local(repository: Repository, act: str) -> None:
    if repository.tracker != Repository.Kind.LOCAL:
        raise ForbiddenError(f"The issues of {repository.scope} live in {repository.tracker}: {act} there.")


def _local_ref(issue_id: int, *, act: str, actor: str) -> Ref:
    row = queries.issue(issue_id)
    _check_local(row.repository, act)
    ref = Ref(row.repository.scope, row.key)
    facts_of_act = {"action": act, "actor": limits.person(actor), "issue": str(ref)}
    logger.info("a person acts on a local issue", extra=facts_of_act)
    return ref
