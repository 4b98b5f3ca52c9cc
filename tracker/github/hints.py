"""Where to look after an event. Pure; a payload is never taken for the state of anything.

Whatever shape a payload has, nothing here fails on it. https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tracker.github import payloads
from tracker.github.payloads import Json
from tracker.public_types import Hint, HintKind

_ISSUE_ACTIONS = {
    *("opened", "edited", "closed", "reopened", "assigned", "unassigned", "labeled", "unlabeled", "typed", "untyped"),
    *("transferred", "deleted", "locked", "unlocked"),
}
_PULL_ACTIONS = {
    *("opened", "edited", "closed", "reopened", "synchronize", "ready_for_review", "converted_to_draft", "labeled"),
    *("unlabeled", "assigned", "unassigned"),
}


def read(
    event: str,
    payload: object,
    *,
    scope: str = "",
    own_logins: Collection[str] = (),
    allowed_bots: Collection[str] = (),
) -> list[Hint]:
    """Where to look after an event; nothing for events and actions that do not concern us, or that nobody knows.

    Args:
        event: `X-GitHub-Event`.
        payload: Whatever JSON came with it.
        scope: Our name of the repository, which may have been renamed; empty: the payload's.
        own_logins: Who we are there, in lower case: such an actor is a bot.
        allowed_bots: Bots whose acts count as a person's, in lower case.
    """
    if not isinstance(payload, Mapping):
        return []
    sender = payloads.child(payload, "sender")
    actor = payloads.login(sender)
    name = actor.lower()
    is_bot = name in own_logins or (_is_bot(sender, name) and name not in allowed_bots)
    about = {
        "action": payloads.action(payload),
        "scope": scope or payloads.scope(payloads.child(payload, "repository")),
        "actor": actor,
        "actor_is_bot": is_bot,
    }
    reader = _READERS.get(event)
    if reader is None or (not about["scope"] and event not in ("installation", "installation_repositories", "ping")):
        return []
    return [Hint(**{**about, **found}) for found in reader(payload)]


def _issues(payload: Json) -> list[dict[str, Any]]:
    if payloads.action(payload) not in _ISSUE_ACTIONS:
        return []
    key = payloads.key(payloads.child(payload, "issue"))
    about = {"label": payloads.label(payload), "assignee": payloads.login(payloads.child(payload, "assignee"))}
    return [{"kind": HintKind.ISSUE, "key": key, **about}] if key else []


def _pair(payload: Json, one: str, other: str) -> list[dict[str, Any]]:
    """Both ends of an edge, as far as they are in the repository that the delivery is about."""
    scope = payloads.scope(payloads.child(payload, "repository")).lower()
    found: list[dict[str, Any]] = []
    for name in (one, other):
        # Only the far end's repository is named, and the far end's repository is sent an event of its own.
        home = payloads.scope(payloads.child(payload, f"{name}_repo")).lower()
        key = payloads.key(payloads.child(payload, name))
        if key and home in ("", scope):
            found.append({"kind": HintKind.ISSUE, "key": key})
    return found


def _sub_issues(payload: Json) -> list[dict[str, Any]]:
    known = ("sub_issue_added", "sub_issue_removed", "parent_issue_added", "parent_issue_removed")
    return _pair(payload, "parent_issue", "sub_issue") if payloads.action(payload) in known else []


def _issue_dependencies(payload: Json) -> list[dict[str, Any]]:
    known = ("blocked_by_added", "blocked_by_removed", "blocking_added", "blocking_removed")
    return _pair(payload, "blocked_issue", "blocking_issue") if payloads.action(payload) in known else []


def _issue_comment(payload: Json) -> list[dict[str, Any]]:
    issue, comment = payloads.child(payload, "issue"), payloads.child(payload, "comment")
    key, comment_id = payloads.key(issue), payloads.number(comment, "id")
    if payloads.action(payload) not in ("created", "edited", "deleted") or not key or comment_id is None:
        return []
    kind = HintKind.CHANGE if issue.get("pull_request") else HintKind.COMMENT
    return [{"kind": kind, "key": key, "comment_id": str(comment_id), "text": payloads.text(comment, "body")}]


def _pull_request(payload: Json) -> list[dict[str, Any]]:
    pull = payloads.child(payload, "pull_request")
    key, head = payloads.key(pull), payloads.child(pull, "head")
    if payloads.action(payload) not in _PULL_ACTIONS or not key:
        return []
    return [
        {
            "kind": HintKind.CHANGE,
            "key": key,
            "head_sha": payloads.sha(head, "sha"),
            "branch": payloads.branch(head, "ref"),
            "label": payloads.label(payload),
        }
    ]


def _review(payload: Json) -> list[dict[str, Any]]:
    pull = payloads.child(payload, "pull_request")
    key, head = payloads.key(pull), payloads.child(pull, "head")
    if payloads.action(payload) not in ("submitted", "edited", "dismissed", "created", "deleted") or not key:
        return []
    # A comment on a line comes without its review.
    remark = payloads.child(payload, "comment") or payloads.child(payload, "review")
    remark_id = payloads.number(remark, "id")
    return [
        {
            "kind": HintKind.CHANGE,
            "key": key,
            "comment_id": "" if remark_id is None else str(remark_id),
            "text": payloads.text(remark, "body"),
            "head_sha": payloads.sha(head, "sha"),
            "branch": payloads.branch(head, "ref"),
        }
    ]


def _suite(payload: Json) -> list[dict[str, Any]]:
    return _checked(payload, payloads.child(payload, "check_suite"))


def _workflow_run(payload: Json) -> list[dict[str, Any]]:
    return _checked(payload, payloads.child(payload, "workflow_run"))


def _checked(payload: Json, run: Json) -> list[dict[str, Any]]:
    sha = payloads.sha(run, "head_sha")
    if payloads.action(payload) != "completed" or not sha:
        return []
    # Without a key: the pull requests of a commit are looked up, as a fork's are left out of this list.
    return [{"kind": HintKind.CHANGE, "head_sha": sha, "branch": payloads.branch(run, "head_branch")}]


def _status(payload: Json) -> list[dict[str, Any]]:
    state, sha = payload.get("state"), payloads.sha(payload, "sha")
    if state not in ("success", "failure", "error") or not sha:
        return []
    return [{"kind": HintKind.CHANGE, "action": state, "head_sha": sha}]


def _push(payload: Json) -> list[dict[str, Any]]:
    kind, _, branch = payloads.branch(payload, "ref").partition("refs/heads/")
    if kind or not branch or payload.get("deleted") is True:
        return []
    return [{"kind": HintKind.PUSH, "action": "push", "branch": branch, "head_sha": payloads.sha(payload, "after")}]


def _installation(payload: Json) -> list[dict[str, Any]]:
    installation = payloads.child(payload, "installation")
    installation_id = payloads.number(installation, "id")
    account = payloads.login(payloads.child(installation, "account"))
    if installation_id is None or not payloads.action(payload):
        return []
    return [{"kind": HintKind.INSTALLATION, "scope": account, "installation_id": installation_id}]


def _ping(payload: Json) -> list[dict[str, Any]]:
    return [{"kind": HintKind.PING, "action": "ping"}]


def _is_bot(sender: Json, name: str) -> bool:
    return sender.get("type") == "Bot" or name.endswith("[bot]")


_READERS: Mapping[str, Callable[[Json], list[dict[str, Any]]]] = {
    "issues": _issues,
    "sub_issues": _sub_issues,
    "issue_dependencies": _issue_dependencies,
    "issue_comment": _issue_comment,
    "pull_request": _pull_request,
    "pull_request_review": _review,
    "pull_request_review_comment": _review,
    "check_suite": _suite,
    "workflow_run": _workflow_run,
    "status": _status,
    "push": _push,
    "installation": _installation,
    "installation_repositories": _installation,
    "ping": _ping,
}
EVENTS = frozenset(_READERS)
"""Events that may give hints."""
