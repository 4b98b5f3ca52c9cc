"""Webhook payloads: which hooks hear of an event, and what exactly they are sent."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any

from tracker.fake_github.errors import Json
from tracker.fake_github.hook_records import Delivery, Hook
from tracker.fake_github.records import Installation, Repository
from tracker.fake_github.shapes import accounts
from tracker.fake_github.store import Store

APP_EVENTS = ("installation", "installation_repositories", "ping")
"""Sent to an App whatever it subscribes to."""
_NEEDS = {
    "issues": "issues",
    "issue_comment": "issues",
    "sub_issues": "issues",
    "issue_dependencies": "issues",
    "label": "issues",
    "pull_request": "pull_requests",
    "pull_request_review": "pull_requests",
    "pull_request_review_comment": "pull_requests",
    "check_run": "checks",
    "check_suite": "checks",
    "status": "statuses",
    "workflow_run": "actions",
    "push": "contents",
    "repository": "metadata",
}
"""The permission without which an App does not hear of an event."""


def emit(
    store: Store,
    event: str,
    action: str | None,
    repository: Repository,
    actor_id: int,
    **parts: Any,
) -> None:
    """Queue an event of a repository for every hook that listens. The lock is held.

    Args:
        action: None for events without one, such as `push`.
        parts: What the payload holds besides action, repository, organization, installation and sender.
    """
    payload: Json = {} if action is None else {"action": action}
    payload |= parts
    payload["repository"] = accounts.repository(store, repository)
    owner = store.state.users[repository.owner_id]
    if owner.type == "Organization":
        payload["organization"] = {"login": owner.login, "id": owner.id, "node_id": f"O_{owner.id}",
                                   "url": f"{store.url}/orgs/{owner.login}"}  # fmt: skip
    payload["sender"] = accounts.user(store, actor_id)
    for hook in list(store.hooks.values()):
        if not hook.active or not ("*" in hook.events or event in hook.events):
            continue
        if hook.repository_id == repository.id:
            queue(store, hook, event, payload, repository_id=repository.id)
        elif hook.app_id is not None and (found := installation_on(store, hook.app_id, repository)):
            permission = _NEEDS.get(event)
            if permission is None or permission in found.permissions:
                mine = payload | {"installation": {"id": found.id, "node_id": f"MDIzOklu{found.id}"}}
                queue(store, hook, event, mine, repository_id=repository.id, installation_id=found.id)


def emit_to_app(store: Store, event: str, action: str, installation: Installation, actor_id: int, **parts: Any) -> None:
    """Queue an event about an installation for the App's own hooks."""
    payload = {"action": action, "installation": accounts.installation(store, installation), **parts}
    payload["sender"] = accounts.user(store, actor_id)
    for hook in list(store.hooks.values()):
        if hook.active and hook.app_id == installation.app_id:
            queue(store, hook, event, payload, installation_id=installation.id)


def installation_on(store: Store, app_id: int, repository: Repository) -> Installation | None:
    """The installation through which an App reaches a repository."""
    for found in store.state.installations.values():
        if found.app_id == app_id and found.account_id == repository.owner_id and reaches(found, repository.id):
            return found
    return None


def reaches(installation: Installation, repository_id: int) -> bool:
    """Whether an installation of the repository's owner covers it."""
    return installation.repository_ids is None or repository_id in installation.repository_ids


def queue(
    store: Store,
    hook: Hook,
    event: str,
    payload: Mapping[str, Any],
    *,
    repository_id: int | None = None,
    installation_id: int | None = None,
) -> Delivery:
    """Queue one event for one hook, signed with the secret that the hook has now."""
    body = json.dumps(payload).encode()
    of_app = hook.app_id is not None
    guid = str(uuid.uuid4())
    headers = {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/fake000",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid,
        "X-GitHub-Hook-ID": str(hook.id),
        "X-GitHub-Hook-Installation-Target-Type": "integration" if of_app else "repository",
        "X-GitHub-Hook-Installation-Target-ID": str(hook.app_id if of_app else hook.repository_id),
        **signatures(hook.secret, body),
    }
    action = payload.get("action")
    delivery = Delivery(
        id=store.new_id(),
        guid=guid,
        event=event,
        action=action if isinstance(action, str) else None,
        url=hook.url,
        headers=headers,
        body=body,
        hook_id=hook.id,
        repository_id=repository_id,
        installation_id=installation_id,
        created_at=store.timestamp(),
    )
    enqueue(store, delivery)
    return delivery


def enqueue(store: Store, delivery: Delivery) -> None:
    """Put a delivery in line."""
    store.outbound.remember(delivery)
    store.outbound.queue.append(delivery)
    store.something_queued.set()


def signatures(secret: str, body: bytes) -> dict[str, str]:
    """The signature headers of a body; none without a secret."""
    if not secret:
        return {}
    key = secret.encode()
    return {
        "X-Hub-Signature": "sha1=" + hmac.new(key, body, hashlib.sha1).hexdigest(),
        "X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
    }
