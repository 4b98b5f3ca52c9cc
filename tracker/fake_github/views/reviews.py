"""Reviews of pull requests and comments on their lines."""

from __future__ import annotations

from typing import Any

from tracker.fake_github import events
from tracker.fake_github.errors import ApiError, Json, invalid, not_found
from tracker.fake_github.paging import Listing
from tracker.fake_github.records import Issue, Review, ReviewComment
from tracker.fake_github.routing import PULL, REPOSITORY, Call, bounded, route
from tracker.fake_github.shapes import issues as issue_shapes
from tracker.fake_github.shapes import pulls as shapes
from tracker.fake_github.views import comments

_STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


def _tell(call: Call, event: str, action: str, **parts: Any) -> None:
    shape = shapes.pull(call.store, call.pull)
    events.emit(call.store, event, action, call.repository, call.actor_id, pull_request=shape, **parts)


@route("POST", PULL + "/reviews", app="pull_requests:write")
def create(call: Call) -> tuple[int, Any]:
    """Submit a review with comments on lines."""
    store, issue, fields = call.store, call.pull, call.fields()
    data = shapes.pull_of(issue)
    word = fields.get("event", "COMMENT")
    given = fields.get("comments") or []
    if word not in _STATES:
        raise invalid(resource="PullRequestReview", field="event")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise invalid(resource="PullRequestReview", field="comments")
    body = call.optional_text("body", resource="PullRequestReview") or ""
    if word != "APPROVE" and not body and not given:
        raise invalid(resource="PullRequestReview", field="body", code="missing_field")
    if word != "COMMENT" and call.actor_id == issue.user_id:
        what = "approve" if word == "APPROVE" else "request changes on"
        raise ApiError(422, "Unprocessable Entity", [f"Can not {what} your own pull request"])
    head = shapes.head_sha(call.repository, data, is_open=issue.state == "open")
    at = store.timestamp()
    review = Review(
        id=store.new_id(), user_id=call.actor_id, state=_STATES[word], body=body, commit_id=head, submitted_at=at
    )
    made = [_comment(call, issue, one, review_id=review.id) for one in given]
    data.reviews.append(review)
    store.note(issue, "reviewed", call.actor_id, state=review.state.lower(), body=body, submitted_at=at)
    shape = shapes.review(store, issue, review)
    # Only webhooks write a review's state in lower case.
    _tell(call, "pull_request_review", "submitted", review=shape | {"state": review.state.lower()})
    for comment in made:
        _announce(call, issue, comment)
    return 200, shape


def _comment(call: Call, issue: Issue, given: Json, *, review_id: int | None) -> ReviewComment:
    """Add one comment on a line; nobody is told yet."""
    data = shapes.pull_of(issue)
    body, path, line = given.get("body"), given.get("path"), given.get("line", given.get("position"))
    reply = given.get("in_reply_to")
    if reply is not None:
        first = next((one for one in data.review_comments if one.id == reply), None)
        if first is None:
            raise invalid(resource="PullRequestReviewComment", field="in_reply_to")
        path, line = first.path, first.line
    if not isinstance(body, str) or not body.strip():
        raise invalid(resource="PullRequestReviewComment", field="body", code="missing_field")
    if not isinstance(path, str) or not path:
        raise invalid(resource="PullRequestReviewComment", field="path", code="missing_field")
    if line is not None and (not isinstance(line, int) or isinstance(line, bool) or line < 1):
        raise invalid(resource="PullRequestReviewComment", field="line")
    at = call.store.timestamp()
    comment = ReviewComment(
        id=call.store.new_id(),
        user_id=call.actor_id,
        review_id=review_id,
        body=bounded(body, name="body", resource="PullRequestReviewComment"),
        path=path,
        line=line,
        side="LEFT" if given.get("side") == "LEFT" else "RIGHT",
        commit_id=data.head_sha,
        in_reply_to=reply,
        created_at=at,
        updated_at=at,
    )
    data.review_comments.append(comment)
    call.store.touch(issue)
    return comment


