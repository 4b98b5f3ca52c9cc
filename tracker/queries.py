"""Reads that return frozen values, each with a constant number of queries."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import batched

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery

from tracker import labels, limits
from tracker.models import Comment, Dependency, Issue, IssueAssignee, IssueLabel, Repository
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import (
    AgentState,
    CloseReason,
    CommentView,
    IssueFacts,
    IssueLinks,
    IssueView,
    Ref,
    RepositoryView,
    Trust,
)

_IDS_PER_QUERY = 5_000  # SQLite takes 32,766 parameters in one statement
_HAS_HOLD = Exists(IssueLabel.objects.filter(issue=OuterRef("pk"), name__iexact=labels.HOLD))
_PEOPLE = IssueAssignee.objects.filter(issue=OuterRef("pk"), is_ours=False).order_by("login")
_PERSON = Subquery(_PEOPLE.values("login")[:1])


def repository_view(repository: Repository) -> RepositoryView:
    """The repository as a value."""
    return RepositoryView(
        id=repository.pk,
        tracker=repository.tracker,
        scope=repository.scope,
        source=repository.source,
        default_branch=repository.default_branch,
    )


def repository(repository_id: int) -> Repository:
    """The row.

    Raises:
        NotFoundError: There is none.
    """
    found = Repository.objects.filter(pk=repository_id).first()
    if found is None:
        raise NotFoundError(f"There is no repository with id {repository_id}.")
    return found


def find_repository(name: str) -> Repository | None:
    """The active repository with this scope or source, or the only one whose scope or source ends with `/name`.

    Raises:
        InvalidError: Several fit; the message lists them.
    """
    active = list(Repository.objects.filter(is_active=True).order_by("id"))
    for fits in (
        [row for row in active if name == row.scope],
        [row for row in active if name == row.source],
        [row for row in active if name in (_last_part(row.scope), _last_part(row.source))],
    ):
        if len(fits) > 1:
            names = ", ".join(f"{row.tracker}:{row.scope}" for row in fits[:10])
            raise InvalidError(f"{name[:100]!r} fits several repositories ({names}); name one scope.", field="name")
        if fits:
            return fits[0]
    return None


def issue(issue_id: int) -> Issue:
    """The row with its repository.

    Raises:
        NotFoundError: There is none.
    """
    found = Issue.objects.select_related("repository").filter(pk=issue_id).first()
    if found is None:
        raise NotFoundError(f"There is no issue with id {issue_id}.")
    return found


def issue_id(ref: Ref, *, repository_id: int | None) -> int:
    """Id of the issue that a ref names.

    Raises:
        NotFoundError: We know no such issue.
        InvalidError: Two trackers have this scope and `repository_id` is None.
    """
    found: list[int] = []
    if limits.is_name(ref.scope) and limits.is_name(ref.key):
        rows = Issue.objects.filter(repository__scope=ref.scope, key=ref.key)
        if repository_id is not None:
            rows = rows.filter(repository_id=repository_id)
        found = list(rows.values_list("pk", flat=True)[:2])
    if not found:
        raise NotFoundError(f"There is no issue {ref!s:.300}.")
    if len(found) > 1:
        raise InvalidError(f"{ref} exists in two trackers; pass repository_id.", field="ref")
    return found[0]


def with_parts(issues: QuerySet[Issue]) -> QuerySet[Issue]:
    """The same issues with all that `issue_view` shows; three queries."""
    return issues.select_related("repository").prefetch_related("labels", "assignees")


def issue_views_by_id(issue_ids: Iterable[int]) -> dict[int, IssueView]:
    """Issues as values by id; ids that do not exist are left out."""
    views: dict[int, IssueView] = {}
    for ids in batched(issue_ids, _IDS_PER_QUERY):
        rows = with_parts(Issue.objects.filter(pk__in=ids))
        views.update((row.pk, issue_view(row)) for row in rows)
    return views


def issue_view(row: Issue) -> IssueView:
    """The issue as a value."""
    state = AgentState(row.agent_state)
    return IssueView(
        ref=Ref(row.repository.scope, row.key),
        title=row.title,
        body=row.body,
        is_open=row.is_open,
        close_reason=CloseReason(row.close_reason) if row.close_reason else None,
        author=row.author,
        labels=tuple(sorted([label.name for label in row.labels.all()] + list(labels.of_state(state)))),
        assignees=tuple(sorted(assignee.login for assignee in row.assignees.all())),
        agent_state=state,
        created_at=row.created_at,
        updated_at=row.updated_at,
        url=row.url,
        author_trust=Trust(row.author_trust or Trust.NONE),
    )


def comment_view(comment: Comment, ref: Ref) -> CommentView:
    """The comment as a value."""
    return CommentView(
        id=str(comment.remote_id or comment.pk),
        ref=ref,
        author=comment.author,
        is_ours=comment.is_ours,
        slot=comment.slot,
        body=comment.body,
        created_at=comment.created_at,
        edited_at=comment.edited_at,
        trust=Trust(comment.author_trust or Trust.NONE),
    )


def comments(issue_id: int) -> list[CommentView]:
    """The comments of an issue, oldest first; one query, and a second one when there are any."""
    rows = sorted(Comment.objects.filter(issue=issue_id), key=lambda row: (row.created_at, row.pk))
    if not rows:  # as a rule, when an issue is new
        return []
    ref = Ref(*Issue.objects.values_list("repository__scope", "key").get(pk=issue_id))
    return [comment_view(row, ref) for row in rows]


def is_held(issue_id: int) -> bool:
    """Whether somebody put `agent:hold` on, or assigned a person."""
    people = Q(labels__name__iexact=labels.HOLD) | Q(assignees__is_ours=False)
    return Issue.objects.filter(people, pk=issue_id).exists()


def facts(issue_ids: Collection[int]) -> dict[int, IssueFacts]:
    """What admission must know; two queries. Ids that do not exist are left out."""
    found: dict[int, IssueFacts] = {}
    for ids in batched(issue_ids, _IDS_PER_QUERY):
        blockers: dict[int, list[Ref]] = {}
        links = Dependency.objects.filter(issue_id__in=ids, blocker__is_open=True).values_list(
            "issue_id", "blocker__repository__scope", "blocker__key"
        )
        for blocked, scope, key in links:
            blockers.setdefault(blocked, []).append(Ref(scope, key))
        rows = Issue.objects.filter(pk__in=ids).annotate(has_hold=_HAS_HOLD, person=_PERSON)
        for pk, is_open, has_hold, person in rows.values_list("pk", "is_open", "has_hold", "person"):
            reason = f"label {labels.HOLD}" if has_hold else f"assigned to {person}" if person else ""
            found[pk] = IssueFacts(
                is_open=is_open,
                held=bool(reason),
                hold_reason=reason,
                open_blockers=sorted_refs(blockers.get(pk, ())),
            )
    return found


def links(issue_ids: Collection[int]) -> dict[int, IssueLinks]:
    """How issues hang together; three queries. Ids that do not exist are left out."""
    found: dict[int, IssueLinks] = {}
    for ids in batched(issue_ids, _IDS_PER_QUERY):
        blockers: dict[int, list[tuple[int, str]]] = {}
        waits = Dependency.objects.filter(issue_id__in=ids).order_by("blocker_id")
        for blocked, blocker, key in waits.values_list("issue_id", "blocker_id", "blocker__key"):
            blockers.setdefault(blocked, []).append((blocker, key))
        counted = Issue.objects.filter(parent_id__in=ids).values_list("parent_id").annotate(n=Count("pk"))
        children = dict(counted.order_by())
        for pk, position in Issue.objects.filter(pk__in=ids).values_list("pk", "position"):
            found[pk] = IssueLinks(
                position=position, children=children.get(pk, 0), blockers=tuple(blockers.get(pk, ()))
            )
    return found


def sorted_refs(refs: Iterable[Ref]) -> tuple[Ref, ...]:
    """Refs by scope and then by number where keys are numbers, as people count."""
    return tuple(sorted(refs, key=lambda ref: (ref.scope, len(ref.key) if ref.key.isdigit() else 0, ref.key)))


def blockers(issue_row: Issue, *, only_open: bool) -> list[Ref]:
    """Issues that this one waits for, sorted."""
    condition = Q(blocker__is_open=True) if only_open else Q()
    links = Dependency.objects.filter(condition, issue=issue_row)
    return list(sorted_refs(Ref(*pair) for pair in links.values_list("blocker__repository__scope", "blocker__key")))


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].removesuffix(".git")
