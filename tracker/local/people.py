"""What people do in the local tracker: the acts that GitHub's users perform on its pages."""

from __future__ import annotations

from tracker import labels, limits, queries
from tracker.local import rows, structure
from tracker.local.tracker import LocalTracker, assign, create_issue, insert_comment, put_label
from tracker.models import IssueAssignee
from tracker.public_errors import InvalidError
from tracker.public_types import AgentState, CloseReason, CommentView, IssueDraft, IssueView, Ref


def create(*, scope: str, draft: IssueDraft, author: str, dedupe_key: str = "") -> IssueView:
    """Open an issue; with a dedupe key only once.

    Raises:
        NotFoundError: No such scope.
        InvalidError: The draft breaks a limit, or the author is no person.
    """
    if dedupe_key:
        # A space of its own: no key that a person chooses can hide a write of ours.
        dedupe_key = f"person:{limits.name(dedupe_key, field='dedupe_key')}"
    return create_issue(scope=scope, draft=draft, author=_person(author, field="author"), dedupe_key=dedupe_key)


def edit(*, ref: Ref, title: str, body: str) -> None:
    """Replace an issue's texts.

    Raises:
        InvalidError: A text breaks a limit.
    """
    with rows.writing(ref.scope):
        rows.touch(rows.issue(ref), title=limits.title(title), body=limits.body(body))


def comment(*, ref: Ref, author: str, markdown: str) -> CommentView:
    """Write a comment.

    Raises:
        InvalidError: Too long, or the author is no person.
    """
    text = limits.body(markdown, field="markdown")
    with rows.writing(ref.scope):
        row = insert_comment(issue=rows.issue(ref), author=_person(author, field="author"), body=text)
        return queries.comment_view(row, ref)


def set_label(*, ref: Ref, name: str, present: bool) -> None:
    """Put a label on or take it off; a state label changes the state that the issue shows.

    Raises:
        InvalidError: No name for a label, or the issue has too many.
    """
    (name,) = limits.labels([name])
    state = labels.state_of(name)
    with rows.writing(ref.scope):
        issue = rows.issue(ref)
        if state is not None:
            if present and issue.is_open:
                rows.touch(issue, agent_state=state)
            elif issue.agent_state == state:
                rows.touch(issue, agent_state=AgentState.NONE)
            return
        put_label(issue, name, present=present)


def set_assignee(*, ref: Ref, login: str, present: bool) -> None:
    """Assign a person, which keeps the grid away from the issue, or take the person off.

    Raises:
        InvalidError: No login, our own one, or the issue has too many assignees.
    """
    login = _person(login, field="login")
    with rows.writing(ref.scope):
        issue = rows.issue(ref)
        if present:
            if not assign(issue=issue, login=login, is_ours=False):
                raise InvalidError(f"{ref} has {limits.ASSIGNEES_MAX} assignees; take one off.", field="login")
        elif IssueAssignee.objects.filter(issue=issue, login=login, is_ours=False).delete()[0]:
            rows.touch(issue)


def unlink_child(*, parent: Ref, child: Ref) -> None:
    """Take a sub-issue away from its parent; does nothing when it is not its child."""
    with rows.writing(parent.scope):
        structure.unlink_child(parent=rows.issue(parent), child=rows.same_scope(parent, child, field="child"))


def close(*, ref: Ref, reason: CloseReason) -> None:
    """Close the issue; an issue already closed keeps its reason."""
    LocalTracker().close(ref, reason)


def reopen(*, ref: Ref) -> None:
    """Open the issue again; does nothing when it is open."""
    LocalTracker().reopen(ref)


def _person(login: str, *, field: str) -> str:
    if login == rows.OURSELVES:
        raise InvalidError(f"{login!r} is the grid itself; name a person.", field=field)
    return limits.person(login, field=field)
