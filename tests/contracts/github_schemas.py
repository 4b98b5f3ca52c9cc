"""What we rely on of GitHub's REST API: for each operation the bodies we send and the answers we read, as JSON Schema.

Written down from GitHub's documentation (https://docs.github.com/rest) and recorded traffic. Only the fields that somebody
here reads are required; GitHub may add others at any time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types

from tests.contracts.json_shapes import (
    ANYTHING,
    FLAG,
    ID,
    LINE,
    NOTHING,
    SHA,
    TEXT,
    TIME,
    URL,
    WHOLE,
    Schema,
    body,
    fields,
    items,
    listed,
    one_of,
    or_null,
    shape,
)

USER = shape(login=LINE, id=ID, node_id=LINE, type=one_of("User", "Bot", "Organization"))
LABEL = shape(id=ID, name=LINE, color={"type": "string", "pattern": "^[0-9a-fA-F]{6}$"}, description=or_null(TEXT))
ISSUE = shape(
    id=ID,
    node_id=LINE,
    number=WHOLE,
    url=URL,
    html_url=URL,
    state=one_of("open", "closed"),
    state_reason=one_of("completed", "not_planned", "duplicate", "reopened", None),
    title=TEXT,
    body=or_null(TEXT),
    user=USER,
    labels=items(LABEL),
    assignees=items(USER),
    comments=WHOLE,
    created_at=TIME,
    updated_at=TIME,
    closed_at=or_null(TIME),
    author_association=LINE,
    parent_issue_url=or_null(URL),
    sub_issues_summary=shape(total=WHOLE, completed=WHOLE, percent_completed=WHOLE),
    issue_dependencies_summary=shape(blocked_by=WHOLE, total_blocked_by=WHOLE, blocking=WHOLE, total_blocking=WHOLE),
)
COMMENT = shape(
    id=ID, node_id=LINE, url=URL, html_url=URL, issue_url=URL, body=TEXT, user=USER, created_at=TIME, updated_at=TIME,
    author_association=LINE,
)  # fmt: skip
CONTENT = one_of("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")
REACTION = shape(id=ID, user=USER, content=CONTENT, created_at=TIME)
EVENT = shape(event=LINE, actor=USER, created_at=TIME)
REPOSITORY = shape(
    id=ID, node_id=LINE, name=LINE, full_name=LINE, owner=USER, private=FLAG, default_branch=LINE, url=URL, html_url=URL,
    clone_url=URL, has_issues=FLAG, archived=FLAG,
)  # fmt: skip
END = shape(ref=LINE, sha=SHA, label=LINE, repo=or_null(shape(id=ID, full_name=LINE, fork=FLAG)))
PULL = shape(
    id=ID, node_id=LINE, number=WHOLE, url=URL, html_url=URL, state=one_of("open", "closed"), title=TEXT,
    body=or_null(TEXT), user=USER, draft=FLAG, head=END, base=END, merged_at=or_null(TIME),
    merge_commit_sha=or_null(SHA), labels=items(LABEL), updated_at=TIME,
)  # fmt: skip
FULL_PULL = {"allOf": [PULL, shape(merged=FLAG, mergeable=or_null(FLAG), mergeable_state=LINE, merged_by=or_null(USER),
                                   commits=WHOLE, changed_files=WHOLE, comments=WHOLE)]}  # fmt: skip
FILE = shape(filename=LINE, status=LINE, additions=WHOLE, deletions=WHOLE, changes=WHOLE)
REVIEW = shape(id=ID, user=USER, body=TEXT, commit_id=or_null(SHA), submitted_at=TIME, html_url=URL,
               state=one_of("APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING"))  # fmt: skip
REVIEW_COMMENT = shape(
    id=ID, user=USER, body=TEXT, path=LINE, line=or_null(WHOLE), commit_id=SHA, created_at=TIME, updated_at=TIME,
    html_url=URL, pull_request_review_id=or_null(ID),
)  # fmt: skip
STATUS = shape(id=ID, state=one_of("error", "failure", "pending", "success"), context=LINE, created_at=TIME)
CONCLUSION = one_of(
    "action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out", None
)
CHECK_RUN = shape(
    id=ID, name=LINE, head_sha=SHA, status=one_of("queued", "in_progress", "completed"), conclusion=CONCLUSION,
    output=shape(title=or_null(TEXT), summary=or_null(TEXT), text=or_null(TEXT)), html_url=URL,
    pull_requests=items(shape(number=WHOLE)), app=or_null(shape(id=ID, slug=LINE)),
)  # fmt: skip
CHECK_SUITE = shape(id=ID, head_sha=SHA, head_branch=or_null(LINE), status=LINE, conclusion=CONCLUSION,
                    pull_requests=items(shape(number=WHOLE)))  # fmt: skip
COMMIT = shape(sha=SHA, commit=shape(message=TEXT))
GIT_REF = shape(ref=LINE, object=shape(sha=SHA, type=LINE))
PERMISSIONS = {"type": "object", "additionalProperties": one_of("read", "write", "admin")}
INSTALLATION = shape(id=ID, app_id=ID, app_slug=LINE, account=USER, permissions=PERMISSIONS,
                     repository_selection=one_of("all", "selected"), suspended_at=or_null(TIME))  # fmt: skip
HOOK = shape(id=ID, active=FLAG, events=items(LINE), config=shape(url=URL))
DELIVERY = shape(id=ID, guid=LINE, delivered_at=TIME, redelivery=FLAG, status=LINE, status_code=WHOLE, event=LINE,
                 action=or_null(LINE))  # fmt: skip
RATE = shape(limit=WHOLE, remaining=WHOLE, used=WHOLE, reset=WHOLE)
ERROR = {"allOf": [shape(message=LINE), {"properties": {"errors": {"type": "array"}}}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: what is sent, and what is answered by status."""

    answers: dict[int, Schema]
    sends: Schema = field(default_factory=lambda: NOTHING)


