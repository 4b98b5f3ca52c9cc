"""Comments on issues and pull requests, and reactions to both."""

from __future__ import annotations

from typing import Any

from tracker.fake_github import events
from tracker.fake_github.errors import invalid, not_found
from tracker.fake_github.paging import Listing
from tracker.fake_github.records import Comment, Reaction
from tracker.fake_github.routing import COMMENT, ISSUE, REPOSITORY, Call, route
from tracker.fake_github.shapes import issues as shapes
from tracker.limits import COMMENTS_MAX, REACTIONS


def _tell(call: Call, action: str, comment: Comment, **parts: Any) -> None:
    store, repository = call.store, call.repository
    issue = repository.issues[comment.issue]
    events.emit(
        store,
        "issue_comment",
        action,
        repository,
        call.actor_id,
        issue=shapes.issue(store, issue),
        comment=shapes.comment(store, repository, comment),
        **parts,
    )


@route("POST", ISSUE + "/comments", app="issues:write")
def create(call: Call) -> tuple[int, Any]:
    """Comment on an issue or pull request."""
    store, repository, issue = call.store, call.repository, call.issue
    body = call.text("body", resource="IssueComment")
    if shapes.comment_count(repository, issue.number) >= COMMENTS_MAX:
        message = f"Commenting is disabled on issues with more than {COMMENTS_MAX} comments"
        raise invalid(resource="IssueComment", field="body", message=message)
    at = store.timestamp()
    comment = Comment(
        id=store.new_id(), issue=issue.number, user_id=call.actor_id, body=body, created_at=at, updated_at=at
    )
    repository.comments[comment.id] = comment
    store.touch(issue)
    _tell(call, "created", comment)
    return 201, shapes.comment(store, repository, comment)


def _list(call: Call, comments: list[Comment]) -> tuple[int, Any]:
    since = call.query.get("since", "")
    found = [one for one in comments if one.updated_at >= since]
    sort = call.query.get("sort")
    if sort in ("created", "updated"):
        reverse = call.query.get("direction", "desc") != "asc"
        found.sort(key=lambda one: (one.updated_at if sort == "updated" else one.created_at, one.id), reverse=reverse)
    return 200, Listing(items=[shapes.comment(call.store, call.repository, one) for one in found])


@route("GET", ISSUE + "/comments", app="issues:read")
def list_of_issue(call: Call) -> tuple[int, Any]:
    """The comments of an issue, oldest first."""
    return _list(call, [one for one in call.repository.comments.values() if one.issue == call.issue.number])


@route("GET", REPOSITORY + "/issues/comments", app="issues:read")
def list_of_repository(call: Call) -> tuple[int, Any]:
    """All comments of a repository."""
    return _list(call, list(call.repository.comments.values()))


@route("GET", COMMENT, app="issues:read")
def get(call: Call) -> tuple[int, Any]:
    """One comment."""
    return 200, shapes.comment(call.store, call.repository, call.comment)


@route("PATCH", COMMENT, app="issues:write")
def change(call: Call) -> tuple[int, Any]:
    """Edit a comment: its author or somebody who may write."""
    comment = call.comment
    _own_or_write(call, comment)
    before, body = comment.body, call.text("body", resource="IssueComment")
    comment.body, comment.updated_at = body, call.store.timestamp()
    call.store.touch(call.repository.issues[comment.issue])
    if body != before:
        _tell(call, "edited", comment, changes={"body": {"from": before}})
    return 200, shapes.comment(call.store, call.repository, comment)


@route("DELETE", COMMENT, app="issues:write")
def delete(call: Call) -> tuple[int, Any]:
    """Delete a comment: its author or somebody who may write."""
    comment = call.comment
    _own_or_write(call, comment)
    call.store.touch(call.repository.issues[comment.issue])
    _tell(call, "deleted", comment)
    del call.repository.comments[comment.id]
    return 204, None


def _own_or_write(call: Call, comment: Comment) -> None:
    if comment.user_id != call.actor_id:
        call.needs(app="issues:write", person="write")


@route("PUT", COMMENT + "/pin", app="issues:write", person="triage")
def pin(call: Call) -> tuple[int, Any]:
    """Pin a comment; whichever was pinned before is not any more."""
    for other in call.repository.comments.values():
        if other.issue == call.comment.issue:
            other.pinned_at = other.pinned_by = None
    call.comment.pinned_at, call.comment.pinned_by = call.store.timestamp(), call.actor_id
    _tell(call, "pinned", call.comment)
    return 200, shapes.comment(call.store, call.repository, call.comment)


@route("DELETE", COMMENT + "/pin", app="issues:write", person="triage")
def unpin(call: Call) -> tuple[int, Any]:
    """Unpin a comment."""
    call.comment.pinned_at = call.comment.pinned_by = None
    _tell(call, "unpinned", call.comment)
    return 204, None


def react(call: Call, reactions: list[Reaction]) -> tuple[int, Any]:
    """Add the caller's reaction; 200 when it is there already."""
    content = call.fields().get("content")
    if content not in REACTIONS:
        raise invalid(resource="Reaction", field="content")
    for one in reactions:
        if one.user_id == call.actor_id and one.content == content:
            return 200, shapes.reaction(call.store, one)
    made = Reaction(id=call.store.new_id(), user_id=call.actor_id, content=content, created_at=call.store.timestamp())
    reactions.append(made)
    return 201, shapes.reaction(call.store, made)


def unreact(call: Call, reactions: list[Reaction]) -> tuple[int, Any]:
    """Take back a reaction: one's own, or any with the right to write."""
    for one in reactions:
        if one.id == int(call.arguments["reaction_id"]):
            if one.user_id != call.actor_id:
                call.needs(app="issues:write", person="write")
            reactions.remove(one)
            return 204, None
    raise not_found()


@route("POST", ISSUE + "/reactions", app="issues:write")
def react_to_issue(call: Call) -> tuple[int, Any]:
    """React to an issue; 200 when that reaction is there already."""
    return react(call, call.issue.reactions)


@route("GET", ISSUE + "/reactions", app="issues:read")
def list_issue_reactions(call: Call) -> tuple[int, Any]:
    """The reactions to an issue."""
    return 200, Listing(items=[shapes.reaction(call.store, one) for one in call.issue.reactions])


@route("DELETE", ISSUE + "/reactions/{reaction_id}", app="issues:write")
def unreact_to_issue(call: Call) -> tuple[int, Any]:
    """Take back a reaction to an issue."""
    return unreact(call, call.issue.reactions)


@route("POST", COMMENT + "/reactions", app="issues:write")
def react_to_comment(call: Call) -> tuple[int, Any]:
    """React to a comment; 200 when that reaction is there already."""
    return react(call, call.comment.reactions)


@route("GET", COMMENT + "/reactions", app="issues:read")
def list_comment_reactions(call: Call) -> tuple[int, Any]:
    """The reactions to a comment."""
    return 200, Listing(items=[shapes.reaction(call.store, one) for one in call.comment.reactions])


@route("DELETE", COMMENT + "/reactions/{reaction_id}", app="issues:write")
def unreact_to_comment(call: Call) -> tuple[int, Any]:
    """Take back a reaction to a comment."""
    return unreact(call, call.comment.reactions)
