"""The built-in tracker: our own tables are its truth. For the demo, for tests and for work without a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils import timezone

from tracker import labels, limits, queries
from tracker.local import rows, structure
from tracker.models import Comment, Issue, IssueAssignee, IssueLabel, Reaction, Repository
from tracker.public_errors import ChangedError, InvalidError, NotFoundError
from tracker.public_types import AgentState, CloseReason, CommentView, IssueDraft, IssueView, Page, Ref, Trust

OPERATOR = "operator"
"""Whoever may run the management commands."""
_PAGE_ROWS = 100


class LocalTracker:
    """Implements `tracker.base.Tracker`; safe under any number of processes (see `rows.writing`)."""

    capabilities = frozenset({"sub_issues", "dependencies", "native_assign"})

    def __init__(self, *, home: Repository | None = None) -> None:
        """With `home`, a row that the caller's transaction has locked, its issues are written without locking it again."""
        self._home = home
        self._held: dict[str, Issue] = {}

    def _writing(self, scope: str) -> AbstractContextManager[Repository]:
        return rows.writing(scope, home=self._home)

    def _issue(self, ref: Ref) -> Issue:
        """The issue. Of a repository whose row the caller's transaction holds it is read once: nobody else writes it.

        For whoever looks at its state and changes it by `rows.touch`; links are looked at afresh.
        """
        if self._home is None or self._home.scope != ref.scope:
            return rows.issue(ref)
        if ref.key not in self._held:
            self._held[ref.key] = rows.issue(ref)
        return self._held[ref.key]

    # --- reads ---------------------------------------------------------------------------------------------------

    def get(self, ref: Ref) -> IssueView:
        """See `Tracker.get`."""
        return _view(rows.issue(ref))

    def list_changed(self, scope: str, since: datetime, cursor: str | None = None) -> Page[IssueView]:
        """See `Tracker.list_changed`."""
        changed = Issue.objects.filter(repository=rows.repository(scope), updated_at__gte=since)
        if cursor is not None:
            seen_at, seen_id = _parse_cursor(cursor)
            changed = changed.filter(Q(updated_at__gt=seen_at) | Q(updated_at=seen_at, id__gt=seen_id))
        found = list(queries.with_parts(changed.order_by("updated_at", "id"))[: _PAGE_ROWS + 1])
        page = found[:_PAGE_ROWS]
        following = f"{page[-1].updated_at.isoformat()} {page[-1].pk}" if len(found) > _PAGE_ROWS else None
        return Page(items=tuple(queries.issue_view(row) for row in page), cursor=following)

    def children(self, ref: Ref) -> list[Ref]:
        """See `Tracker.children`."""
        children = Issue.objects.filter(parent=rows.issue(ref)).order_by("position", "id")
        return [Ref(ref.scope, key) for key in children.values_list("key", flat=True)]

    def parent(self, ref: Ref) -> Ref | None:
        """See `Tracker.parent`."""
        key = Issue.objects.values_list("parent__key", flat=True).get(pk=rows.issue(ref).pk)
        return Ref(ref.scope, key) if key else None

    def blockers(self, ref: Ref) -> list[Ref]:
        """See `Tracker.blockers`."""
        return queries.blockers(rows.issue(ref), only_open=False)

    def comments(self, ref: Ref, since: datetime | None = None) -> list[CommentView]:
        """See `Tracker.comments`."""
        found = Comment.objects.filter(issue=rows.issue(ref)).order_by("created_at", "id")
        if since is not None:
            found = found.filter(Q(created_at__gte=since) | Q(edited_at__gte=since))
        return [queries.comment_view(comment, ref) for comment in found]

    def permission(self, scope: str, actor: str) -> Trust:
        """The operator and superusers administer, staff writes, other users read, everyone else may do nothing."""
        rows.repository(scope)
        if not limits.is_name(actor) or actor == rows.OURSELVES:
            return Trust.NONE
        user = get_user_model().objects.filter(username=actor).first()
        if user is None:
            return Trust.ADMIN if actor == OPERATOR else Trust.NONE
        if not user.is_active:
            return Trust.NONE
        if user.is_superuser:
            return Trust.ADMIN
        return Trust.WRITE if user.is_staff else Trust.READ

    # --- writes --------------------------------------------------------------------------------------------------

    def create(self, scope: str, draft: IssueDraft, dedupe_key: str) -> IssueView:
        """See `Tracker.create`."""
        limits.name(dedupe_key, field="dedupe_key")
        return create_issue(
            scope=scope, draft=draft, author=rows.OURSELVES, dedupe_key=dedupe_key, writing=self._writing
        )

    def edit(self, ref: Ref, *, title: str, body: str, was: str = "") -> IssueView:
        """See `Tracker.edit`."""
        title, body = limits.title(title), limits.body(body)
        with self._writing(ref.scope):
            issue = self._issue(ref)
            if (issue.title, issue.body) != (title, body):
                if was and was != limits.text_digest(title=issue.title, body=issue.body):
                    raise ChangedError(f"somebody has changed the texts of {ref}; they were left as they are")
                rows.touch(issue, title=title, body=body)
            return _view(issue)

    def link_child(self, parent: Ref, child: Ref, after: Ref | None = None, *, replace: bool = False) -> None:
        """See `Tracker.link_child`."""
        with self._writing(parent.scope):
            structure.link_child(
                parent=rows.issue(parent),
                child=rows.same_scope(parent, child, field="child"),
                after=rows.same_scope(parent, after, field="after") if after else None,
                replaces=replace,
            )

    def set_blockers(self, ref: Ref, blockers: Collection[Ref]) -> None:
        """See `Tracker.set_blockers`."""
        with self._writing(ref.scope):
            issue = rows.issue(ref)
            found = [rows.same_scope(ref, blocker, field="blockers") for blocker in set(blockers)]
            structure.set_blockers(issue=issue, blockers=found)

    def set_state(self, ref: Ref, state: AgentState) -> None:
        """See `Tracker.set_state`."""
        with self._writing(ref.scope):
            issue = self._issue(ref)
            if issue.is_open and issue.agent_state != state:
                rows.touch(issue, agent_state=state)

    def upsert_comment(self, ref: Ref, slot: str, data: Mapping[str, Any], markdown: str) -> CommentView:
        """See `Tracker.upsert_comment`."""
        limits.slot(slot)
        facts, text = limits.comment_data(data), limits.body(markdown, field="markdown")
        with self._writing(ref.scope):
            issue = self._issue(ref)
            comment = next(iter(Comment.objects.filter(issue=issue, slot=slot)[:1]), None)
            if comment is None:
                comment = insert_comment(issue=issue, author=rows.OURSELVES, body=text, slot=slot, data=facts)
            elif not _is_late(facts, comment.data) and (comment.body, comment.data) != (text, facts):
                comment.body, comment.data, comment.edited_at = text, facts, timezone.now()
                comment.save(update_fields=["body", "data", "edited_at"])
                rows.touch(issue)
            return queries.comment_view(comment, ref)

    def react(self, ref: Ref, kind: str, comment_id: str = "") -> None:
        """See `Tracker.react`."""
        if kind not in limits.REACTIONS:
            raise InvalidError(f"{kind[:20]!r} is no reaction; use one of {', '.join(limits.REACTIONS)}.", field="kind")
        with self._writing(ref.scope):
            issue = rows.issue(ref)
            comment = None
            if comment_id:
                found = Comment.objects.filter(issue=issue)
                comment = found.filter(pk=int(comment_id)).first() if limits.is_number(comment_id) else None
                if comment is None:
                    raise NotFoundError(f"{ref} has no comment {comment_id[:40]!r}.")
            Reaction.objects.get_or_create(issue=issue, comment=comment, kind=kind)

    def assign(self, ref: Ref, actor: str) -> bool:
        """See `Tracker.assign`."""
        is_ours = actor == rows.OURSELVES
        if not is_ours and self.permission(ref.scope, actor) is Trust.NONE:
            rows.issue(ref)
            return False
        with self._writing(ref.scope):
            return assign(issue=rows.issue(ref), login=actor, is_ours=is_ours)

    def close(self, ref: Ref, reason: CloseReason) -> None:
        """See `Tracker.close`."""
        with self._writing(ref.scope):
            issue = self._issue(ref)
            if issue.is_open:
                now = timezone.now()
                state = AgentState.NONE
                rows.touch(issue, now=now, is_open=False, close_reason=reason, closed_at=now, agent_state=state)

    def reopen(self, ref: Ref) -> None:
        """See `Tracker.reopen`."""
        with self._writing(ref.scope):
            issue = self._issue(ref)
            if not issue.is_open:
                rows.touch(issue, is_open=True, close_reason="", closed_at=None)

    def set_label(self, ref: Ref, name: str, *, present: bool) -> None:
        """See `Tracker.set_label`."""
        (name,) = limits.labels([name])
        if labels.state_of(name) is not None:
            raise InvalidError(f"{name} shows a state; use set_state.", field="name")
        with self._writing(ref.scope):
            put_label(rows.issue(ref), name, present=present)


