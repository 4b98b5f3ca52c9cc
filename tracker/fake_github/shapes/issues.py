"""Issues, labels, comments, reactions and timelines as the API writes them."""

from __future__ import annotations

import urllib.parse

from tracker.fake_github.errors import Json
from tracker.fake_github.records import Comment, Issue, Label, Reaction, Repository, TimelineEvent
from tracker.fake_github.shapes import accounts
from tracker.fake_github.store import Store

_ROLLUP = ("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket")


def label(store: Store, repository: Repository, found: Label) -> Json:
    """A label of a repository."""
    return {
        "id": found.id,
        "node_id": f"LA_{found.id}",
        "url": f"{store.url}/repos/{store.full_name(repository)}/labels/{urllib.parse.quote(found.name, safe='')}",
        "name": found.name,
        "color": found.color,
        "default": False,
        "description": found.description,
    }


def labels(store: Store, found: Issue) -> list[Json]:
    """The labels of an issue."""
    repository = store.repository_of(found)
    return [label(store, repository, repository.labels[label_id]) for label_id in found.labels]


def reaction(store: Store, found: Reaction) -> Json:
    """One person's reaction."""
    return {
        "id": found.id,
        "node_id": f"REA_{found.id}",
        "user": accounts.user(store, found.user_id),
        "content": found.content,
        "created_at": found.created_at,
    }


def rollup(url: str, reactions: list[Reaction]) -> Json:
    """How many reactions of each kind."""
    counts = {kind: sum(one.content == kind for one in reactions) for kind in _ROLLUP}
    return {"url": f"{url}/reactions", "total_count": len(reactions), **counts}


def url_of(store: Store, found: Issue) -> str:
    """The API's address of an issue."""
    return f"{store.url}/repos/{store.full_name(store.repository_of(found))}/issues/{found.number}"


def page_of(store: Store, found: Issue) -> str:
    """The address of an issue or pull request for people."""
    kind = "pull" if found.pull else "issues"
    return f"{store.url}/{store.full_name(store.repository_of(found))}/{kind}/{found.number}"


def comment_count(repository: Repository, number: int) -> int:
    """How many comments an issue has, review comments excepted."""
    return sum(one.issue == number for one in repository.comments.values())


def issue(store: Store, found: Issue) -> Json:
    """An issue; a pull request has the key `pull_request` too."""
    repository = store.repository_of(found)
    url, page = url_of(store, found), page_of(store, found)
    assignees = [accounts.user(store, user_id) for user_id in found.assignees]
    made: Json = {
        "id": found.id,
        "node_id": f"PR_{found.id}" if found.pull else f"I_{found.id}",
        "url": url,
        "repository_url": f"{store.url}/repos/{store.full_name(repository)}",
        "labels_url": url + "/labels{/name}",
        "comments_url": url + "/comments",
        "events_url": url + "/events",
        "timeline_url": url + "/timeline",
        "html_url": page,
        "number": found.number,
        "state": found.state,
        "state_reason": found.state_reason,
        "title": found.title,
        "body": found.body,
        "user": accounts.user(store, found.user_id),
        "labels": labels(store, found),
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "milestone": None,
        "locked": False,
        "active_lock_reason": None,
        "comments": comment_count(repository, found.number),
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "closed_at": found.closed_at,
        "closed_by": accounts.optional_user(store, found.closed_by),
        "author_association": accounts.association(store, repository, found.user_id),
        "performed_via_github_app": None,
        "reactions": rollup(url, found.reactions),
        "type": None,
        **_relations(store, found),
    }
    if found.pull:
        api = url.replace("/issues/", "/pulls/")
        made["draft"] = found.pull.draft
        made["pull_request"] = {
            "url": api,
            "html_url": page,
            "diff_url": page + ".diff",
            "patch_url": page + ".patch",
            "merged_at": found.pull.merged_at,
        }
    return made


def _relations(store: Store, found: Issue) -> Json:
    children = [store.issue_by_id(child) for child in found.children]
    done = sum(child.state == "closed" for child in children)
    blockers = [store.issue_by_id(blocker) for blocker in found.blocked_by]
    blocked = store.blocked_issues(found)
    return {
        "sub_issues_summary": {
            "total": len(children),
            "completed": done,
            "percent_completed": 100 * done // len(children) if children else 0,
        },
        "issue_dependencies_summary": {
            "blocked_by": sum(blocker.state == "open" for blocker in blockers),
            "total_blocked_by": len(blockers),
            "blocking": len(blocked) if found.state == "open" else 0,
            "total_blocking": len(blocked),
        },
        "parent_issue_url": url_of(store, store.issue_by_id(found.parent)) if found.parent else None,
    }


def comment(store: Store, repository: Repository, found: Comment) -> Json:
    """A comment on an issue or pull request."""
    full_name = store.full_name(repository)
    url = f"{store.url}/repos/{full_name}/issues/comments/{found.id}"
    pin = None
    if found.pinned_at:
        pin = {"pinned_at": found.pinned_at, "pinned_by": accounts.optional_user(store, found.pinned_by)}
    return {
        "id": found.id,
        "node_id": f"IC_{found.id}",
        "url": url,
        "html_url": f"{page_of(store, repository.issues[found.issue])}#issuecomment-{found.id}",
        "issue_url": f"{store.url}/repos/{full_name}/issues/{found.issue}",
        "body": found.body,
        "user": accounts.user(store, found.user_id),
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "author_association": accounts.association(store, repository, found.user_id),
        "performed_via_github_app": None,
        "reactions": rollup(url, found.reactions),
        "pin": pin,
        "minimized": {"reason": found.minimized} if found.minimized else None,
    }


def timeline_event(store: Store, found: Issue, event: TimelineEvent) -> Json:
    """One entry of a timeline, with the person who did it."""
    made: Json = {
        "id": event.id,
        "node_id": f"EV_{event.id}",
        "url": f"{store.url}/repos/{store.full_name(store.repository_of(found))}/issues/events/{event.id}",
        "actor": accounts.user(store, event.actor_id),
        "event": event.event,
        "commit_id": None,
        "commit_url": None,
        "created_at": event.created_at,
        "performed_via_github_app": None,
    }
    for key, value in event.details.items():
        made[key] = accounts.user(store, value) if key in ("assignee", "assigner") else value
    return made


def timeline(store: Store, found: Issue) -> list[Json]:
    """Events and comments, oldest first."""
    repository = store.repository_of(found)
    entries = [(event.created_at, event.id, timeline_event(store, found, event)) for event in found.timeline]
    for one in repository.comments.values():
        if one.issue == found.number:
            shape = comment(store, repository, one)
            shape |= {"event": "commented", "actor": shape["user"]}
            entries.append((one.created_at, one.id, shape))
    return [shape for _, _, shape in sorted(entries, key=lambda entry: entry[:2])]
