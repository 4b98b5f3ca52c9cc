"""Sub-issues and dependencies, with GitHub's limits."""

from __future__ import annotations

from typing import Any

from tracker.fake_github import access, events
from tracker.fake_github.errors import ApiError, not_found
from tracker.fake_github.paging import Listing
from tracker.fake_github.records import Issue
from tracker.fake_github.routing import ISSUE, Call, route
from tracker.fake_github.shapes import accounts
from tracker.fake_github.shapes import issues as shapes
from tracker.fake_github.store import Store
from tracker.limits import BLOCKERS_MAX, CHILDREN_MAX, LEVELS_MAX


def _other(call: Call, issue_id: int) -> Issue:
    """An issue named by its database id, if the caller can see it."""
    found = call.store.issue_by_id(issue_id)
    if not access.sees(call.store, call.caller, call.store.repository_of(found)):
        raise not_found()
    return found


def _height(store: Store, issue: Issue) -> int:
    return 1 + max((_height(store, store.issue_by_id(child)) for child in issue.children), default=0)


def _ancestors(store: Store, issue: Issue) -> list[Issue]:
    """The issue itself, its parent, and so on up."""
    chain = [issue]
    while (parent := chain[-1].parent) is not None:
        chain.append(store.issue_by_id(parent))
    return chain


@route("POST", ISSUE + "/sub_issues", app="issues:write", person="triage")
def add_child(call: Call) -> tuple[int, Any]:
    """Make an issue a child of this one. Answers the parent, as GitHub does."""
    store, parent = call.store, call.issue
    child = _other(call, call.integer("sub_issue_id", resource="SubIssue"))
    chain = _ancestors(store, parent)
    if parent.pull or child.pull:
        raise ApiError(422, "Sub-issues must be issues, not pull requests")
    if store.repository_of(child).owner_id != call.repository.owner_id:
        raise ApiError(422, "The provided sub-issue does not belong to the same owner")
    if child.parent is not None and (child.parent == parent.id or not call.fields().get("replace_parent")):
        raise ApiError(422, "An error occured while adding the sub-issue to the parent issue. Issue may not contain "
                            "duplicate sub-issues and Sub issue may only have one parent")  # fmt: skip
    if any(ancestor.id == child.id for ancestor in chain):
        raise ApiError(422, "Sub-issues cannot be circular: the sub-issue is an ancestor of the parent")
    if len(parent.children) >= CHILDREN_MAX:
        raise ApiError(422, f"Parent cannot have more than {CHILDREN_MAX} sub-issues")
    if len(chain) + _height(store, child) > LEVELS_MAX:
        raise ApiError(422, f"Sub-issues cannot be nested more than {LEVELS_MAX} levels deep")
    if child.parent is not None:
        _unlink(call, store.issue_by_id(child.parent), child)
    parent.children.append(child.id)
    child.parent = parent.id
    _tell_structure(call, parent, child, added=True)
    return 201, shapes.issue(store, parent)


@route("DELETE", ISSUE + "/sub_issue", app="issues:write", person="triage")
def remove_child(call: Call) -> tuple[int, Any]:
    """Part a child from this issue. Answers the parent, as GitHub does."""
    child = _other(call, call.integer("sub_issue_id", resource="SubIssue"))
    if child.parent != call.issue.id:
        raise not_found()
    _unlink(call, call.issue, child)
    return 200, shapes.issue(call.store, call.issue)


def _unlink(call: Call, parent: Issue, child: Issue) -> None:
    parent.children.remove(child.id)
    child.parent = None
    _tell_structure(call, parent, child, added=False)


def _tell_structure(call: Call, parent: Issue, child: Issue, *, added: bool) -> None:
    """Both ends' timelines and events: GitHub sends one for the parent's side and one for the child's."""
    store, actor, word = call.store, call.actor_id, "added" if added else "removed"
    homes = store.repository_of(parent), store.repository_of(child)
    store.note(parent, f"sub_issue_{word}", actor, sub_issue={"id": child.id, "number": child.number})
    store.note(child, f"parent_issue_{word}", actor, parent_issue={"id": parent.id, "number": parent.number})
    parts: dict[str, Any] = {
        "parent_issue_id": parent.id,
        "parent_issue": shapes.issue(store, parent),
        "sub_issue_id": child.id,
        "sub_issue": shapes.issue(store, child),
    }
    home = accounts.repository(store, homes[1])
    events.emit(store, "sub_issues", f"sub_issue_{word}", homes[0], actor, **parts, sub_issue_repo=home)
    home = accounts.repository(store, homes[0])
    events.emit(store, "sub_issues", f"parent_issue_{word}", homes[1], actor, **parts, parent_issue_repo=home)


@route("GET", ISSUE + "/sub_issues", app="issues:read")
def list_children(call: Call) -> tuple[int, Any]:
    """The children in their order."""
    return 200, _listing(call, call.issue.children)


