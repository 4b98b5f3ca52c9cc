"""The few GraphQL operations that REST lacks; recognised by name, not parsed."""

from __future__ import annotations

import re
from typing import Any

from tracker.fake_github import access
from tracker.fake_github.errors import ApiError, Json
from tracker.fake_github.records import Comment, Issue, Repository
from tracker.fake_github.routing import Call, route
from tracker.fake_github.shapes import accounts
from tracker.fake_github.shapes import issues as issue_shapes
from tracker.fake_github.shapes import pulls as shapes
from tracker.fake_github.views import marks, pulls

_MUTATION = re.compile(r"\b(markPullRequestReadyForReview|convertPullRequestToDraft|minimizeComment|deleteIssue)\s*\(")


@route("POST", "/graphql")
def run(call: Call) -> tuple[int, Any]:
    """Run a known mutation, or answer which issues a pull request closes; errors arrive with status 200."""
    query = call.fields().get("query")
    variables = call.fields().get("variables") or {}
    if not isinstance(query, str) or not isinstance(variables, dict):
        raise ApiError(400, "A query attribute must be specified and must be a string.")
    try:
        mutation = _MUTATION.search(query)
        if mutation:
            given = variables.get("input")
            return 200, {"data": {mutation[1]: _mutate(call, mutation[1], given if isinstance(given, dict) else {})}}
        if "closingIssuesReferences" in query:
            return 200, {"data": _closing(call, variables)}
        if "lastEditedAt" in query:
            return 200, {"data": _edits(call, variables)}
    except ApiError as error:
        kind = {403: "FORBIDDEN", 404: "NOT_FOUND"}.get(error.status, "UNPROCESSABLE")
        return 200, {"data": None, "errors": [{"type": kind, "message": error.message}]}
    raise ApiError(400, "The fake GitHub knows of GraphQL only markPullRequestReadyForReview, convertPullRequestToDraft, "
                        "minimizeComment, deleteIssue, closingIssuesReferences and lastEditedAt of an issue.")  # fmt: skip


def _mutate(call: Call, name: str, given: Json) -> Json:
    made: Json
    if name == "minimizeComment":
        repository, comment = _comment(call, str(given.get("subjectId")))
        access.check(call.store, call.caller, repository, app="issues:write", person="write")
        comment.minimized = str(given.get("classifier", "OUTDATED")).lower()
        made = {"minimizedComment": {"isMinimized": True}}
    elif name == "deleteIssue":
        made = {"repository": _delete(call, str(given.get("issueId")))}
    else:
        issue = _pull(call, str(given.get("pullRequestId")))
        person = "read" if issue.user_id == call.actor_id else "write"
        repository = call.store.repository_of(issue)
        access.check(call.store, call.caller, repository, app="pull_requests:write", person=person)
        _set_draft(call, issue, draft=name == "convertPullRequestToDraft")
        made = {"pullRequest": {"id": f"PR_{issue.id}", "number": issue.number, "isDraft": shapes.pull_of(issue).draft}}
    return made | {"clientMutationId": given.get("clientMutationId")}


def _delete(call: Call, node_id: str) -> Json:
    """Delete an issue with its comments and relations; from now on it answers 410."""
    store = call.store
    for repository in store.state.repositories.values():
        for issue in repository.issues.values():
            if node_id == f"I_{issue.id}" and access.sees(store, call.caller, repository):
                access.check(store, call.caller, repository, app="administration:write", person="admin")
                marks.tell(store, issue, "deleted", call.actor_id)
                _forget(call, repository, issue)
                return {"nameWithOwner": store.full_name(repository)}
    raise ApiError(404, f"Could not resolve to a node with the global id of '{node_id[:80]}'.")


def _forget(call: Call, repository: Repository, issue: Issue) -> None:
    store = call.store
    for child in issue.children:
        store.issue_by_id(child).parent = None
    if issue.parent is not None:
        store.issue_by_id(issue.parent).children.remove(issue.id)
    for blocked in store.blocked_issues(issue):
        blocked.blocked_by.remove(issue.id)
    repository.comments = {key: one for key, one in repository.comments.items() if one.issue != issue.number}
    repository.deleted.add(issue.number)
    del repository.issues[issue.number]


def _set_draft(call: Call, issue: Issue, *, draft: bool) -> None:
    data = shapes.pull_of(issue)
    if data.draft == draft:
        return
    if issue.state != "open":
        raise ApiError(422, "Pull request is closed")
    data.draft = draft
    call.store.note(issue, "convert_to_draft" if draft else "ready_for_review", call.actor_id)
    marks.tell(call.store, issue, "converted_to_draft" if draft else "ready_for_review", call.actor_id)


def _pull(call: Call, node_id: str) -> Issue:
    for repository in call.store.state.repositories.values():
        for issue in repository.issues.values():
            if issue.pull and node_id == f"PR_{issue.id}" and access.sees(call.store, call.caller, repository):
                return issue
    raise ApiError(404, f"Could not resolve to a node with the global id of '{node_id[:80]}'.")


def _comment(call: Call, node_id: str) -> tuple[Repository, Comment]:
    for repository in call.store.state.repositories.values():
        for comment in repository.comments.values():
            if node_id == f"IC_{comment.id}" and access.sees(call.store, call.caller, repository):
                return repository, comment
    raise ApiError(404, f"Could not resolve to a node with the global id of '{node_id[:80]}'.")


def _closing(call: Call, variables: Json) -> Json:
    """For `repository(owner, name) { pullRequest(number) { closingIssuesReferences { nodes {...} } } }` or `node(id)`."""
    node_id = variables.get("id")
    if node_id is not None:
        issue = _pull(call, str(node_id))
    else:
        repository = call.store.repository(f"{variables.get('owner')}/{variables.get('name', variables.get('repo'))}")
        access.check(call.store, call.caller, repository, app="pull_requests:read", person="read")
        number = variables.get("number")
        found = repository.issues.get(number) if isinstance(number, int) else None
        if found is None or found.pull is None:
            raise ApiError(404, f"Could not resolve to a PullRequest with the number of {number}.")
        issue = found
    home = call.store.repository_of(issue)
    nodes = [
        {"number": number, "databaseId": home.issues[number].id, "id": f"I_{home.issues[number].id}",
         "url": issue_shapes.page_of(call.store, home.issues[number])}
        for number in pulls.closed_by(issue)
        if number in home.issues
    ]  # fmt: skip
    pull = {"number": issue.number, "closingIssuesReferences": {"totalCount": len(nodes), "nodes": nodes}}
    return {"node": pull} if node_id is not None else {"repository": {"pullRequest": pull}}


def _edits(call: Call, variables: Json) -> Json:
    """For `repository(owner, name) { issue(number) { lastEditedAt editor { __typename login } } }`."""
    repository = call.store.repository(f"{variables.get('owner')}/{variables.get('name')}")
    access.check(call.store, call.caller, repository, app="issues:read", person="read")
    number = variables.get("number")
    issue = repository.issues.get(number) if isinstance(number, int) else None
    if issue is None or issue.pull is not None:
        raise ApiError(404, f"Could not resolve to an Issue with the number of {number}.")
    editor = None
    if issue.body_edited_by is not None:
        user = accounts.user(call.store, issue.body_edited_by)
        # GraphQL names bots without the suffix that REST gives them.
        editor = {"__typename": user["type"], "login": str(user["login"]).removesuffix("[bot]")}
    return {"repository": {"issue": {"lastEditedAt": issue.body_edited_at, "editor": editor}}}
