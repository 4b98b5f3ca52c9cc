"""Users, repositories, Apps and installations as the API writes them."""

from __future__ import annotations

from typing import Any

from tracker.fake_github.errors import Json
from tracker.fake_github.records import App, Installation, Repository
from tracker.fake_github.store import Store

_USER_URLS = ["followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events", "received_events"]  # fmt: skip
_REPOSITORY_URLS = [
    "archive",
    "assignees",
    "blobs",
    "branches",
    "collaborators",
    "comments",
    "commits",
    "compare",
    "contents",
    "contributors",
    "deployments",
    "downloads",
    "events",
    "forks",
    "git_commits",
    "git_refs",
    "git_tags",
    "hooks",
    "issue_comment",
    "issue_events",
    "issues",
    "keys",
    "labels",
    "languages",
    "merges",
    "milestones",
    "notifications",
    "pulls",
    "releases",
    "stargazers",
    "statuses",
    "subscribers",
    "subscription",
    "tags",
    "teams",
    "trees",
]
_REPOSITORY_COUNTS = [
    "forks",
    "forks_count",
    "open_issues",
    "open_issues_count",
    "size",
    "stargazers_count",
    "watchers",
    "watchers_count",
    "network_count",
    "subscribers_count",
]
_REPOSITORY_FLAGS = [
    "fork",
    "has_projects",
    "has_wiki",
    "has_pages",
    "has_discussions",
    "has_downloads",
    "archived",
    "disabled",
]


def user(store: Store, user_id: int) -> Json:
    """A simple user."""
    found = store.state.users[user_id]
    url = f"{store.url}/users/{found.login}"
    return {
        "login": found.login,
        "id": found.id,
        "node_id": f"U_{found.id}",
        "avatar_url": f"{store.url}/avatars/{found.id}",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{store.url}/{found.login}",
        "type": found.type,
        "user_view_type": "public",
        "site_admin": False,
        **{f"{name}_url": f"{url}/{name}" for name in _USER_URLS},
    }


def optional_user(store: Store, user_id: int | None) -> Json | None:
    """A simple user, or null."""
    return None if user_id is None else user(store, user_id)


def repository(store: Store, found: Repository) -> Json:
    """A full repository."""
    full_name = store.full_name(found)
    url = f"{store.url}/repos/{full_name}"
    page = f"{store.url}/{full_name}"
    open_count = sum(issue.state == "open" for issue in found.issues.values())
    made: Json = {f"{name}_url": f"{url}/{name}" for name in _REPOSITORY_URLS}
    made |= dict.fromkeys(_REPOSITORY_COUNTS, 0) | dict.fromkeys(_REPOSITORY_FLAGS, False)
    made |= dict.fromkeys(("description", "homepage", "language", "license", "mirror_url"))
    made |= dict.fromkeys(("created_at", "updated_at"), found.created_at)
    return made | {
        "id": found.id,
        "node_id": f"R_{found.id}",
        "name": found.name,
        "full_name": full_name,
        "owner": user(store, found.owner_id),
        "private": found.private,
        "visibility": "private" if found.private else "public",
        "html_url": page,
        "url": url,
        "has_issues": found.has_issues,
        "archived": found.archived,
        "open_issues": open_count,
        "open_issues_count": open_count,
        "default_branch": found.default_branch,
        "pushed_at": found.pushed_at or found.created_at,
        "clone_url": page + ".git",
        "git_url": page + ".git",
        "ssh_url": page + ".git",
        "svn_url": page,
    }


def app(store: Store, found: App) -> Json:
    """An App, without its key."""
    return {
        "id": found.id,
        "slug": found.slug,
        "node_id": f"A_{found.id}",
        "client_id": f"Iv1.{found.id:016x}",
        "owner": user(store, found.owner_id),
        "name": found.slug,
        "description": "",
        "external_url": store.url,
        "html_url": f"{store.url}/apps/{found.slug}",
        "created_at": found.created_at,
        "updated_at": found.created_at,
        "permissions": found.permissions,
        "events": [],
    }


def installation(store: Store, found: Installation) -> Json:
    """An installation of an App."""
    account = user(store, found.account_id)
    return {
        "id": found.id,
        "account": account,
        "app_id": found.app_id,
        "app_slug": store.state.apps[found.app_id].slug,
        "target_id": found.account_id,
        "target_type": account["type"],
        "repository_selection": "all" if found.repository_ids is None else "selected",
        "access_tokens_url": f"{store.url}/app/installations/{found.id}/access_tokens",
        "repositories_url": f"{store.url}/installation/repositories",
        "html_url": f"{store.url}/settings/installations/{found.id}",
        "permissions": found.permissions,
        "events": [],
        "single_file_name": None,
        "created_at": found.created_at,
        "updated_at": found.created_at,
        "suspended_by": None,
        "suspended_at": None,
    }


def association(store: Store, found: Repository, user_id: int) -> str:
    """`author_association`: a hint at what somebody is to the repository, no authority."""
    if user_id == found.owner_id:
        return "OWNER"
    level = found.permissions.get(user_id, "none")
    return {"admin": "MEMBER", "maintain": "MEMBER", "write": "MEMBER", "none": "NONE"}.get(level, "COLLABORATOR")


def text_or_none(value: Any) -> str | None:
    """A text, or null for anything else."""
    return value if isinstance(value, str) else None