def create_issue(
    *,
    scope: str,
    draft: IssueDraft,
    author: str,
    dedupe_key: str,
    writing: Callable[[str], AbstractContextManager[Repository]] = rows.writing,
) -> IssueView:
    """The one issue of a dedupe key, created unless it exists; an empty key always creates.

    Raises:
        NotFoundError: No such scope.
        InvalidError: The draft breaks a limit.
    """
    with writing(scope) as home:
        found = Issue.objects.filter(repository=home, dedupe_key=dedupe_key).first() if dedupe_key else None
        if found is None:
            state, names = labels.split(limits.labels(draft.labels))
            found = rows.insert(home=home, draft=draft, author=author, dedupe_key=dedupe_key, agent_state=state)
            IssueLabel.objects.bulk_create(IssueLabel(issue=found, name=name) for name in names)
        return _view(found)


def insert_comment(
    *, issue: Issue, author: str, body: str, slot: str = "", data: dict[str, Any] | None = None
) -> Comment:
    """A new comment. Call it under `rows.writing`.

    Raises:
        InvalidError: The issue has `COMMENTS_MAX` comments.
    """
    if Comment.objects.filter(issue=issue).count() >= limits.COMMENTS_MAX:
        raise InvalidError(f"#{issue.key} has {limits.COMMENTS_MAX} comments; open another issue.", field="ref")
    now, is_ours = timezone.now(), author == rows.OURSELVES
    rows.touch(issue, now=now)
    return Comment.objects.create(
        issue=issue,
        author=author,
        is_ours=is_ours,
        author_trust=Trust.NONE if is_ours else LocalTracker().permission(issue.repository.scope, author),
        slot=slot,
        body=body,
        data=data or {},
        created_at=now,
    )