def reads(schema: Schema) -> Operation:
    return Operation(answers={200: schema})


def writes(sends: Schema, **answers: Schema) -> Operation:
    """`_201=ISSUE`: what the status of a write answers."""
    return Operation(sends=sends, answers={int(status[1:]): schema for status, schema in answers.items()})


_R = "/repos/{owner}/{repo}"
_I = _R + "/issues/{issue_number}"
_C = _R + "/issues/comments/{comment_id}"
_P = _R + "/pulls/{pull_number}"
_REF = _R + "/commits/{ref}"
_H = _R + "/hooks/{hook_id}"
_NAMES = items(LINE)
_BODY: Schema = {"type": "string", "maxLength": 65_536}
_TITLE: Schema = {"type": "string", "minLength": 1, "maxLength": 256}
_CHILD = body(sub_issue_id=ID, maybe={"replace_parent": FLAG})
_MOVE = {**body(sub_issue_id=ID, maybe={"after_id": ID, "before_id": ID}), "minProperties": 2, "maxProperties": 2}
_REVIEW = body(event=one_of("APPROVE", "REQUEST_CHANGES", "COMMENT"),
               maybe={"body": _BODY, "comments": items(shape(path=LINE, body=LINE)), "commit_id": SHA})  # fmt: skip
_CHECK_RUN = body(head_sha=SHA, name=LINE, maybe=fields(status=LINE, conclusion=CONCLUSION, output=shape(summary=TEXT, title=TEXT),
                                                      details_url=URL, external_id=TEXT, started_at=TEXT,
                                                      completed_at=TEXT, actions=items(ANYTHING)))  # fmt: skip
_HOOK = body(
    name=one_of("web"),
    config=shape(url=URL),
    maybe=fields(events=_NAMES, active=FLAG, add_events=_NAMES, remove_events=_NAMES),
)

