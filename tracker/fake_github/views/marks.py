"""Labels and assignees of issues and pull requests."""

from __future__ import annotations

from typing import Any

from tracker.fake_github import access, events
from tracker.fake_github.errors import ApiError, invalid
from tracker.fake_github.paging import Listing
from tracker.fake_github.records import Issue, Label, Repository
from tracker.fake_github.routing import ISSUE, REPOSITORY, Call, route
from tracker.fake_github.shapes import accounts, pulls
from tracker.fake_github.shapes import issues as shapes
from tracker.fake_github.store import Store
from tracker.limits import ASSIGNEES_MAX, LABEL_MAX_CHARS, LABELS_MAX


def tell(store: Store, issue: Issue, action: str, actor_id: int, **parts: Any) -> None:
    """Announce what happened: as an `issues` event, or as a `pull_request` event for pull requests."""
    repository = store.repository_of(issue)
    if issue.pull:
        shape = pulls.pull(store, issue, full=True)
        events.emit(
            store, "pull_request", action, repository, actor_id, number=issue.number, pull_request=shape, **parts
        )
    else:
        events.emit(store, "issues", action, repository, actor_id, issue=shapes.issue(store, issue), **parts)


def _ensure_label(store: Store, repository: Repository, name: str) -> Label:
    """The label of that name, made when it is new, as GitHub does."""
    found = repository.label(name)
    if found is None:
        if not name.strip() or len(name) > LABEL_MAX_CHARS:
            raise invalid(resource="Label", field="name")
        found = Label(id=store.new_id(), name=name)
        repository.labels[found.id] = found
    return found


def add_labels(store: Store, issue: Issue, names: list[str], actor_id: int) -> None:
    """Add labels; those already there stay."""
    repository = store.repository_of(issue)
    if len(issue.labels) + len(names) > LABELS_MAX:
        raise invalid(resource="Issue", field="labels", message=f"an issue has at most {LABELS_MAX} labels")
    for name in names:
        label = _ensure_label(store, repository, name)
        if label.id not in issue.labels:
            issue.labels.append(label.id)
            store.note(issue, "labeled", actor_id, label={"name": label.name, "color": label.color})
            tell(store, issue, "labeled", actor_id, label=shapes.label(store, repository, label))


def _remove_label(store: Store, issue: Issue, label: Label, actor_id: int) -> None:
    issue.labels.remove(label.id)
    store.note(issue, "unlabeled", actor_id, label={"name": label.name, "color": label.color})
    tell(store, issue, "unlabeled", actor_id, label=shapes.label(store, store.repository_of(issue), label))


def set_labels(store: Store, issue: Issue, names: list[str], actor_id: int) -> None:
    """Make these the labels."""
    repository = store.repository_of(issue)
    wanted = {name.casefold() for name in names}
    for label_id in list(issue.labels):
        if repository.labels[label_id].name.casefold() not in wanted:
            _remove_label(store, issue, repository.labels[label_id], actor_id)
    add_labels(store, issue, names, actor_id)


def add_assignees(store: Store, issue: Issue, logins: list[str], actor_id: int) -> None:
    """Assign people. Whoever cannot be assigned is dropped without a word, as GitHub does."""
    repository = store.repository_of(issue)
    for login in logins:
        if not store.has_user(login) or len(issue.assignees) >= ASSIGNEES_MAX:
            continue
        user = store.user(login)
        if user.type == "User" and user.id not in issue.assignees and _is_assignable(store, repository, user.id):
            issue.assignees.append(user.id)
            store.note(issue, "assigned", actor_id, assignee=user.id, assigner=actor_id)
            tell(store, issue, "assigned", actor_id, assignee=accounts.user(store, user.id))


def _is_assignable(store: Store, repository: Repository, user_id: int) -> bool:
    return user_id == repository.owner_id or user_id in repository.permissions


def _remove_assignee(store: Store, issue: Issue, user_id: int, actor_id: int) -> None:
    issue.assignees.remove(user_id)
    store.note(issue, "unassigned", actor_id, assignee=user_id, assigner=actor_id)
    tell(store, issue, "unassigned", actor_id, assignee=accounts.user(store, user_id))


def set_assignees(store: Store, issue: Issue, logins: list[str], actor_id: int) -> None:
    """Make these the assignees."""
    wanted = {login.casefold() for login in logins}
    for user_id in list(issue.assignees):
        if store.login(user_id).casefold() not in wanted:
            _remove_assignee(store, issue, user_id, actor_id)
    add_assignees(store, issue, logins, actor_id)