def put_label(issue: Issue, name: str, *, present: bool) -> None:
    """Put a label on or take it off. Call it under `rows.writing`.

    Raises:
        InvalidError: The issue has too many.
    """
    found = IssueLabel.objects.filter(issue=issue, name__iexact=name)
    if present and not found.exists():
        limits.labels([*IssueLabel.objects.filter(issue=issue).values_list("name", flat=True), name])
        IssueLabel.objects.create(issue=issue, name=name)
        rows.touch(issue)
    elif not present and found.delete()[0]:
        rows.touch(issue)


def assign(*, issue: Issue, login: str, is_ours: bool) -> bool:
    """Assign somebody as well; False when the issue has `ASSIGNEES_MAX`. Call it under `rows.writing`."""
    logins = set(IssueAssignee.objects.filter(issue=issue).values_list("login", flat=True))
    if login in logins:
        return True
    if len(logins) >= limits.ASSIGNEES_MAX:
        return False
    IssueAssignee.objects.create(issue=issue, login=login, is_ours=is_ours)
    rows.touch(issue)
    return True


def _view(issue: Issue) -> IssueView:
    return queries.issue_view(queries.with_parts(Issue.objects.filter(pk=issue.pk)).get())


def _is_late(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    new_seq, old_seq = new.get("seq"), old.get("seq")
    return isinstance(new_seq, int) and isinstance(old_seq, int) and new_seq < old_seq


def _parse_cursor(cursor: str) -> tuple[datetime, int]:
    seen_at, _, seen_id = cursor.partition(" ")
    try:
        parsed = datetime.fromisoformat(seen_at)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None or not limits.is_number(seen_id):
        raise InvalidError(f"{cursor[:60]!r} is no cursor of this listing; start without one.", field="cursor")
    return parsed, int(seen_id)