OPERATIONS: dict[str, Operation] = {
    f"GET {_R}": reads(REPOSITORY),
    f"GET {_R}/issues": reads(items(ISSUE)),
    f"POST {_R}/issues": writes(body(title=_TITLE, maybe=fields(body=_BODY, labels=_NAMES, assignees=_NAMES)), _201=ISSUE),
    f"GET {_I}": reads(ISSUE),
    f"PATCH {_I}": writes(
        body(maybe=fields(title=_TITLE, body=_BODY, state=one_of("open", "closed"), labels=_NAMES, assignees=_NAMES,
                        state_reason=one_of("completed", "not_planned", "duplicate", "reopened"))),
        _200=ISSUE,
    ),
    f"GET {_I}/comments": reads(items(COMMENT)),
    f"POST {_I}/comments": writes(body(body=_BODY), _201=COMMENT),
    f"GET {_R}/issues/comments": reads(items(COMMENT)),
    f"GET {_C}": reads(COMMENT),
    f"PATCH {_C}": writes(body(body=_BODY), _200=COMMENT),
    f"DELETE {_C}": writes(NOTHING, _204=NOTHING),
    f"PUT {_C}/pin": writes(NOTHING, _200=COMMENT),
    f"DELETE {_C}/pin": writes(NOTHING, _204=NOTHING),
    f"GET {_C}/reactions": reads(items(REACTION)),
    f"POST {_C}/reactions": writes(body(content=CONTENT), _200=REACTION, _201=REACTION),
    f"GET {_I}/reactions": reads(items(REACTION)),
    f"POST {_I}/reactions": writes(body(content=CONTENT), _200=REACTION, _201=REACTION),
    f"GET {_R}/labels": reads(items(LABEL)),
    f"GET {_R}/labels/{{name}}": reads(LABEL),
    f"POST {_R}/labels": writes(body(name=LINE, color=LINE, maybe={"description": TEXT}), _201=LABEL),
    f"GET {_I}/labels": reads(items(LABEL)),
    # PyGithub sends the bare list; GitHub takes that as well as the object.
    f"POST {_I}/labels": writes({"anyOf": [_NAMES, body(labels=_NAMES)]}, _200=items(LABEL)),
    f"DELETE {_I}/labels/{{name}}": writes(NOTHING, _200=items(LABEL)),
    f"POST {_I}/assignees": writes(body(assignees=_NAMES), _201=ISSUE),
    f"DELETE {_I}/assignees": writes(body(assignees=_NAMES), _200=ISSUE),
    f"GET {_I}/sub_issues": reads(items(ISSUE)),
    f"POST {_I}/sub_issues": writes(_CHILD, _201=ISSUE),
    f"DELETE {_I}/sub_issue": writes(body(sub_issue_id=ID), _200=ISSUE),
    f"PATCH {_I}/sub_issues/priority": writes(_MOVE, _200=ISSUE),
    f"GET {_I}/parent": reads(ISSUE),
    f"GET {_I}/dependencies/blocked_by": reads(items(ISSUE)),
    f"POST {_I}/dependencies/blocked_by": writes(body(issue_id=ID), _201=ISSUE),
    f"DELETE {_I}/dependencies/blocked_by/{{issue_id}}": writes(NOTHING, _200=ISSUE),
    f"GET {_I}/dependencies/blocking": reads(items(ISSUE)),
    f"GET {_I}/timeline": reads(items(EVENT)),
    f"GET {_I}/events": reads(items({"allOf": [EVENT, shape(id=ID)]})),
    f"GET {_R}/collaborators/{{username}}/permission": reads(
        shape(permission=one_of("admin", "write", "read", "none"), role_name=TEXT, user=or_null(USER))
    ),
    f"GET {_R}/pulls": reads(items(PULL)),
    f"POST {_R}/pulls": writes(
        body(title=_TITLE, head=LINE, base=LINE,
             maybe=fields(body=_BODY, draft=FLAG, maintainer_can_modify=FLAG, head_repo=LINE)),
        _201=FULL_PULL,
    ),
    f"GET {_P}": reads(FULL_PULL),
    f"PATCH {_P}": writes(
        body(maybe=fields(title=_TITLE, body=_BODY, state=one_of("open", "closed"), base=LINE, maintainer_can_modify=FLAG)),
        _200=FULL_PULL,
    ),
    f"GET {_P}/files": reads(items(FILE)),
    f"GET {_P}/commits": reads(items(COMMIT)),
    f"GET {_P}/merge": Operation(answers={204: NOTHING}),
    f"PUT {_P}/merge": writes(
        body(maybe=fields(commit_message=TEXT, commit_title=TEXT, sha=SHA, merge_method=one_of("merge", "squash", "rebase"))),
        _200=shape(sha=SHA, merged=FLAG, message=TEXT),
    ),
    f"GET {_P}/reviews": reads(items(REVIEW)),
    f"POST {_P}/reviews": writes(_REVIEW, _200=REVIEW),
    f"GET {_P}/comments": reads(items(REVIEW_COMMENT)),
    f"GET {_R}/pulls/comments": reads(items(REVIEW_COMMENT)),
    f"GET {_R}/pulls/comments/{{review_comment_id}}": reads(REVIEW_COMMENT),
    f"GET {_R}/pulls/comments/{{review_comment_id}}/reactions": reads(items(REACTION)),
    f"POST {_R}/pulls/comments/{{review_comment_id}}/reactions": writes(
        body(content=CONTENT), _200=REACTION, _201=REACTION
    ),
    f"POST {_R}/statuses/{{sha}}": writes(
        body(state=one_of("error", "failure", "pending", "success"),
             maybe=fields(context=LINE, description={"type": "string", "maxLength": 140}, target_url=URL)),
        _201=STATUS,
    ),
    f"GET {_REF}": reads(COMMIT),
    f"GET {_REF}/status": reads({"allOf": [listed("statuses", STATUS), shape(state=LINE, sha=SHA)]}),
    f"GET {_REF}/check-runs": reads(listed("check_runs", CHECK_RUN)),
    f"GET {_REF}/check-suites": reads(listed("check_suites", CHECK_SUITE)),
    f"POST {_R}/check-runs": writes(_CHECK_RUN, _201=CHECK_RUN),
    f"GET {_R}/git/ref/{{ref}}": reads(GIT_REF),
    f"GET {_R}/branches/{{branch}}": reads(shape(name=LINE, commit=shape(sha=SHA))),
    "GET /user": reads(USER),
    "GET /users/{username}": reads(USER),
    "GET /rate_limit": reads(shape(rate=RATE, resources=shape(core=RATE))),
    "GET /app": reads(shape(id=ID, slug=LINE, permissions=PERMISSIONS, events=items(LINE))),
    "GET /app/installations": reads(items(INSTALLATION)),
    "GET /app/installations/{installation_id}": reads(INSTALLATION),
    "POST /app/installations/{installation_id}/access_tokens": writes(
        or_null(body(maybe=fields(permissions=PERMISSIONS, repositories=_NAMES, repository_ids=items(ID)))),
        _201=shape(token=LINE, expires_at=TIME, permissions=PERMISSIONS),
    ),
    f"GET {_R}/installation": reads(INSTALLATION),
    "GET /installation/repositories": reads(listed("repositories", REPOSITORY)),
    "GET /app/hook/config": reads(shape(url=URL)),
    "GET /app/hook/deliveries": reads(items(DELIVERY)),
    "POST /app/hook/deliveries/{delivery_id}/attempts": writes(NOTHING, _202={"type": "object"}),
    f"GET {_R}/hooks": reads(items(HOOK)),
    f"POST {_R}/hooks": writes(_HOOK, _201=HOOK),
    f"GET {_H}/deliveries": reads(items(DELIVERY)),
    f"POST {_H}/deliveries/{{delivery_id}}/attempts": writes(NOTHING, _202={"type": "object"}),
    "POST /graphql": writes(
        body(query=LINE, variables={"type": "object"}), _200=shape(data=or_null({"type": "object"}))
    ),
}  # fmt: skip
"""By method and path template, as the fake GitHub records them."""