@route("GET", REPOSITORY + "/labels", app="issues:read")
def list_repository_labels(call: Call) -> tuple[int, Any]:
    """The labels that a repository has."""
    repository = call.repository
    return 200, Listing(items=[shapes.label(call.store, repository, one) for one in repository.labels.values()])


@route("POST", REPOSITORY + "/labels", app="issues:write", person="write")
def create_label(call: Call) -> tuple[int, Any]:
    """Make a label."""
    repository = call.repository
    name = call.text("name", resource="Label", longest=LABEL_MAX_CHARS)
    if repository.label(name):
        raise invalid(resource="Label", field="name", code="already_exists")
    label = _ensure_label(call.store, repository, name)
    return _describe(call, label, 201)


def _describe(call: Call, label: Label, status: int) -> tuple[int, Any]:
    fields = call.fields()
    color = fields.get("color", label.color)
    if not isinstance(color, str) or len(color) != 6:
        raise invalid(resource="Label", field="color")
    label.color = color
    if "description" in fields:
        label.description = call.optional_text("description", resource="Label", longest=100)
    return status, shapes.label(call.store, call.repository, label)


def _label(call: Call) -> Label:
    found = call.repository.label(call.arguments["name"])
    if found is None:
        raise ApiError(404, "Not Found")
    return found


@route("GET", REPOSITORY + "/labels/{name}", app="issues:read")
def get_label(call: Call) -> tuple[int, Any]:
    """One label."""
    return 200, shapes.label(call.store, call.repository, _label(call))


@route("PATCH", REPOSITORY + "/labels/{name}", app="issues:write", person="write")
def change_label(call: Call) -> tuple[int, Any]:
    """Rename or recolour a label."""
    label = _label(call)
    new_name = call.optional_text("new_name", resource="Label", longest=LABEL_MAX_CHARS)
    if new_name:
        label.name = new_name
    return _describe(call, label, 200)


@route("DELETE", REPOSITORY + "/labels/{name}", app="issues:write", person="write")
def delete_label(call: Call) -> tuple[int, Any]:
    """Delete a label, from all issues too."""
    repository, label = call.repository, _label(call)
    for issue in repository.issues.values():
        if label.id in issue.labels:
            issue.labels.remove(label.id)
    del repository.labels[label.id]
    return 204, None


@route("GET", ISSUE + "/labels", app="issues:read")
def list_labels(call: Call) -> tuple[int, Any]:
    """The labels of an issue."""
    return 200, Listing(items=shapes.labels(call.store, call.issue))


@route("POST", ISSUE + "/labels", app="issues:write", person="triage")
def add(call: Call) -> tuple[int, Any]:
    """Add labels to an issue; the body may be a bare list, as PyGithub sends it."""
    add_labels(call.store, call.issue, call.texts("labels", bare=True), call.actor_id)
    return 200, shapes.labels(call.store, call.issue)


@route("PUT", ISSUE + "/labels", app="issues:write", person="triage")
def replace(call: Call) -> tuple[int, Any]:
    """Replace all labels of an issue."""
    set_labels(call.store, call.issue, call.texts("labels", bare=True), call.actor_id)
    return 200, shapes.labels(call.store, call.issue)


@route("DELETE", ISSUE + "/labels", app="issues:write", person="triage")
def clear(call: Call) -> tuple[int, Any]:
    """Take all labels off an issue."""
    set_labels(call.store, call.issue, [], call.actor_id)
    return 204, None


@route("DELETE", ISSUE + "/labels/{name}", app="issues:write", person="triage")
def remove(call: Call) -> tuple[int, Any]:
    """Take one label off an issue."""
    label = call.repository.label(call.arguments["name"])
    if label is None or label.id not in call.issue.labels:
        raise ApiError(404, "Label does not exist")
    _remove_label(call.store, call.issue, label, call.actor_id)
    return 200, shapes.labels(call.store, call.issue)


@route("POST", ISSUE + "/assignees", app="issues:write")
def assign(call: Call) -> tuple[int, Any]:
    """Assign people; without the right to, nothing happens."""
    if access.may_triage(call.store, call.caller, call.repository):
        add_assignees(call.store, call.issue, call.texts("assignees"), call.actor_id)
    return 201, shapes.issue(call.store, call.issue)


@route("DELETE", ISSUE + "/assignees", app="issues:write", person="triage")
def unassign(call: Call) -> tuple[int, Any]:
    """Un-assign people."""
    for login in call.texts("assignees"):
        user_id = call.store.user(login).id if call.store.has_user(login) else None
        if user_id in call.issue.assignees:
            _remove_assignee(call.store, call.issue, user_id, call.actor_id)
    return 200, shapes.issue(call.store, call.issue)
