"""Comments of ours that are edited in place: one for each slot of an issue, known by a signed first line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from tracker import limits
from tracker.conf import conf
from tracker.github import attempts, markers, mirror, wire, written
from tracker.github.desk import Desk
from tracker.github.wire import RemoteComment
from tracker.models import Comment, Issue
from tracker.public_errors import ConflictError, NotFoundError, UnavailableError
from tracker.public_types import CommentView, Ref


def upsert(desk: Desk, ref: Ref, slot: str, data: Mapping[str, Any], markdown: str, *, rest: timedelta) -> Comment:
    """The row of the one comment of ours in this slot, created or edited in place.

    Raises:
        InvalidError: Bad slot, too long, or data that is no small JSON object.
        UnavailableError: With `maybe_applied`, calling again finds the comment if it was created.
    """
    limits.slot(slot)
    facts, text = limits.comment_data(data), limits.body(markdown, field="markdown")
    issue = desk.row(ref)
    body = markers.comment_body(
        slot=slot, issue_id=issue.remote_id or 0, data=facts, markdown=text, secret=conf().marker_key
    )
    name = f"comment:{ref.key}:{slot}"
    row = Comment.objects.filter(issue=issue, slot=slot).first()
    present = _read(desk, issue, row, rest=rest)
    if present is None:
        attempt = attempts.earlier(desk.repository, name)
        present = _find(desk, ref, issue, slot)
        if present is None and attempt is not None:
            attempts.check_rest(attempt, rest=rest)
    if present is None:
        with attempts.creating(desk.repository, name), desk.calling(write=True):
            made = desk.handle(ref.key).create_comment(body)
        present = wire.comment(wire.raw(made), us=desk.us)
    elif not _is_late(facts, present, issue=issue, row=row) and present.body.rstrip() != body.rstrip():
        present = _edit(desk, present, body)
    return _keep(desk, issue, present, name)


def on_pull(desk: Desk, ref: Ref, slot: str, data: Mapping[str, Any], markdown: str, *, rest: timedelta) -> CommentView:
    """The same in the conversation of a pull request, of whose comments we keep no rows: each call looks for ours by its marker.

    Raises:
        InvalidError, UnavailableError: As for `upsert`.
        NotFoundError: There is nothing of that number.
    """
    limits.slot(slot)
    facts, text = limits.comment_data(data), limits.body(markdown, field="markdown")
    number = desk.issue(ref, allow_pull=True).id
    body = markers.comment_body(slot=slot, issue_id=number, data=facts, markdown=text, secret=conf().marker_key)
    name = f"comment:{ref.key}:{slot}"
    attempt = attempts.earlier(desk.repository, name)
    present = _marked(desk, ref, number, slot)
    if present is None:
        if attempt is not None:
            attempts.check_rest(attempt, rest=rest)
        with attempts.creating(desk.repository, name), desk.calling(write=True):
            present = wire.comment(wire.raw(desk.handle(ref.key).create_comment(body)), us=desk.us)
    elif present.body.rstrip() != body.rstrip():
        present = _edit(desk, present, body)
    attempts.done(desk.repository, name)
    return CommentView(
        id=str(present.id),
        ref=ref,
        author=present.author,
        is_ours=present.is_ours,
        slot=slot,
        body=text,
        created_at=present.created_at,
        edited_at=present.edited_at,
    )


def _read(desk: Desk, issue: Issue, row: Comment | None, *, rest: timedelta) -> RemoteComment | None:
    """The comment that our row names; None, and no row any more, when somebody has deleted it.

    Raises:
        UnavailableError: It is missing so soon after a write of ours that it may just not show yet.
    """
    if row is None or row.remote_id is None:
        return None
    try:
        with desk.calling():
            return wire.comment(desk.handle(issue.key).get_comment(row.remote_id).raw_data, us=desk.us)
    except NotFoundError as error:
        if issue.written_at and timezone.now() < issue.written_at + rest:
            message = f"Our comment {row.remote_id} does not show; if it was deleted it is written anew in a minute."
            raise UnavailableError(message, maybe_applied=False) from error
        row.delete()
        return None


def _find(desk: Desk, ref: Ref, issue: Issue, slot: str) -> RemoteComment | None:
    """The oldest comment of ours in this slot: our answer was lost, or our rows were."""
    return _marked(desk, ref, issue.remote_id, slot)


def _marked(desk: Desk, ref: Ref, number: int | None, slot: str) -> RemoteComment | None:
    """The oldest comment whose marker we signed for this slot of what GitHub has under this number of its own."""
    for remote in desk.comments(ref):
        marked = mirror.read_marker(remote, issue_id=number)
        if marked is not None and marked.slot == slot:
            return remote
    return None


def _is_late(facts: Mapping[str, Any], present: RemoteComment, *, issue: Issue, row: Comment | None) -> bool:
    # The row counts as well: a read may lag behind, and a person may have spoiled the marker.
    marked = mirror.read_marker(present, issue_id=issue.remote_id)
    shown = marked.data if marked else {}
    return markers.is_late(facts, shown) or markers.is_late(facts, row.data if row else {})


def _edit(desk: Desk, present: RemoteComment, body: str) -> RemoteComment:
    handle = desk.comment_handle(present.id)
    try:
        with desk.calling(write=True):
            handle.edit(body)
            updated_at = handle.updated_at
    except NotFoundError as error:
        raise ConflictError(f"Our comment {present.id} was deleted while we edited it; it is written anew.") from error
    return replace(present, body=body, updated_at=updated_at)


def _keep(desk: Desk, issue: Issue, remote: RemoteComment, name: str) -> Comment:
    with transaction.atomic():
        (row,) = mirror.store_comments(issue, [remote], {}, is_all=False)
        written.commented(issue)
        attempts.done(desk.repository, name)
    return row