def _listing(call: Call, issue_ids: list[int]) -> Listing:
    store = call.store
    found = [store.issue_by_id(issue_id) for issue_id in issue_ids]
    visible = [issue for issue in found if access.sees(store, call.caller, store.repository_of(issue))]
    return Listing(items=[shapes.issue(store, issue) for issue in visible])


@route("PATCH", ISSUE + "/sub_issues/priority", app="issues:write", person="triage")
def move_child(call: Call) -> tuple[int, Any]:
    """Put a child right before or after another one. Answers the parent."""
    children, fields = call.issue.children, call.fields()
    moved = call.integer("sub_issue_id", resource="SubIssue")
    places = [name for name in ("after_id", "before_id") if name in fields]
    if len(places) != 1:
        raise ApiError(422, "Only one of after_id and before_id can be specified, and one of them must be")
    beside = call.integer(places[0], resource="SubIssue")
    if moved not in children or beside not in children or moved == beside:
        raise not_found()
    children.remove(moved)
    children.insert(children.index(beside) + (places[0] == "after_id"), moved)
    call.store.touch(call.issue)
    return 200, shapes.issue(call.store, call.issue)


@route("GET", ISSUE + "/parent", app="issues:read")
def get_parent(call: Call) -> tuple[int, Any]:
    """The parent; 404 without one."""
    if call.issue.parent is None:
        raise not_found()
    return 200, shapes.issue(call.store, _other(call, call.issue.parent))


def _is_blocked_by(store: Store, issue: Issue, blocker_id: int, seen: set[int]) -> bool:
    if issue.id == blocker_id:
        return True
    seen.add(issue.id)
    waiting = [store.issue_by_id(one) for one in issue.blocked_by if one not in seen]
    return any(_is_blocked_by(store, one, blocker_id, seen) for one in waiting)


@route("POST", ISSUE + "/dependencies/blocked_by", app="issues:write", person="triage")
def add_blocker(call: Call) -> tuple[int, Any]:
    """Let an issue wait for another one. Answers the blocked issue, as GitHub does."""
    store, issue = call.store, call.issue
    blocker = _other(call, call.integer("issue_id", resource="IssueDependency"))
    if issue.pull or blocker.pull:
        raise ApiError(422, "Dependencies must be between issues, not pull requests")
    if blocker.id in issue.blocked_by:
        raise ApiError(422, "Validation failed: Target issue has already been taken")
    if _is_blocked_by(store, blocker, issue.id, set()):
        raise ApiError(422, "Validation failed: Dependencies cannot be circular")
    if len(issue.blocked_by) >= BLOCKERS_MAX:
        raise ApiError(422, f"Validation failed: An issue has at most {BLOCKERS_MAX} blockers")
    issue.blocked_by.append(blocker.id)
    _tell_dependency(call, issue, blocker, added=True)
    return 201, shapes.issue(store, issue)


@route("DELETE", ISSUE + "/dependencies/blocked_by/{issue_id}", app="issues:write", person="triage")
def remove_blocker(call: Call) -> tuple[int, Any]:
    """Let an issue no longer wait for another one. Answers the blocked issue."""
    blocker = _other(call, int(call.arguments["issue_id"]))
    if blocker.id not in call.issue.blocked_by:
        raise not_found()
    call.issue.blocked_by.remove(blocker.id)
    _tell_dependency(call, call.issue, blocker, added=False)
    return 200, shapes.issue(call.store, call.issue)


def _tell_dependency(call: Call, blocked: Issue, blocker: Issue, *, added: bool) -> None:
    store, actor, word = call.store, call.actor_id, "added" if added else "removed"
    store.note(blocked, f"blocked_by_{word}", actor, blocking_issue={"id": blocker.id, "number": blocker.number})
    store.note(blocker, f"blocking_{word}", actor, blocked_issue={"id": blocked.id, "number": blocked.number})
    parts: dict[str, Any] = {
        "blocked_issue_id": blocked.id,
        "blocked_issue": shapes.issue(store, blocked),
        "blocking_issue_id": blocker.id,
        "blocking_issue": shapes.issue(store, blocker),
    }
    homes = store.repository_of(blocked), store.repository_of(blocker)
    theirs = accounts.repository(store, homes[1])
    event = "issue_dependencies"
    events.emit(store, event, f"blocked_by_{word}", homes[0], actor, **parts, blocking_issue_repo=theirs)
    theirs = accounts.repository(store, homes[0])
    events.emit(store, event, f"blocking_{word}", homes[1], actor, **parts, blocked_issue_repo=theirs)


@route("GET", ISSUE + "/dependencies/blocked_by", app="issues:read")
def list_blockers(call: Call) -> tuple[int, Any]:
    """The issues that this one waits for."""
    return 200, _listing(call, call.issue.blocked_by)


@route("GET", ISSUE + "/dependencies/blocking", app="issues:read")
def list_blocked(call: Call) -> tuple[int, Any]:
    """The issues that wait for this one."""
    return 200, _listing(call, [issue.id for issue in call.store.blocked_issues(call.issue)])