def problems(traffic: Iterable[list[Any]]) -> list[str]:
    """What does not conform in `[method, path template, request, status, response]` entries; unknown operations too.

    Answers of 400 and above need only be errors in GitHub's form; what was sent to get them is not judged.
    """
    found: list[str] = []
    for method, template, sent, status, answer in traffic:
        name = f"{method} {template}"
        operation = OPERATIONS.get(name)
        if status >= 400:
            found += _errors(f"{name} answers {status}", "error", ERROR, answer)
        elif operation is None:
            found.append(f"{name}: write its schemas into github_schemas.OPERATIONS")
        elif status not in operation.answers:
            found.append(f"{name} answers {status}: known are {sorted(operation.answers)}")
        else:
            found += _errors(f"{name} sends", f"{name} sends", operation.sends, sent)
            found += _errors(f"{name} answers {status}", f"{name} {status}", operation.answers[status], answer)
    return found


_SCHEMAS: dict[str, Schema] = {}


def _errors(what: str, key: str, schema: Schema, value: Any) -> list[str]:
    _SCHEMAS.setdefault(key, schema)
    places = [(error, "/".join(map(str, error.absolute_path)) or ".") for error in _validator(key).iter_errors(value)]
    return [f"{what}, {place}: {error.message[:160]}" for error, place in places]


@functools.cache
def _validator(key: str) -> Draft202012Validator:
    return Draft202012Validator(_SCHEMAS[key])