def _announce(call: Call, issue: Issue, comment: ReviewComment) -> None:
    shape = shapes.review_comment(call.store, issue, comment)
    _tell(call, "pull_request_review_comment", "created", comment=shape)


@route("GET", PULL + "/reviews", app="pull_requests:read")
def list_reviews(call: Call) -> tuple[int, Any]:
    """The reviews, oldest first."""
    issue = call.pull
    return 200, Listing(items=[shapes.review(call.store, issue, one) for one in shapes.pull_of(issue).reviews])


@route("GET", PULL + "/reviews/{review_id}", app="pull_requests:read")
def get(call: Call) -> tuple[int, Any]:
    """One review."""
    for one in shapes.pull_of(call.pull).reviews:
        if one.id == int(call.arguments["review_id"]):
            return 200, shapes.review(call.store, call.pull, one)
    raise not_found()


@route("GET", PULL + "/reviews/{review_id}/comments", app="pull_requests:read")
def list_of_review(call: Call) -> tuple[int, Any]:
    """The comments that came with a review."""
    issue, review_id = call.pull, int(call.arguments["review_id"])
    found = [one for one in shapes.pull_of(issue).review_comments if one.review_id == review_id]
    return 200, Listing(items=[shapes.review_comment(call.store, issue, one) for one in found])


@route("POST", PULL + "/comments", app="pull_requests:write")
def comment_on_line(call: Call) -> tuple[int, Any]:
    """Comment on one line, in a review of its own."""
    comment = _comment(call, call.pull, call.fields(), review_id=None)
    _announce(call, call.pull, comment)
    return 201, shapes.review_comment(call.store, call.pull, comment)


@route("POST", PULL + "/comments/{review_comment_id}/replies", app="pull_requests:write")
def reply(call: Call) -> tuple[int, Any]:
    """Answer a comment on a line."""
    given = {**call.fields(), "in_reply_to": int(call.arguments["review_comment_id"])}
    comment = _comment(call, call.pull, given, review_id=None)
    _announce(call, call.pull, comment)
    return 201, shapes.review_comment(call.store, call.pull, comment)


@route("GET", PULL + "/comments", app="pull_requests:read")
def list_comments(call: Call) -> tuple[int, Any]:
    """The comments on lines of one pull request."""
    return 200, Listing(items=_since(call, [call.pull]))


@route("GET", REPOSITORY + "/pulls/comments", app="pull_requests:read")
def list_all_comments(call: Call) -> tuple[int, Any]:
    """The comments on lines of all pull requests."""
    return 200, Listing(items=_since(call, [issue for issue in call.repository.issues.values() if issue.pull]))


def _since(call: Call, pulls: list[Issue]) -> list[Json]:
    since = call.query.get("since", "")
    return [
        shapes.review_comment(call.store, issue, one)
        for issue in pulls
        for one in shapes.pull_of(issue).review_comments
        if one.updated_at >= since
    ]


@route("GET", REPOSITORY + "/pulls/comments/{review_comment_id}", app="pull_requests:read")
def get_comment(call: Call) -> tuple[int, Any]:
    """One comment on a line."""
    return 200, shapes.review_comment(call.store, *_find(call))


def _find(call: Call) -> tuple[Issue, ReviewComment]:
    for issue in call.repository.issues.values():
        for one in shapes.pull_of(issue).review_comments if issue.pull else ():
            if one.id == int(call.arguments["review_comment_id"]):
                return issue, one
    raise not_found()


@route("POST", REPOSITORY + "/pulls/comments/{review_comment_id}/reactions", app="pull_requests:write")
def react(call: Call) -> tuple[int, Any]:
    """React to a comment on a line."""
    return comments.react(call, _find(call)[1].reactions)


@route("GET", REPOSITORY + "/pulls/comments/{review_comment_id}/reactions", app="pull_requests:read")
def list_reactions(call: Call) -> tuple[int, Any]:
    """The reactions to a comment on a line."""
    return 200, Listing(items=[issue_shapes.reaction(call.store, one) for one in _find(call)[1].reactions])
