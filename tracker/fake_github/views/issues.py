"""Issues: create, read, list, change; timelines and events."""

from __future__ import annotations

import functools
from typing import Any

from tracker.fake_github import access, events
from tracker.fake_github.errors import Json, invalid
from tracker.fake_github.paging import Listing
from tracker.fake_github.records import Issue, Repository
from tracker.fake_github.routing import ISSUE, REPOSITORY, Call, route
from tracker.fake_github.shapes import issues as shapes
from tracker.fake_github.store import Store
from tracker.fake_github.views import marks
from tracker.limits import TITLE_MAX_CHARS

_REASONS = ("completed", "not_planned", "duplicate", "reopened")


@route("POST", REPOSITORY + "/issues", app="issues:write")
def create(call: Call) -> tuple[int, Any]:
    """Open an issue. Labels and assignees of people who may not triage are dropped, as GitHub does."""
    repository, store = call.repository, call.store
    title = call.text("title", resource="Issue", longest=TITLE_MAX_CHARS)
    body = call.optional_text("body", resource="Issue")
    labels, assignees = call.texts("labels"), call.texts("assignees")
    issue = new_issue(store, repository, title=title, body=body, user_id=call.actor_id)
    events.emit(store, "issues", "opened", repository, call.actor_id, issue=shapes.issue(store, issue))
    if access.may_triage(store, call.caller, repository):
        marks.add_labels(store, issue, labels, call.actor_id)
        marks.add_assignees(store, issue, assignees, call.actor_id)
    return 201, shapes.issue(store, issue)


def new_issue(store: Store, repository: Repository, *, title: str, body: str | None, user_id: int) -> Issue:
    """Add an issue under the next number; nobody is told."""
    repository.last_number += 1
    at = store.timestamp()
    issue = Issue(
        id=store.new_id(),
        number=repository.last_number,
        repository_id=repository.id,
        title=title,
        body=body,
        user_id=user_id,
        created_at=at,
        updated_at=at,
    )
    repository.issues[issue.number] = issue
    return issue


@route("GET", REPOSITORY + "/issues", app="issues:read")
def list_issues(call: Call) -> tuple[int, Any]:
    """Issues and pull requests, filtered and sorted as asked."""
    store, query = call.store, call.query
    state = query.get("state", "open")
    wanted = {name.casefold() for name in query.get("labels", "").split(",") if name}
    since = query.get("since", "")
    sort = query.get("sort", "created")
    if state not in ("open", "closed", "all") or sort not in ("created", "updated", "comments"):
        raise invalid(resource="Issue", field="state" if state not in ("open", "closed", "all") else "sort")
    repository = call.repository
    found = [
        issue
        for issue in repository.issues.values()
        if state in ("all", issue.state)
        and issue.updated_at >= since
        and wanted <= {repository.labels[label_id].name.casefold() for label_id in issue.labels}
        and _is_by(store, issue.user_id, query.get("creator"))
        and _is_assigned(store, issue, query.get("assignee"))
    ]

    def key(issue: Issue) -> tuple[Any, int]:
        if sort == "comments":
            return shapes.comment_count(repository, issue.number), issue.number
        return (issue.updated_at if sort == "updated" else issue.created_at), issue.number

    found.sort(key=key, reverse=query.get("direction", "desc") != "asc")
    return 200, Listing(items=found, render=functools.partial(shapes.issue, store))


def _is_by(store: Store, user_id: int, login: str | None) -> bool:
    return login is None or store.login(user_id).casefold() == login.casefold()


def _is_assigned(store: Store, issue: Issue, login: str | None) -> bool:
    if login in (None, "*"):
        return login is None or bool(issue.assignees)
    if login == "none":
        return not issue.assignees
    return any(_is_by(store, user_id, login) for user_id in issue.assignees)


@route("GET", ISSUE, app="issues:read")
def get(call: Call) -> tuple[int, Any]:
    """One issue, or a pull request seen as one."""
    return 200, shapes.issue(call.store, call.issue)


@route("PATCH", ISSUE, app="issues:write")
def change(call: Call) -> tuple[int, Any]:
    """Change an issue. Authors may change and close their own; the rest takes triage."""
    store, issue, fields = call.store, call.issue, call.fields()
    is_author = call.actor_id == issue.user_id and not {"labels", "assignees"} & set(fields)
    if not is_author:
        call.needs(app="issues:write", person="triage")
    state, reason = fields.get("state"), fields.get("state_reason")
    if state not in (None, "open", "closed"):
        raise invalid(resource="Issue", field="state")
    if reason not in (None, *_REASONS):
        raise invalid(resource="Issue", field="state_reason")
    edit(call, issue)
    if "labels" in fields:
        marks.set_labels(store, issue, call.texts("labels"), call.actor_id)
    if "assignees" in fields:
        marks.set_assignees(store, issue, call.texts("assignees"), call.actor_id)
    if state is not None:
        set_state(store, issue, state, reason=reason, actor_id=call.actor_id)
    return 200, shapes.issue(store, issue)


def edit(call: Call, issue: Issue) -> None:
    """Take over a new title and body, and tell who listens what they were."""
    store, fields = call.store, call.fields()
    changes: Json = {}
    if "title" in fields:
        title = call.text("title", resource="Issue", longest=TITLE_MAX_CHARS)
        if title != issue.title:
            changes["title"] = {"from": issue.title}
            store.note(issue, "renamed", call.actor_id, rename={"from": issue.title, "to": title})
            issue.title = title
    if "body" in fields:
        body = call.optional_text("body", resource="Issue")
        if body != issue.body:
            changes["body"] = {"from": issue.body}
            issue.body = body
            issue.body_edited_at, issue.body_edited_by = store.timestamp(), call.actor_id
    if changes:
        store.touch(issue)
        marks.tell(store, issue, "edited", call.actor_id, changes=changes)


def set_state(store: Store, issue: Issue, state: str, *, reason: str | None, actor_id: int) -> None:
    """Close or reopen; the same state again changes at most the reason."""
    closing = state == "closed"
    if state == issue.state:
        if closing and reason and reason != issue.state_reason:
            issue.state_reason = reason
            store.touch(issue)
        return
    issue.state = state
    issue.state_reason = None if issue.pull else (reason or "completed" if closing else "reopened")
    issue.closed_at = store.timestamp() if closing else None
    issue.closed_by = actor_id if closing else None
    store.note(issue, "closed" if closing else "reopened", actor_id, state_reason=issue.state_reason)
    marks.tell(store, issue, "closed" if closing else "reopened", actor_id)


@route("GET", ISSUE + "/timeline", app="issues:read")
def timeline(call: Call) -> tuple[int, Any]:
    """Everything that happened to an issue, comments included, oldest first."""
    return 200, Listing(items=shapes.timeline(call.store, call.issue))


@route("GET", ISSUE + "/events", app="issues:read")
def list_events(call: Call) -> tuple[int, Any]:
    """The timeline without comments."""
    store, issue = call.store, call.issue
    return 200, Listing(items=[shapes.timeline_event(store, issue, event) for event in issue.timeline])
